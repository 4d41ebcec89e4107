"""Workers killed, stopped and told to go: the run ends as if nothing had happened."""

import os
import signal
import threading
from pathlib import Path

import pytest
from tests.faults.runs import (
    assert_same_end,
    incidents,
    noted_line,
    pids,
    rows_by_step,
    rows_fed,
    steps_seen,
    wait_until,
)
from tests.lines import prepared, trained

WORKERS = 2
OPTIONS = {"train.workers": WORKERS, "train.epochs": 4, "train.stall_timeout_s": 10}


@pytest.mark.usefixtures("ray_session")
def test_workers_killed_stopped_and_told_to_go_leave_no_trace_in_the_result(tmp_path):
    calm = noted_line(tmp_path, "calm", **OPTIONS)
    prepared(calm)
    trained(calm)
    # Only being killed and being stopped are failures.
    spec = noted_line(tmp_path, "hit", **OPTIONS, **{"train.max_failures": 2})
    log, slow = tmp_path / "hit.log", tmp_path / "hit.slow"
    slow.touch()
    struck = []

    def strike():
        for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP):
            group = (len(struck) + 1) * WORKERS
            steps = 7 * (len(struck) + 1)  # there is a checkpoint since the last fault
            wait_until(lambda: len(pids(log)) == group and steps_seen(log) >= steps, what=number)  # noqa: B023
            os.kill(pids(log)[-1], number)
            struck.append(pids(log)[-1])
        slow.unlink()

    striker = threading.Thread(target=strike)
    striker.start()
    trained(spec)
    striker.join()

    assert len(struck) == 3, "a fault never fired"
    assert len(pids(log)) == 4 * WORKERS, "the group was restarted once for each"
    assert_same_end(spec, calm)
    assert rows_by_step(log) == rows_by_step(tmp_path / "calm.log")
    told, killed, stopped = incidents(spec)
    assert "was asked to stop, a worker received SIGTERM; the run is committed up to step" in told
    assert "rank 1: " in killed or "rank 0: " in killed
    assert "at step" in stopped
    assert "connected but silent" in stopped
    assert not Path(f"/proc/{struck[2]}").exists(), "the stopped process holds on to its memory"
    first = pids(log)[:WORKERS]
    before = rows_fed(log, first)
    assert set(before.values()) == {16}
    assert min(rows_fed(log, pids(log)[WORKERS : 2 * WORKERS])) == max(before) + 1, (
        "the group that was told to go committed its last step"
    )
