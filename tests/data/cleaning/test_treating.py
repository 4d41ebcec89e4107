import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from shardline.data.cleaning.record import Fault
from shardline.data.cleaning.treating import treat
from shardline.data.treatment import Treatment

CLIP = Treatment(low=0.0, high=10.0, beyond="clip", fill=5.0, indicator="gone")
ASIDE = Treatment(low=0.0, high=10.0, beyond="quarantine", fill=5.0)
values = st.lists(st.floats(-20, 30) | st.none(), max_size=20)


def rows(*given, kind=None):
    return pa.table({"x": pa.array(given, kind or pa.float64()), "id": pa.array(range(len(given)))})


def test_treat_clips_fills_and_indicates():
    found = treat(rows(-1.0, 3.0, None, 99.0), {"x": CLIP})
    assert found.table.column_names == ["x", "gone", "id"]
    assert found.table["x"].to_pylist() == [0.0, 3.0, 5.0, 10.0]
    assert found.table["gone"].to_pylist() == [0.0, 0.0, 1.0, 0.0]
    assert not found.table.schema.field("x").nullable
    assert found.faults == {}
    assert found.touched == {("x", "clipped"): 2, ("x", "filled"): 1}


def test_treat_sets_outliers_aside_and_fills_the_others():
    found = treat(rows(-1.0, 3.0, None, 99.0), {"x": ASIDE})
    assert found.table["x"].to_pylist() == [3.0, 5.0]
    assert found.table["id"].to_pylist() == [1, 2]
    assert found.faults == {
        0: Fault("outlier", "'x' is -1.0, below the bound 0.0"),
        3: Fault("outlier", "'x' is 99.0, above the bound 10.0"),
    }
    assert found.touched == {("x", "outliers"): 2, ("x", "filled"): 1}


def test_treat_counts_a_row_once_whatever_it_fails():
    table = pa.table({"x": [99.0, 1.0], "z": [99.0, 99.0]})
    aside = Treatment(high=10.0, beyond="quarantine")
    found = treat(table, {"x": aside, "z": aside})
    assert (found.touched["x", "outliers"], found.touched["z", "outliers"]) == (1, 1)
    assert found.table.num_rows == 0


def test_treat_fills_texts_whole_numbers_and_booleans():
    table = pa.table({
        "a": pa.array(["p", None]), "b": pa.array([None, 3], pa.uint8()),
        "c": pa.array([None, True]), "d": pa.array([None, 2.5], pa.float16()),
    })  # fmt: skip
    fills = {"a": "none", "b": 7, "c": False, "d": 0.5}
    found = treat(table, {name: Treatment(fill=fill) for name, fill in fills.items()})
    assert [found.table[name].to_pylist() for name in "abcd"] == [
        ["p", "none"], [7, 3], [False, True], [0.5, 2.5],
    ]  # fmt: skip
    assert [field.type for field in found.table.schema] == [field.type for field in table.schema]


def test_treat_leaves_what_is_not_yet_fitted():
    table = rows(-1.0, None)
    found = treat(table, {"x": Treatment(), "other": CLIP})
    assert found.table.equals(table)


@settings(deadline=None)
@given(values, st.sampled_from([CLIP, ASIDE]))
def test_treat_accounts_for_every_row_and_changes_nothing_more_when_repeated(given_values, rule):
    table = rows(*given_values)
    found = treat(table, {"x": rule})
    assert found.table.num_rows + len(found.faults) == table.num_rows
    numbers = found.table["x"].to_numpy()
    assert np.all((numbers >= 0) & (numbers <= 10))
    again = treat(found.table.select(["x", "id"]), {"x": rule})
    assert again.table["x"].equals(found.table["x"])
    assert not again.faults
