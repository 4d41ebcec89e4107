"""What is loaded before a verb needs it, and what the package offers."""

import json
import subprocess
import sys

import pytest

import shardline

HEAVY = {"ray", "tensorflow", "keras", "numpy", "pandas", "pyarrow", "boto3", "pydantic", "rich"}
PUBLIC_NAMES = [
    "Spec",
    "batches",
    "check_model",
    "evaluate",
    "export",
    "load_spec",
    "prepare",
    "promote",
    "rollback",
    "run",
    "score",
    "serve",
    "session",
    "train",
    "validate",
]


def loaded_by(code: str) -> set[str]:
    """Top-level modules in a fresh interpreter after `code`."""
    report = "import json, sys; sys.stderr.write(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return {name.partition(".")[0] for name in json.loads(done.stderr.splitlines()[-1])}


@pytest.mark.parametrize(
    "code",
    [
        "import shardline",
        "from shardline.cli import main; main(['--help'])",
        "from shardline.cli import main; main(['train', '--help'])",
    ],
)
def test_start_loads_nothing_heavy(code: str) -> None:
    loaded = loaded_by(code)
    assert "shardline" in loaded
    assert loaded & HEAVY == set()


def test_public_names_are_these() -> None:
    assert sorted(shardline.__all__) == PUBLIC_NAMES


@pytest.mark.parametrize("name", PUBLIC_NAMES)
def test_public_name_has_a_docstring(name: str) -> None:
    assert getattr(shardline, name).__doc__
