"""kill -9 of a training worker: the run finishes, with the weights of an undisturbed one."""

import os
import signal
import threading
import time

import numpy as np
import pytest
from tests.lines import classifier_line, prepared, trained

from shardline.artifacts.checkpoint import find_checkpoint, list_checkpoints, read_tensors
from shardline.store import Store

pytestmark = pytest.mark.usefixtures("ray_session")

WORKERS = 2


def kill_after_first_checkpoint(spec, pid_file, killed, *, timeout_s=120):
    """Kill one worker as soon as a checkpoint inside an epoch is committed."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = list_checkpoints(Store(spec.store), spec.run_name)
        if found and found[-1].cursor.step:
            pid = int(pid_file.read_text().split()[-1])
            os.kill(pid, signal.SIGKILL)
            killed.append((pid, found[-1].step))
            return
        threading.Event().wait(0.05)


def test_train_worker_killed_mid_epoch_ends_as_if_it_had_not_been(tmp_path):
    options = {
        "train.workers": WORKERS,
        "train.checkpoint.every_steps": 5,
        "train.checkpoint.keep": 100,
    }
    calm = classifier_line(tmp_path, **options, **{"train.run": "calm"})
    dataset = prepared(calm)
    expected = trained(calm)

    pid_file = tmp_path / "pids"
    params = {"pid_file": str(pid_file), "slow_s": 0.1}
    spec = classifier_line(tmp_path, **options, **{"train.run": "hit", "model.params": params})
    killed = []
    killer = threading.Thread(target=kill_after_first_checkpoint, args=(spec, pid_file, killed))
    killer.start()
    result = trained(spec)
    killer.join()

    assert killed, "the fault never fired"
    assert len(pid_file.read_text().split()) == 2 * WORKERS, "the group was restarted once"
    assert dataset.split("train").rows // 16 > 5
    for ours, theirs in zip(result.history, expected.history, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-6)
    store = Store(spec.store)
    tensors = read_tensors(store, find_checkpoint(store, "hit"))
    undisturbed = read_tensors(store, find_checkpoint(store, "calm"))
    for name, array in tensors.items():
        np.testing.assert_array_equal(array, undisturbed[name], err_msg=name)
