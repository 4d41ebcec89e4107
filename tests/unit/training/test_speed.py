"""Speed between two readings of the clocks, and pauses that grow."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.training.journal.speed import Pace, Reading, Speed


def test_speed_counts_rows_of_all_workers_and_the_share_waited():
    begin, end = Reading(10, 100.0, 1.0), Reading(30, 104.0, 2.0)
    assert Speed.between(begin, end, batch_rows=64) == Speed(4.0, 320.0, 0.25)


@pytest.mark.parametrize(("waited_s", "share"), [(-1.0, 0.0), (9.0, 1.0)])
def test_speed_share_stays_a_share(waited_s, share):
    speed = Speed.between(Reading(0, 0.0, 0.0), Reading(1, 1.0, waited_s), batch_rows=1)
    assert speed.data_wait == share


@given(st.floats(10, 1e7))
def test_pace_leaves_few_moments_in_a_run_of_any_length(duration_s):
    pace, moments, now_s = Pace(15.0, 0.02, now_s=0.0), 0, 0.0
    while now_s < duration_s:
        now_s += max(1.0, 0.001 * now_s)
        moments += pace.is_due(now_s)
    assert moments <= 900
    assert moments >= min(duration_s / 16 - 1, 40)
