"""Nodes join, are drained and are lost while an elastic run goes on; at last the command is."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.cluster.conftest import ROOT, LocalClusterCommand
from tests.faults.runs import (
    DEADLINE_S,
    assert_same_end,
    incidents,
    noted_line,
    rows_by_step,
    rows_fed,
    undisturbed,
    wait_until,
)
from tests.lines import prepared

from shardline.artifacts.checkpoint import list_checkpoints
from shardline.store import Store

# The command, but it looks for new nodes every second.
TRAIN = """
import sys
from shardline import cli
from shardline.training.group import launching
launching.RESIZE_CHECK_INTERVAL_S = 1.0
sys.exit(cli.main(sys.argv[1:]))
"""
DRAIN = """
import sys, time
import ray
from shardline.cluster.session import session
with session() as joined:
    (node,) = [n["NodeID"] for n in ray.nodes() if sys.argv[1] in n["RayletSocketName"]]
    client = ray._raylet.GcsClient(address=joined.address)
    until_ms = int((time.time() + 30) * 1000)
    assert client.drain_node(node, 2, "preempted", until_ms)[0]
"""
OPTIONS = {"train.workers": "{min: 1, max: 3}", "train.epochs": 12}


class Nodes:
    """A cluster whose nodes come and go; the head has one CPU."""

    def __init__(self, state):
        self._head = LocalClusterCommand(state)
        self._processes = {}

    def __enter__(self):
        started = self._head.run("up", "--nodes", "1", "--cpus", "1")
        assert started.returncode == 0, started.stderr
        self.environment = self._head.environment()
        return self

    def __exit__(self, *exception):
        for folder in list(self._processes):
            self.kill(folder)
        self._head.run("down")

    def add(self):
        """One more node of one CPU; its folder."""
        folder = Path(tempfile.mkdtemp(prefix="shl-"))
        self._processes[folder] = subprocess.Popen(
            [
                sys.executable, str(ROOT / "cluster" / "node.py"), "--folder", str(folder),
                "--cpus", "1", "--join", self.environment["RAY_ADDRESS"],
            ],
            env=self.environment | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        wait_until((folder / "ready.json").exists, what="a node")
        return folder

    def kill(self, folder):
        """SIGKILL for every process of a node."""
        process = self._processes.pop(folder)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)

    def run(self, code, *arguments):
        """Start Python on the head."""
        return subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )


def test_elastic_run_follows_nodes_and_ends_as_if_there_had_been_one(tmp_path):
    spec = noted_line(tmp_path, "hit", **OPTIONS)
    prepared(spec)
    log, slow = tmp_path / "hit.log", tmp_path / "hit.slow"
    slow.touch()
    settings = {"model.params.log": log, "model.params.slow_while": slow, **OPTIONS}
    settings |= {"train.run": "hit", "train.checkpoint.every_steps": 5}

    with Nodes(tmp_path / "state") as nodes:
        first = nodes.add()
        options = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        train = (TRAIN, "train", tmp_path / "toy.yaml", *options)
        command = nodes.run(*train)

        def is_of(world_size):
            assert command.poll() is None, command.stderr.read()
            found = list_checkpoints(Store(spec.store), "hit")
            return found and found[-1].world_size == world_size

        wait_until(lambda: is_of(2), what="two workers")
        second = nodes.add()
        wait_until(lambda: is_of(3), what="three workers")
        assert nodes.run(DRAIN, second).wait(DEADLINE_S) == 0
        wait_until(lambda: incidents(spec), what="the end of the drained group")
        nodes.kill(second)
        assert "is being drained" in incidents(spec)[0]
        wait_until(lambda: is_of(2), what="two workers again")
        *whole_steps, _ = sorted(rows_fed(log).items())
        assert {rows for _, rows in whole_steps} == {16}, "up to here no step was taken twice"
        nodes.kill(first)
        wait_until(lambda: is_of(1), what="a worker alone")
        command.kill()
        command.wait()

        slow.unlink()
        again = nodes.run(*train)
        _, err = again.communicate(timeout=DEADLINE_S)
        assert again.returncode == 0, err

    expected = undisturbed(tmp_path, **{"train.epochs": OPTIONS["train.epochs"]})
    assert_same_end(spec, expected, atol=1e-4)
    assert rows_by_step(log) == rows_by_step(tmp_path / "calm.log")
