"""Requests for a model whose columns were cleaned: the same answers as for the rows it learned."""

import json

import numpy as np
import pyarrow as pa
import pytest

from shardline.data.casting import cast_column
from shardline.data.cleaning.labels import mapped
from shardline.data.cleaning.missing import nulled
from shardline.data.schema import Column
from shardline.data.treatment import Treatment
from shardline.serving.refusals import MalformedRequestError
from shardline.serving.treated import client_columns
from shardline.serving.wire import parse_predict
from shardline.spec.cleaning import TextRule

AGE = Treatment(
    null_values=("", "-9"), low=0.0, high=100.0, beyond="clip", fill=30.0, indicator="no_age"
)
CITY = Treatment(
    text=TextRule(strip=True, case="lower"), null_values=("?",),
    map={"köln": "cologne", "bonn": "bonn"}, unmapped="quarantine", fill="none",
)  # fmt: skip
INPUTS = (
    Column(name="age", dtype="float32", treatment=AGE),
    Column(name="no_age", dtype="float32", treatment=AGE, indicates="age"),
    Column(name="city", dtype="string", treatment=CITY),
    Column(name="n", dtype="int8", treatment=Treatment(low=2, high=9, beyond="quarantine")),
)


def parse(document, inputs=INPUTS):
    request = parse_predict(json.dumps(document).encode(), inputs, max_rows=8)
    return {name: array[:, 0].tolist() for name, array in request.columns.items()}


def refusal(document, inputs=INPUTS):
    with pytest.raises(MalformedRequestError) as caught:
        parse(document, inputs)
    assert caught.value.status == 400
    return caught.value.message


def test_rows_are_filled_clipped_written_alike_and_renamed():
    rows = [
        {"age": None, "city": " KÖLN", "n": 2},
        {"age": 150, "city": "?", "n": [9]},
        {"city": "Bonn", "n": 5},
        {"age": -9, "city": None, "n": 5},
        {"age": 20.5, "n": 5},
        {"age": float("nan"), "n": 5},
    ]
    assert parse({"instances": rows}) == {
        "age": [30.0, 100.0, 30.0, 30.0, 20.5, 30.0],
        "no_age": [1.0, 0.0, 1.0, 1.0, 0.0, 1.0],
        "city": ["cologne", "none", "bonn", "none", "none", "none"],
        "n": [2, 9, 5, 5, 5, 5],
    }


def test_columns_may_be_left_out_where_they_are_filled():
    assert parse({"inputs": {"n": [3, 4]}}) == {
        "age": [30.0] * 2, "no_age": [1.0] * 2, "city": ["none"] * 2, "n": [3, 4],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"n": 99}, "column 'n', row 0: got 99, expected a number from 2 to 9."),
        ({"n": None}, "column 'n', row 0: got null (None), expected int8."),
        ({"age": 5}, "row 0 of 'instances' lacks the column 'n'; the model takes 'age', 'city', '"),
        (
            {"n": 5, "city": "Ulm"},
            "column 'city', row 0: got 'ulm', expected one of 'köln', 'bo",
        ),
        ({"n": 5, "age": "old"}, "column 'age', row 0: got a string ('old'), expected float32."),
        ({"n": 5, "no_age": 1}, "row 0 of 'instances' has the unknown column 'no_age' (did you m"),
    ],
)
def test_rows_that_would_have_been_set_aside_are_refused(row, sentence):
    assert sentence in refusal({"instances": [row]})


def test_a_value_that_rows_were_dropped_for_is_refused():
    dropped = (Column(name="w", dtype="string", treatment=Treatment(
        null_values=("NA",), drop_missing=True)),)  # fmt: skip
    sentence = "column 'w', row 1: got 'NA', which counts as missing, expected a string."
    assert sentence in refusal({"instances": ["a", "NA"]}, dropped)


@pytest.mark.parametrize(
    ("dtype", "null_value", "sent"),
    [
        ("float32", "-999.0", -999),
        ("float32", "-999", -999.0),
        ("int64", "-999.0", -999),
        ("float32", "0.1", 0.1),
        ("float32", "0.1", float(np.float32(0.1))),
        ("float64", "1e3", 1000),
    ],
)
def test_numbers_count_as_missing_however_they_are_written(dtype, null_value, sent):
    filled = Treatment(null_values=(null_value,), fill=7, indicator="gone")
    columns = (
        Column(name="x", dtype=dtype, treatment=filled),
        Column(name="gone", dtype="float32", treatment=filled, indicates="x"),
    )
    assert parse({"instances": [sent, 5]}, columns[:1]) == {"x": [7, 5]}
    assert nulled(pa.array([sent, 5], columns[0].arrow_type), (null_value,)).to_pylist() == [
        None,
        5,
    ]
    if sent != float(np.float32(0.1)):
        assert parse({"instances": [sent, 5]}, columns[1:]) == {"gone": [1.0, 0.0]}


@pytest.mark.parametrize(
    ("dtype", "names", "unmapped", "sent", "expected"),
    [
        ("string", {"a": 1, "b": "x"}, "quarantine", ["a", "b"], ["1", "x"]),
        ("bool", {"y": 1, "n": 0}, "quarantine", ["y", "n"], [True, False]),
        ("int64", {"yes": 1.0}, "quarantine", ["yes"], [1]),
        ("string", {"a": 0}, "keep", ["a", "b"], ["0", "b"]),
        ("string", {"1": "one"}, "keep", [1, 2.0, True], ["one", "2", "true"]),
        ("string", {"1e+16": "big", "0.00001": "small", "1e-7": "tiny"}, "quarantine",
         [1e16, 1e-5, 1e-7], ["big", "small", "tiny"]),
    ],
)  # fmt: skip
def test_new_names_are_of_the_columns_type(dtype, names, unmapped, sent, expected):
    column = Column(name="x", dtype=dtype, treatment=Treatment(map=names, unmapped=unmapped))
    found = parse({"instances": sent}, (column,))["x"]
    assert found == expected
    assert [type(each) for each in found] == [type(each) for each in expected]
    for value, each in zip(sent, expected, strict=True):
        trained = mapped(pa.array([value]), names, others=unmapped).values
        assert cast_column(trained, column, role="feature").values.to_pylist() == [each]


def test_a_model_that_takes_the_indicator_alone_is_sent_its_column():
    only = INPUTS[1:2]
    assert [column.name for column in client_columns(only)] == ["age"]
    assert parse({"instances": [5, None, -9]}, only) == {"no_age": [0.0, 1.0, 1.0]}


def test_no_columns_at_all_are_no_rows():
    assert "the request has no rows" in refusal({"inputs": {}}, INPUTS[:3])


def test_whole_numbers_keep_their_type():
    n = (Column(name="n", dtype="int64", treatment=Treatment(high=9, beyond="clip", fill=4)),)
    request = parse_predict(b'{"instances": [3, 12, null]}', n, max_rows=8)
    assert request.columns["n"].dtype == np.int64
    assert request.columns["n"].ravel().tolist() == [3, 9, 4]
