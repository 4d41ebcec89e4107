"""The command, the Ray under it and a worker end early: the run ends the same, bit for bit."""

import signal
import subprocess
import uuid

import ray  # noqa: F401  # psutil comes inside Ray
from tests.e2e.commands import SHARDLINE, environment, processes_with, run_process
from tests.faults.runs import (
    DEADLINE_S,
    assert_same_end,
    incidents,
    noted_line,
    rows_by_step,
    steps_taken,
    undisturbed,
    wait_until,
)
from tests.lines import prepared

from shardline.artifacts.checkpoint import list_checkpoints
from shardline.store import Store

OPTIONS = {"train.epochs": 4}
# Above what is in use before the command: more than its processes need, less than one eats.
ROOM_BYTES = 4 << 30


def memory_threshold():
    """The share of memory in use at which Ray is to end a worker."""
    import psutil

    memory = psutil.virtual_memory()
    return (memory.total - memory.available + ROOM_BYTES) / memory.total


def last_step(spec):
    """Step of the newest checkpoint; 0 without any."""
    found = list_checkpoints(Store(spec.store), spec.run_name)
    return found[-1].step if found else 0


class Command:
    """`shardline train` and every process it starts."""

    def __init__(self, *arguments):
        mark = uuid.uuid4().hex
        self._mark = f"TEST_MARK={mark}"
        self.process = subprocess.Popen(
            [*SHARDLINE, *map(str, arguments)],
            # Ray gives a lost head a minute to come back.
            env=environment(TEST_MARK=mark, RAY_gcs_rpc_server_reconnect_timeout_s="3"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def kill_head(self):
        """SIGKILL for the control service of its Ray."""
        import psutil

        children = psutil.Process(self.process.pid).children(recursive=True)
        (head,) = [child for child in children if child.name() == "gcs_server"]
        head.kill()

    def end(self):
        """Exit code and last words; nothing is left running."""
        _, err = self.process.communicate(timeout=DEADLINE_S)
        wait_until(lambda: not processes_with(self._mark), what="the end of all processes")
        return self.process.returncode, err


def test_command_terminated_head_killed_and_memory_short_end_as_if_nothing_had_happened(tmp_path):
    spec = noted_line(tmp_path, "hit", **OPTIONS)
    prepared(spec)
    log, slow, eat = (tmp_path / f"hit.{name}" for name in ("log", "slow", "eat"))
    slow.touch()
    settings = {"model.params.log": log, "model.params.slow_while": slow, **OPTIONS}
    settings |= {"model.params.eat_when": eat}
    settings |= {"train.run": "hit", "train.checkpoint.every_steps": 5}
    options = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    train = ["train", tmp_path / "toy.yaml", *options]

    def beyond(command, step):
        """Wait for a checkpoint beyond a step; its step."""
        wait_until(
            lambda: last_step(spec) > step or command.process.poll() is not None,
            what="a checkpoint",
        )
        assert command.process.poll() is None, command.end()
        return last_step(spec)

    terminated = Command(*train)
    beyond(terminated, 0)
    terminated.process.terminate()
    code, err = terminated.end()
    assert code == 128 + signal.SIGTERM, err
    committed = last_step(spec)
    assert steps_taken(log) == list(range(1, committed + 1)), "the last step is committed"

    beheaded = Command(*train)
    beyond(beheaded, committed)
    beheaded.kill_head()
    assert beheaded.end()[0] != 0

    slow.unlink()
    eat.touch()
    done = run_process(*train, RAY_memory_usage_threshold=f"{memory_threshold():.4f}")
    assert done.code == 0, done.err
    assert not eat.exists()
    (short,) = incidents(spec)
    assert "killed due to the node running low on memory" in short
    assert_same_end(spec, undisturbed(tmp_path, **OPTIONS))
    assert rows_by_step(log) == rows_by_step(tmp_path / "calm.log")
