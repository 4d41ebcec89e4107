"""The example row of a model version is one that the endpoint and `score` take as it is."""

import json

import numpy as np
import pytest
from tests.image_files import samples

from shardline.artifacts.example import MAX_IMAGE_BYTES, example_row
from shardline.data.padding import Padding
from shardline.data.readers import read_rows
from shardline.data.reading import column_to_numpy
from shardline.data.schema import Column, Label, Schema
from shardline.data.sources import list_source
from shardline.data.treatment import Treatment
from shardline.serving.wire import parse_predict
from shardline.spec.cleaning import TextRule
from shardline.spec.data import JsonSource

AGE = Column(name="age", dtype="float32", treatment=Treatment(fill=40.5, indicator="no age"))
NO_AGE = Column(name="no age", dtype="int64", indicates="age", treatment=AGE.treatment)
PLAIN = [
    (Column(name="x", dtype="float32"), [0.1], 0.1),
    (Column(name="x", dtype="float16"), [0.1], 0.1),
    (Column(name="x", dtype="float64"), [1e300], 1e300),
    (Column(name="n", dtype="uint64"), [2**64 - 1], 2**64 - 1),
    (Column(name="b", dtype="bool"), [True], True),
    (Column(name="c", dtype="string"), ['Köln "am" Rhein'], 'Köln "am" Rhein'),
    (Column(name="t", dtype="timestamp"), [1_700_000_000_000_001], "2023-11-14T22:13:20.000001Z"),
    (Column(name="t", dtype="timestamp"), [-1], "1969-12-31T23:59:59.999999Z"),
    (Column(name="g", dtype="int8", shape=(2, 2)), [[[1, 2], [3, -4]]], [[1, 2], [3, -4]]),
    (
        Column(name="l", dtype="int64", shape=(4,), padding=Padding(value=0, longer="quarantine")),
        [[7, 0, 8, 0]],
        [7, 0, 8],
    ),
    (
        Column(name="l", dtype="float32", shape=(2,), padding=Padding(value=-1, longer="cut")),
        [[-1, -1]],
        [],
    ),
]
MAPPED = Treatment(
    text=TextRule(case="lower"), map={"m": "man", "w": "woman"}, unmapped="quarantine"
)
TREATED = [
    (Column(name="s", dtype="string", treatment=MAPPED), "woman", "w"),
    (
        Column(
            name="s",
            dtype="int8",
            treatment=Treatment(map={"yes": 1, "no": 0}, unmapped="quarantine"),
        ),
        0,
        "no",
    ),
    (
        Column(name="s", dtype="string", treatment=MAPPED.model_copy(update={"fill": "?"})),
        "?",
        None,
    ),
    (
        Column(
            name="x",
            dtype="float32",
            treatment=Treatment(low=0.0, high=9.0, beyond="quarantine", fill=-1.0),
        ),
        -1.0,
        None,
    ),
    (
        Column(name="x", dtype="float32", treatment=Treatment(low=0.0, high=9.0, beyond="clip")),
        9.0,
        9.0,
    ),
]


def array(column, values):
    shape = (-1, *(column.shape or (1,)))
    return np.array(values, dtype=column.numpy_dtype).reshape(shape)


def example_of(column, values):
    return example_row({column.name: array(column, values)}, [column], {column.name: column})


def served(example, inputs):
    body = json.dumps({"instances": [example]}).encode()
    return parse_predict(body, inputs, max_rows=1).columns


@pytest.fixture
def scored(tmp_path):
    """The row as `score` reads it from JSON lines."""

    def read(example, inputs):
        (tmp_path / "rows.jsonl").write_text(json.dumps(example) + "\n")
        source = JsonSource(format="json", path="rows.jsonl")
        schema = Schema(features=tuple(inputs), label=Label(name="y", dtype="int64"))
        (batch,) = read_rows(list_source(source, base=tmp_path), source, schema)
        assert not batch.rejected
        return batch.table

    return read


@pytest.mark.parametrize(("column", "values", "shown"), PLAIN)
def test_example_of_plain_columns_is_short_and_gives_the_row_again(column, values, shown, scored):
    example = example_of(column, values)
    assert example == {column.name: shown}
    np.testing.assert_array_equal(
        served(example, [column])[column.name], array(column, values), strict=True
    )
    table = scored(example, [column])
    found = column_to_numpy(table[column.name], column)
    np.testing.assert_array_equal(found.reshape(1, -1), array(column, values).reshape(1, -1))


@pytest.mark.parametrize(("column", "value", "shown"), TREATED)
def test_example_of_treated_columns_is_what_raw_rows_hold(column, value, shown, scored):
    example = example_of(column, [value])
    assert example == {column.name: shown}
    np.testing.assert_array_equal(served(example, [column])[column.name], array(column, [value]))
    assert scored(example, [column])[column.name].to_pylist() == [value]


def test_example_lacks_nothing_where_a_row_does_and_never_holds_indicators(scored):
    rows = {"age": array(AGE, [40.5, 7.0]), "no age": array(NO_AGE, [1, 0])}
    features = {"age": AGE, "no age": NO_AGE}
    for inputs in ([AGE, NO_AGE], [NO_AGE, AGE], [NO_AGE]):
        example = example_row(rows, inputs, features)
        assert example == {"age": 7.0}
        assert served(example, inputs)["no age"].tolist() == [[0]]
    assert scored(example, [AGE, NO_AGE])["no age"].to_pylist() == [0]


@pytest.mark.parametrize("shape", [(8, 8, 1), (9, 5, 3), (4, 4, 4)])
def test_example_of_encoded_images_is_a_file_with_the_same_samples(shape):
    column = Column(name="image", dtype="uint8", shape=shape, encoded=True)
    image = samples(*shape)[None]
    example = example_of(column, image)
    np.testing.assert_array_equal(served(example, [column])["image"], image)


def test_example_of_large_images_is_a_small_file():
    column = Column(name="image", dtype="uint8", shape=(200, 300, 3), encoded=True)
    noise = np.random.default_rng(0).integers(0, 256, (1, 200, 300, 3))
    example = example_of(column, noise)
    assert len(example["image"]["b64"]) < 2 * MAX_IMAGE_BYTES
    assert served(example, [column])["image"].shape == (1, 200, 300, 3)


def test_example_of_more_elements_than_a_person_reads_is_none():
    column = Column(name="x", dtype="float32", shape=(64, 65))
    assert example_of(column, np.zeros((1, 64, 65))) is None
