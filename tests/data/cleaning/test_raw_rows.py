import numpy as np
import pyarrow as pa

from shardline.data.cleaning.raw_rows import cast_raw_rows, raw_names
from shardline.data.rows import RowLayout, with_origin
from shardline.data.schema import Column
from shardline.data.treatment import Treatment
from shardline.spec.cleaning import TextRule

AGE = Treatment(
    null_values=("?",), low=0.0, high=100.0, beyond="clip", fill=30.0, indicator="no_age"
)
FEATURES = (
    Column(name="age", dtype="float32", treatment=AGE),
    Column(name="no_age", dtype="float32", treatment=AGE, indicates="age"),
    Column(name="city", dtype="string", treatment=Treatment(text=TextRule(case="lower"))),
    Column(name="n", dtype="int8", treatment=Treatment(high=9, beyond="quarantine")),
)


def cast(features=FEATURES, *, carried=("id",), **columns):
    count = len(next(iter(columns.values())))
    raw = with_origin(columns, "a.csv", np.arange(1, count + 1))
    return cast_raw_rows(raw, RowLayout(features=features, carried=carried))


def test_raw_rows_are_treated_as_training_rows_were():
    found = cast(
        age=["?", "150", "x", "20", None], city=["Bonn", "KÖLN", "b", "c", "D"],
        n=["1", "2", "3", "77", "5"], id=list("abcde"),
    )  # fmt: skip
    assert found.table.column_names == ["age", "no_age", "city", "n", "id"]
    assert found.table.to_pydict() == {
        "age": [30.0, 100.0, 30.0], "no_age": [1.0, 0.0, 1.0],
        "city": ["bonn", "köln", "d"], "n": [1, 2, 5], "id": ["a", "b", "e"],
    }  # fmt: skip
    assert [(r.file, r.row, r.reason) for r in found.rejected] == [
        ("a.csv", 3, "feature 'age' is 'x', expected finite float32"),
        ("a.csv", 4, "'n' is 77, above the bound 9"),
    ]
    assert found.num_read == 5


def test_raw_rows_of_a_model_that_takes_the_indicator_alone():
    found = cast(FEATURES[1:2], age=pa.array([1.0, float("nan"), None]), id=list("abc"))
    assert found.table["no_age"].to_pylist() == [0.0, 1.0, 1.0]
    alone = cast(FEATURES[1:2], carried=(), age=["1", "?", None])
    assert alone.table.to_pydict() == {"no_age": [0.0, 1.0, 1.0]}
    assert raw_names(FEATURES[1:2]) == ["age"]


def test_raw_rows_may_lack_a_column_that_is_filled():
    found = cast(FEATURES[:2], id=["a", "b"])
    assert found.table["age"].to_pylist() == [30.0, 30.0]
    assert found.table["no_age"].to_pylist() == [1.0, 1.0]


def test_raw_rows_with_numbers_that_count_as_missing_in_another_notation():
    treatment = AGE.model_copy(update={"null_values": ("-9",)})
    age = [column.model_copy(update={"treatment": treatment}) for column in FEATURES[:2]]
    dropped = Column(name="n", dtype="int8", treatment=Treatment(
        null_values=("-9.0",), drop_missing=True))  # fmt: skip
    found = cast((*age, dropped), age=["-9.0", "5", "-9"], n=["1", "-9", "3"], id=list("abc"))
    assert found.table.to_pydict() == {
        "age": [30.0, 30.0], "no_age": [1.0, 1.0], "n": [1, 3], "id": ["a", "c"],
    }  # fmt: skip
    assert [(r.row, r.reason) for r in found.rejected] == [(2, "'n' is missing")]


def test_raw_names_name_no_indicator():
    assert raw_names(FEATURES) == ["age", "city", "n"]
