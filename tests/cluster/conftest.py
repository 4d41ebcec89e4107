"""A local cluster of two nodes, for tests of what needs more than one node or the Jobs API."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.e2e.commands import environment

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 180


@dataclass(frozen=True)
class LocalClusterCommand:
    """`cluster/local.py` with a state folder of its own."""

    state: Path

    def run(self, action: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Call it as a person would."""
        command = [sys.executable, str(ROOT / "cluster" / "local.py"), action]
        return subprocess.run(
            [*command, "--state", str(self.state), *options],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT_S,
            check=False,
        )

    def environment(self) -> dict[str, str]:
        """The environment of a shell that uses the cluster."""
        lines = self.run("status").stdout.splitlines()
        exports = [line.removeprefix("export ") for line in lines if line.startswith("export ")]
        return environment() | dict(export.split("=", 1) for export in exports)


@pytest.fixture(scope="module")
def local_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalClusterCommand]:
    """Two nodes of one CPU each, up for a module: idle ones, too, keep cores busy."""
    command = LocalClusterCommand(tmp_path_factory.mktemp("local-cluster"))
    try:
        started = command.run("up", "--nodes", "2")
        assert started.returncode == 0, started.stderr
        yield command
    finally:
        command.run("down")
