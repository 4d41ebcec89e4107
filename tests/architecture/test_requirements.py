"""Requirements are pinned to the byte and name no address to fetch them from."""

import re
from pathlib import Path

import pytest
from tests.architecture.source_tree import ROOT

LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


def requirements(lock: Path) -> list[str]:
    logical = lock.read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in logical.splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_lock_pins_and_hashes_everything(lock: Path) -> None:
    loose = [
        line
        for line in requirements(lock)
        if not re.match(r"^[a-z0-9.-]+(\[[a-z0-9,-]+\])?==\S+( ; .+)?\s+--hash=sha256:", line)
    ]
    assert requirements(lock) != []
    assert loose == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_lock_names_no_address(lock: Path) -> None:
    assert [line for line in requirements(lock) if "://" in line or line.startswith("--")] == []


def test_dev_lock_holds_the_runtime_lock() -> None:
    """What tests run on is what users get."""

    def pins(name: str) -> set[str]:
        return {line.split()[0] for line in requirements(ROOT / "requirements" / name)}

    assert pins("runtime.txt") - pins("dev.txt") == set()
