"""When a request is tried again, and when no more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.store import retrying
from shardline.store.deletion import deletion_order
from shardline.store.retrying import pause_s, retried


class Clock:
    """A clock that only moves when somebody sleeps, or an attempt takes its time."""

    def __init__(self):
        self.now_s = 0.0
        self.slept_s = []

    def __call__(self):
        return self.now_s

    def sleep(self, seconds):
        self.slept_s.append(seconds)
        self.now_s += seconds


@given(st.integers(1, 50), st.floats(0, 500), st.floats(0, 1, exclude_max=True))
def test_pause_stays_within_attempts_and_budget(attempt, spent_s, draw):
    pause = pause_s(attempt, spent_s=spent_s, draw=draw)
    if attempt >= retrying.MAX_ATTEMPTS or spent_s >= retrying.BUDGET_S:
        assert pause is None
    if pause is not None:
        assert 0 <= pause <= retrying.LONGEST_PAUSE_S
        assert spent_s + pause < retrying.BUDGET_S


def test_pauses_double_up_to_the_longest():
    pauses = [pause_s(n, spent_s=0, draw=0.999999) for n in range(1, retrying.MAX_ATTEMPTS)]
    assert [round(pause, 2) for pause in pauses] == [0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 20.0]


def test_act_that_keeps_failing_ends_with_its_own_error_after_the_last_attempt():
    clock, attempts = Clock(), []

    def act():
        attempts.append(clock.now_s)
        raise OSError(len(attempts))

    with pytest.raises(OSError, match=f"^{retrying.MAX_ATTEMPTS}$"):
        retried(act, passes=lambda error: True, clock=clock, sleep=clock.sleep)
    assert len(attempts) == retrying.MAX_ATTEMPTS
    assert len(clock.slept_s) == retrying.MAX_ATTEMPTS - 1


def test_act_whose_attempts_take_long_ends_with_the_budget():
    clock, attempts = Clock(), []

    def act():
        attempts.append(clock.now_s)
        clock.now_s += 60
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        retried(act, passes=lambda error: True, clock=clock, sleep=clock.sleep)
    assert len(attempts) == 2
    assert attempts[-1] < retrying.BUDGET_S


def test_error_that_does_not_pass_is_raised_at_once():
    clock = Clock()
    with pytest.raises(ZeroDivisionError):
        retried(lambda: 1 / 0, passes=lambda error: False, clock=clock, sleep=clock.sleep)
    assert clock.slept_s == []


def test_act_that_recovers_returns_its_value():
    clock, failures = Clock(), iter([True, True, False])

    def act():
        if next(failures):
            raise OSError
        return "done"

    assert retried(act, passes=lambda error: True, clock=clock, sleep=clock.sleep) == "done"
    assert len(clock.slept_s) == 2


keys = st.lists(
    st.lists(st.sampled_from(["a", "b", "run.json", "x.safetensors"]), min_size=1, max_size=4).map(
        "/".join
    ),
    unique=True,
)


@given(keys)
def test_deletion_takes_every_key_once_and_markers_before_what_they_vouch_for(names):
    groups = deletion_order(names)
    flat = [key for group in groups for key in group]
    assert sorted(flat) == sorted(names)
    assert all(groups)
    place = {key: number for number, group in enumerate(groups) for key in group}
    for marker in (name for name in names if name.endswith(".json")):
        for other in names:
            if not other.endswith(".json"):
                assert place[marker] < place[other]
            elif other.count("/") > marker.count("/"):
                assert place[other] < place[marker]
