"""Calls made one after the other by a thread of their own."""

import pytest

from shardline.training.exchange.queued_calls import QueuedCalls


def test_queued_calls_give_results_and_exceptions_to_whoever_waits():
    calls = QueuedCalls("test")

    def fail():
        raise ValueError("mistake")

    failed, done = calls.submit(fail), calls.submit(lambda: 7)
    with pytest.raises(ValueError, match="mistake"):
        failed.result(timeout=10)
    assert done.result(timeout=10) == 7
    calls.close()


def test_queued_calls_closed_makes_what_it_has_and_takes_no_more():
    calls = QueuedCalls("test")
    futures = [calls.submit(lambda i=i: i) for i in range(100)]
    calls.close()
    assert [future.result(timeout=10) for future in futures] == list(range(100))
    with pytest.raises(RuntimeError, match="test is closed"):
        calls.submit(lambda: None)
