"""A worker killed, stopped or told to go: the run ends as if nothing had happened."""

import os
import signal
import threading
from pathlib import Path

import pytest
from tests.faults.runs import (
    assert_same_end,
    checkpoint_inside_epoch,
    incidents,
    noted_line,
    pids,
    rows_by_step,
    steps_taken,
    wait_until,
)
from tests.lines import prepared, trained

pytestmark = pytest.mark.usefixtures("ray_session")

WORKERS = 2


@pytest.fixture(scope="module")
def calm(ray_session, tmp_path_factory):
    """A run that nothing happened to, and its folder."""
    folder = tmp_path_factory.mktemp("faults")
    spec = noted_line(folder, "calm", **{"train.workers": WORKERS})
    prepared(spec)
    trained(spec)
    return folder, spec


def hit(folder, run, fault, **overrides):
    """A run whose worker `fault(pid)` happens to after its first checkpoint; its log."""
    spec = noted_line(folder, run, **{"train.workers": WORKERS}, **overrides)
    log, slow = folder / f"{run}.log", folder / f"{run}.slow"
    slow.touch()
    fired = []

    def strike():
        wait_until(lambda: checkpoint_inside_epoch(spec), what="a checkpoint inside an epoch")
        pid = pids(log)[-1]
        fault(pid)
        fired.append(pid)
        slow.unlink()

    striker = threading.Thread(target=strike)
    striker.start()
    trained(spec)
    striker.join()
    assert len(fired) == 1, "the fault never fired"
    assert len(pids(log)) == 2 * WORKERS, "the group was restarted once"
    return spec, log, fired[0]


def test_worker_killed_mid_epoch_leaves_no_trace_in_the_result(calm):
    folder, expected = calm
    spec, log, _ = hit(folder, "killed", lambda pid: os.kill(pid, signal.SIGKILL))
    assert_same_end(spec, expected)
    assert rows_by_step(log) == rows_by_step(folder / "calm.log")
    assert len(incidents(spec)) == 1


def test_worker_stopped_is_noticed_named_and_replaced(calm):
    folder, expected = calm
    spec, log, pid = hit(
        folder, "stopped", lambda pid: os.kill(pid, signal.SIGSTOP),
        **{"train.stall_timeout_s": 8},
    )  # fmt: skip
    assert_same_end(spec, expected)
    assert rows_by_step(log) == rows_by_step(folder / "calm.log")
    (told,) = incidents(spec)
    assert "at step" in told
    assert "rank" in told
    assert not Path(f"/proc/{pid}").exists(), "the stopped process still holds its memory"


def test_worker_told_to_go_commits_its_step_and_no_step_is_taken_twice(calm):
    folder, expected = calm
    spec, log, _ = hit(
        folder, "told", lambda pid: os.kill(pid, signal.SIGTERM),
        **{"train.max_failures": 0},
    )  # fmt: skip
    assert_same_end(spec, expected)
    assert steps_taken(log) == steps_taken(folder / "calm.log")
    assert "was asked to stop, a worker received SIGTERM" in incidents(spec)[0]
