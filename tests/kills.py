"""Processes that commit checkpoints, killed at random moments; run as a program of its own.

`python -m tests.kills STORE TRIALS SEED`: every trial forks a process that continues the run
of the one before and commits as fast as it can, with retention, until it is killed. Meanwhile
this process reads what it finds, and then what is left. Everything is imported once, before the
first fork.
"""

import gc
import os
import random
import signal
import sys
import time

import numpy as np
from tests.checkpoints import commit, tensors_of
from urllib3 import PoolManager

from shardline.artifacts.checkpoint import list_checkpoints, read_tensors
from shardline.artifacts.checkpoint_reading import chosen
from shardline.garbage.collect import collect_garbage
from shardline.store import open_store
from shardline.training.checkpoints.resume import restore_newest
from shardline.training.exchange.peers import Alone

KEEP = 2
TRIALS_PER_COLLECTION = 10
DAY_S = 86400.0


def check_whole(checkpoint, tensors):
    """All of one step, and nothing of another."""
    expected = tensors_of(checkpoint.step)
    assert tensors.keys() == expected.keys()
    for name, array in tensors.items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def train_on(store):
    """Continue the run, until the end of the process."""
    restored = restore_newest(store, "r", Alone())
    step = restored.checkpoint.step if restored else 0
    while True:
        step += 1
        commit(store, step, world_size=1 + step % 2, keep=KEEP)


def read_while_it_runs(store, deadline_s):
    """Take the newest checkpoint again and again; how often."""
    reads = 0
    while time.monotonic() < deadline_s:
        newest = lambda: next(reversed(list_checkpoints(store, "r")), None)  # noqa: E731
        with chosen(store, newest, reader="test") as checkpoint:
            if checkpoint is not None:
                check_whole(checkpoint, read_tensors(store, checkpoint))
                reads += 1
    return reads


def forked(store):
    """A process that trains; it has this one's S3 client, and connections of its own."""
    for connections in gc.get_referrers(PoolManager):
        if isinstance(connections, PoolManager):
            connections.clear()
    pid = os.fork()
    if pid:
        return pid
    try:
        train_on(store)
    finally:
        os._exit(1)  # only a mistake ends it; the parent sees that it was not the kill


def trial(store, at_least, longest_s, drawn):
    """Kill one process; the step that its run stands at, and how often it was read meanwhile."""
    pid = forked(store)
    try:
        reads = read_while_it_runs(store, time.monotonic() + drawn.uniform(0, longest_s))
    finally:
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    restored = restore_newest(store, "r", Alone())
    if restored is None:
        assert not at_least
        return 0, reads
    check_whole(restored.checkpoint, restored.tensors)
    assert restored.checkpoint.step >= at_least
    for checkpoint in list_checkpoints(store, "r"):
        check_whole(checkpoint, read_tensors(store, checkpoint))
    return restored.checkpoint.step, reads


def check_collected(store):
    """After `gc` there is nothing but what is committed and kept."""
    collect_garbage(store.uri, delete=True, clock=lambda: time.time() + 2 * DAY_S)
    checkpoints = list_checkpoints(store, "r")
    named = {f"{c.key}/checkpoint.json" for c in checkpoints}
    named |= {key for c in checkpoints for key in c.file_keys}
    assert {entry.key for entry in store.scan("runs/")} == named
    for checkpoint in checkpoints:
        check_whole(checkpoint, read_tensors(store, checkpoint))


def main(uri, trials, seed):
    """Kill that many processes; prints how far the run came and how often it was read.

    They live as long as it takes for every other one to commit, however busy the machine is.
    """
    store, drawn = open_store(uri), random.Random(seed)
    for step in (1, 2):  # what is imported late is imported now
        commit(store, step, world_size=step, keep=KEEP)
    longest_s, reads, grown = 0.1, 0, 0
    for number in range(1, trials + 1):
        before = step
        step, more = trial(store, step, longest_s, drawn)
        longest_s *= 0.7 if step > before else 1.5
        reads, grown = reads + more, grown + (step > before)
        if number % TRIALS_PER_COLLECTION == 0:
            check_collected(store)
    check_collected(store)
    print(f"{trials} kills: step {step}, {grown} of them after a commit, read {reads} times")
    assert grown > trials // 10
    assert reads > trials // 10


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
