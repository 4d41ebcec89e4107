"""Cutting an input into units: every row once, names stable and distinct."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from shardline.scoring.units import (
    MAX_UNIT_IMAGES,
    MAX_UNIT_ROWS,
    InputFile,
    Unit,
    file_units,
    image_units,
    known_rows,
    parquet_units,
    row_group_runs,
)

group_sizes = st.lists(st.integers(0, 100_000), max_size=30)
files = st.lists(
    st.builds(InputFile, name=st.text(max_size=3), fingerprint=st.text(max_size=2)),
    max_size=20,
    unique_by=lambda file: file.name,
)


@given(sizes=group_sizes, max_rows=st.integers(1, 100_000))
def test_row_group_runs_hold_every_group_once_and_are_bounded(sizes, max_rows):
    runs = list(row_group_runs(sizes, max_rows=max_rows))
    assert [group for run in runs for group in run] == list(range(len(sizes)))
    for run in runs:
        rows = sum(sizes[group] for group in run)
        assert rows <= max_rows or len(run) == 1
    for run, following in pairwise(runs):
        together = sum(sizes[g] for g in run) + sizes[following.start]
        assert together > max_rows  # no run ends before it must


@given(sizes=group_sizes)
def test_parquet_units_know_where_their_rows_begin(sizes):
    file = InputFile("a.parquet", "f")
    units = list(parquet_units(4, file, sizes, model="m/1"))
    position = 0
    for unit in units:
        assert (unit.first_file, unit.num_files, unit.first_row) == (4, 1, position)
        position += unit.num_rows
    assert position == sum(sizes)


@given(names=files, sizes=st.lists(st.integers(1, MAX_UNIT_ROWS), min_size=1, max_size=4))
def test_unit_names_are_stable_and_distinct_even_for_equal_contents(names, sizes):
    def plan(model):
        return [
            *file_units(names, model=model),
            *(
                unit
                for position, file in enumerate(names)
                for unit in parquet_units(position, file, sizes, model=model)
            ),
        ]

    first = [unit.name for unit in plan("m/1")]
    assert first == [unit.name for unit in plan("m/1")]
    assert len(set(first)) == len(first)
    assert not set(first) & {unit.name for unit in plan("m/2")}
    assert all(len(name) == len("part-") + 16 for name in first)


def test_unit_name_changes_with_the_content():
    def name(fingerprint):
        (unit,) = file_units([InputFile("a.csv", fingerprint)], model="m/1")
        return unit.name

    assert name("f") != name("g")


@given(count=st.integers(0, 3 * MAX_UNIT_IMAGES))
def test_image_units_hold_every_file_once(count):
    units = list(image_units([InputFile(f"{i}.png", "f") for i in range(count)], model="m/1"))
    covered = [i for u in units for i in range(u.first_file, u.first_file + u.num_files)]
    assert covered == list(range(count))
    assert all(0 < unit.num_files <= MAX_UNIT_IMAGES for unit in units)
    assert known_rows(units) == count


def test_known_rows_is_none_when_one_unit_must_be_read():
    assert known_rows([Unit("a", 0, num_rows=3), Unit("b", 1)]) is None
    assert known_rows([Unit("a", 0, num_rows=3), Unit("b", 1, num_rows=0)]) == 3
