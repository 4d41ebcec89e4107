"""Retention as a law: what is kept of any run, however its removals are spread over time."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.checkpoints import manifest

from shardline.artifacts.checkpoint import Cursor, best_checkpoint, checkpoint_key
from shardline.artifacts.retention import abandoned, kept
from shardline.errors import SpecError
from shardline.spec.loading import check_spec
from shardline.spec.train import CheckpointSpec, MonitorSpec

HOUR_S = 3600.0


def ended(step, *, loss=None, hours=0.0, in_epoch=0):
    """A checkpoint at the end of an epoch."""
    history = () if loss is None else ({"epoch": step, "val_loss": loss},)
    return manifest(
        step,
        cursor=Cursor(epoch=step, step=in_epoch),
        history=history,
        created_unix_s=hours * HOUR_S,
    )


@st.composite
def runs(draw):
    """Checkpoints, oldest first, some inside epochs, some without a metric."""
    steps = sorted(draw(st.sets(st.integers(1, 200), min_size=1, max_size=25)))
    ages = sorted(draw(st.lists(st.floats(0, 100), min_size=len(steps), max_size=len(steps))))
    losses = st.none() | st.floats(0, 3) | st.just(math.nan)
    return [
        ended(step, hours=hours, loss=draw(losses), in_epoch=draw(st.integers(0, 1)))
        for step, hours in zip(steps, ages, strict=True)
    ]


@st.composite
def policies(draw):
    monitor = MonitorSpec(metric="val_loss", mode=draw(st.sampled_from(["min", "max"])))
    is_monitored = draw(st.booleans())
    return CheckpointSpec(
        keep=draw(st.integers(1, 5)),
        keep_best=draw(st.integers(1, 4)) if is_monitored else 1,
        keep_every_hours=draw(st.none() | st.floats(0.01, 60)),
        monitor=monitor if is_monitored else None,
    )


def left(checkpoints, policy):
    steps = kept(checkpoints, policy)
    return [checkpoint for checkpoint in checkpoints if checkpoint.step in steps]


@given(runs(), policies())
def test_last_and_the_one_that_evaluation_takes_are_always_kept(run, policy):
    found = kept(run, policy)
    assert all("last" in found[checkpoint.step] for checkpoint in run[-policy.keep :])
    assert best_checkpoint(run, policy.monitor).step in found
    assert best_checkpoint(left(run, policy), policy.monitor).step == (
        best_checkpoint(run, policy.monitor).step
    )


@given(runs(), policies())
def test_best_are_no_worse_than_any_that_goes(run, policy):
    found = kept(run, policy)
    best = [c for c in run if "best" in found.get(c.step, ())]
    assert len(best) <= policy.keep_best
    sign = 1 if policy.monitor and policy.monitor.mode == "min" else -1
    for checkpoint in run:
        known = checkpoint.history and not math.isnan(checkpoint.history[-1]["val_loss"])
        if policy.monitor and known and not checkpoint.cursor.step and checkpoint not in best:
            assert len(best) == policy.keep_best
            worst = max(sign * each.history[-1]["val_loss"] for each in best)
            assert worst <= sign * checkpoint.history[-1]["val_loss"]


@given(runs(), policies())
def test_every_moment_of_the_run_has_a_kept_one_near_it(run, policy):
    found = kept(run, policy)
    spaced = [c.created_unix_s / HOUR_S for c in run if "hourly" in found.get(c.step, ())]
    if policy.keep_every_hours is None:
        assert spaced == []
        return
    for checkpoint in run:
        hours = checkpoint.created_unix_s / HOUR_S
        assert any(hours - policy.keep_every_hours < at <= hours for at in spaced)
    span = run[-1].created_unix_s - run[0].created_unix_s
    assert len(spaced) <= 1 + span / HOUR_S / policy.keep_every_hours + 1e-6


@given(runs(), policies(), st.data())
def test_what_is_kept_does_not_depend_on_when_passes_run(run, policy, data):
    """After every commit, after some of them, or with removals put off: the same in the end."""
    remaining = []
    for checkpoint in run:
        remaining.append(checkpoint)
        if data.draw(st.booleans()):
            steps = kept(remaining, policy)
            put_off = data.draw(st.sets(st.sampled_from([c.step for c in remaining])))
            remaining = [c for c in remaining if c.step in steps or c.step in put_off]
    assert left(remaining, policy) == left(run, policy)


@given(runs(), policies(), st.sets(st.integers(0, 220)))
def test_abandoned_folders_are_unmarked_and_older_than_where_a_run_continues(run, policy, others):
    names = {step: checkpoint_key("r", step).rpartition("/")[2] for step in others}
    committed = {checkpoint.step for checkpoint in run}
    found = abandoned([*names.values(), "notes", "step-x"], run, policy)
    oldest = min(checkpoint.step for checkpoint in run[-policy.keep :])
    assert set(found) == {name for step, name in names.items() if step < oldest} - {
        checkpoint_key("r", step).rpartition("/")[2] for step in committed
    }


def test_kept_says_why():
    run = [
        ended(1, loss=0.9, hours=0), ended(2, loss=0.1, hours=1), ended(3, loss=0.2, hours=2),
        ended(4, loss=0.5, hours=6), ended(5, loss=0.6, hours=7),
    ]  # fmt: skip
    policy = CheckpointSpec(
        keep=2, keep_best=2, keep_every_hours=6, monitor=MonitorSpec(metric="val_loss")
    )
    assert kept(run, policy) == {
        1: ("hourly",), 2: ("best",), 3: ("best",), 4: ("last", "hourly"), 5: ("last",),
    }  # fmt: skip
    assert kept([], policy) == {}
    assert abandoned(["step-00000001"], [], policy) == []


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({"keep_best": 2}, r"train\.checkpoint: keep_best \(2\) needs monitor: \{metric, mode\}"),
        ({"keep_best": 0}, r"train\.checkpoint\.keep_best"),
        ({"keep_every_hours": 0.0}, r"train\.checkpoint\.keep_every_hours"),
        ({"keep_every_hours": math.inf}, r"train\.checkpoint\.keep_every_hours"),
    ],
)
def test_policy_that_makes_no_sense_is_refused(section, sentence):
    values = {
        "name": "toy",
        "store": "store",
        "data": {"source": {"format": "csv", "path": "rows.csv"}, "label": {"name": "y"}},
        "model": {"builder": "model:build"},
        "train": {"checkpoint": section},
    }
    with pytest.raises(SpecError, match=sentence):
        check_spec(values, where="test")
