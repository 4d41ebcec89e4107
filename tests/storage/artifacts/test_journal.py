"""The journal of a run that was broken off anywhere has every epoch once."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.artifacts.journal import (
    JournalLine,
    continued,
    dump_journal,
    finite,
    journal_key,
    read_journal,
)
from shardline.store import Store

STEPS = 10


def epoch_line(epoch, loss=1.0):
    step = (epoch + 1) * STEPS
    return JournalLine(kind="epoch", epoch=epoch, step=step, logs={"loss": loss}, seconds=2.0)


def step_line(step):
    return JournalLine(kind="step", epoch=step // STEPS, step=step, logs={"loss": 0.5})


@given(
    st.integers(0, 6), st.integers(0, 6), st.integers(0, STEPS - 1), st.lists(st.integers(1, 69))
)
def test_continued_journal_has_each_epoch_of_the_checkpoint_once(written, done, step, noted):
    lines = [epoch_line(epoch) for epoch in range(written)] + [step_line(s) for s in set(noted)]
    history = [{"epoch": epoch, "loss": 1.0} for epoch in range(done)]
    at = done * STEPS + step
    result = continued(lines, history, step=at, steps_per_epoch=STEPS)
    assert [line.epoch for line in result if line.kind == "epoch"] == list(range(done))
    assert [line.step for line in result] == sorted(line.step for line in result)
    steps = [line.step for line in result if line.kind == "step"]
    assert steps == sorted(s for s in set(noted) if s <= at)
    for line in result:
        if line.kind == "epoch":
            assert line.step == (line.epoch + 1) * STEPS
            assert line.seconds == (2.0 if line.epoch < written else None)


def test_continued_journal_believes_the_checkpoint():
    (line,) = continued(
        [epoch_line(0, loss=3.0)], [{"epoch": 0, "loss": 1.0}], step=STEPS, steps_per_epoch=STEPS
    )
    assert line.logs == {"loss": 1.0}


def test_journal_reads_back_what_is_whole(tmp_path, caplog):
    store = Store(f"file://{tmp_path}")
    assert read_journal(store, "toy") == []
    lines = [epoch_line(0), step_line(12), epoch_line(1)]
    store.write(journal_key("toy"), dump_journal(lines) + b'{"kind": "epo')
    with caplog.at_level(logging.WARNING):
        assert read_journal(store, "toy") == lines
    assert "holds a line that is none" in caplog.text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_journal_holds_no_number_that_json_has_not(value):
    assert finite({"loss": value, "mae": 1}) == {"loss": None, "mae": 1.0}
    line = epoch_line(0).model_copy(update={"logs": finite({"loss": value})})
    assert JournalLine.model_validate_json(dump_journal([line])) == line
