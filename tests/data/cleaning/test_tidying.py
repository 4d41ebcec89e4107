import pyarrow as pa

from shardline.data.cleaning.record import Fault
from shardline.data.cleaning.tidying import tidy
from shardline.data.treatment import Treatment
from shardline.spec.cleaning import TextRule

LOWER = TextRule(strip=True, case="lower")


def test_tidy_writes_alike_then_nulls_then_maps():
    raw = pa.table({"y": [" Cat", "DOG ", "n/a", "eel", None], "n": [1, 2, 3, 4, 5]})
    treatment = Treatment(
        text=LOWER, null_values=("n/a",), map={"cat": "pet", "dog": "pet"}, unmapped="quarantine"
    )
    found = tidy(raw, {"y": treatment})
    assert found.table["y"].to_pylist() == ["pet", "pet", None, None, None]
    assert found.table["n"].equals(raw["n"])
    assert found.faults == {3: Fault("unmapped", "'y' is 'eel', which its map does not name")}
    assert found.touched == {("y", "rewritten"): 2, ("y", "mapped"): 2, ("y", "unmapped"): 1}


def test_tidy_drops_rows_in_which_a_value_is_missing():
    raw = pa.table({"x": [1.0, float("nan"), None, -9.0], "y": ["a", "", "b", "c"]})
    drop = Treatment(null_values=("", "-9"), drop_missing=True)
    found = tidy(raw, {"x": drop, "y": drop})
    assert found.faults == {
        1: Fault("missing", "'x' is missing"),
        2: Fault("missing", "'x' is missing"),
        3: Fault("missing", "'x' is missing"),
    }
    assert found.touched["x", "dropped"] == 3
    assert found.touched["y", "dropped"] == 0


def test_tidy_a_column_that_a_table_lacks_is_missing_throughout():
    found = tidy(pa.table({"x": [1, 2]}), {"z": Treatment(drop_missing=True)})
    assert set(found.faults) == {0, 1}
    assert found.table.column_names == ["x"]


def test_tidy_takes_dictionaries_and_chunks():
    chunks = pa.chunked_array([["A", "b"], ["A"]]).dictionary_encode()
    found = tidy(pa.table({"x": chunks}), {"x": Treatment(text=LOWER)})
    assert found.table["x"].to_pylist() == ["a", "b", "a"]


def test_tidy_without_rows_gives_none():
    raw = pa.table({"y": pa.array([], pa.string())})
    found = tidy(raw, {"y": Treatment(text=LOWER, map={"a": "b"}, drop_missing=True)})
    assert (found.table.num_rows, found.faults) == (0, {})
