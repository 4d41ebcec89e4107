"""Small writes in the background: the newest counts, a failure is said once and stops nothing."""

import logging
import threading

from shardline.training.journal.notes import Notes


def test_notes_write_the_newest_of_each_kind():
    notes, written = Notes(), []
    busy, go_on = threading.Event(), threading.Event()

    def slow():
        busy.set()
        go_on.wait(10)

    notes.note("slow", slow)
    assert busy.wait(10)
    for number in range(5):
        notes.note("a", lambda number=number: written.append(("a", number)))
        notes.note("b", lambda number=number: written.append(("b", number)))
    go_on.set()
    notes.finish()
    assert written == [("a", 4), ("b", 4)]


def test_notes_failure_is_one_warning_and_the_next_write_is_tried(caplog):
    notes, tried = Notes(), threading.Semaphore(0)

    def fail():
        tried.release()
        raise OSError(28, "No space left on device")

    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            notes.note("metrics.jsonl", fail)
            assert tried.acquire(timeout=10)
        notes.finish()
    (record,) = caplog.records
    assert record.getMessage() == (
        "metrics.jsonl could not be written: [Errno 28] No space left on device"
    )
