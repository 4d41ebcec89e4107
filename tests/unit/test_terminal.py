"""Curves in a terminal, and a bar that does not take work done before for speed."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.progress import Progress as RichProgress

from shardline.terminal import SPARK_BARS, Bar, sparkline


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=500))
def test_sparkline_is_one_short_line_with_its_extremes(values):
    line = sparkline(values, width=40)
    assert len(line) == min(len(values), 40)
    assert set(line) <= set(SPARK_BARS)
    if len(values) <= 40 and max(values) - min(values) > 1e-3:
        assert line[values.index(min(values))] == SPARK_BARS[0]
        assert line[values.index(max(values))] == SPARK_BARS[-1]


def test_sparkline_follows_the_numbers():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == SPARK_BARS
    assert sparkline([1, 1, 1]) == SPARK_BARS[0] * 3
    assert sparkline([3, 1, 3, 1], width=2) == SPARK_BARS[0] * 2


def test_bar_of_continued_work_has_the_speed_of_what_it_saw():
    now = [0.0]
    display = RichProgress(
        console=Console(file=io.StringIO()), auto_refresh=False, get_time=lambda: now[0]
    )
    bar = Bar(display, display.add_task("train", total=None, unit="rows", note=""))
    for done in (10_000, 10_010, 10_020):
        now[0] += 1.0
        bar.update(done=done, total=20_000)
    assert display.tasks[0].completed == 10_020
    assert display.tasks[0].speed == pytest.approx(10, rel=0.5)
