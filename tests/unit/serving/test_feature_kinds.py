"""Requests with timestamps and with lists that are not as long as the model takes them."""

import json

import pytest

from shardline.data.padding import Padding
from shardline.data.schema import Column
from shardline.data.treatment import Treatment
from shardline.serving.documents import _tensors
from shardline.serving.refusals import MalformedRequestError
from shardline.serving.wire import parse_predict

NOON_US = 1_774_958_400_000_000
MOMENT = "an ISO 8601 date or time, as 2026-03-31T12:00:00Z, or whole microseconds since 1970."
WHEN = Column(name="when", dtype="timestamp")
FILLED = WHEN.model_copy(update={"treatment": Treatment(null_values=("", "-1"), fill=5)})
DROPPED = WHEN.model_copy(update={"treatment": Treatment(null_values=("",), drop_missing=True)})
SEEN = Column(name="no", dtype="float32", indicates="when", treatment=FILLED.treatment)


def lists(longer, dtype="int64", value=0):
    padding = Padding(value=value, longer=longer)
    return Column(name="v", dtype=dtype, shape=(3,), padding=padding)


def parse(rows, *inputs):
    document = {"instances": [{inputs[0].name: row} for row in rows]}
    return parse_predict(json.dumps(document).encode(), inputs, max_rows=8).columns


def refusal(rows, *inputs):
    with pytest.raises(MalformedRequestError) as caught:
        parse(rows, *inputs)
    return caught.value.message


def test_timestamps_are_iso_texts_or_microseconds():
    rows = ["2026-03-31T12:00:00Z", NOON_US, ["2026-03-31T14:00+02:00"], "2026-03-31 12:00"]
    found = parse(rows, WHEN)["when"]
    assert (found.dtype, found.tolist()) == ("int64", [[NOON_US]] * 4)
    assert parse([0, -1], WHEN)["when"].tolist() == [[0], [-1]]


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (["1970-01-01", "2026-02-30"], f"row 1: got a string ('2026-02-30'), expected {MOMENT}"),
        ([0, 1.5], f"row 1: got a number (1.5), expected {MOMENT}"),
        ([True], f"row 0: got a boolean (True), expected {MOMENT}"),
        ([None], f"row 0: got null (None), expected {MOMENT}"),
        ([2**63], "row 0: got an integer (9223372036854775808), expected an integer from -922"),
        ([[1, 2]], "row 0: got shape [2], expected shape []."),
    ],
)
def test_timestamps_that_are_none_are_named(rows, sentence):
    assert refusal(rows, WHEN).startswith(f"column 'when', {sentence}")


def test_timestamps_that_are_missing_are_filled_or_refused_as_in_the_dataset():
    found = parse([None, "", -1, "1970-01-01", 7], FILLED, SEEN)
    assert found["when"][:, 0].tolist() == [5, 5, 5, 0, 7]
    assert found["no"][:, 0].tolist() == [1, 1, 1, 0, 0]
    assert "got None, which counts as missing" in refusal([7, None], DROPPED)


def test_metadata_says_that_timestamps_are_int64():
    assert _tensors([WHEN])["when"]["dtype"] == "DT_INT64"


def test_lists_that_are_shorter_are_padded():
    found = parse([[], [1], [1, 2, 3]], lists("quarantine", value=-1))["v"]
    assert found.tolist() == [[-1] * 3, [1, -1, -1], [1, 2, 3]]
    assert parse([[1]], lists("cut", "float32", 0.5))["v"].tolist() == [[1, 0.5, 0.5]]


def test_lists_that_are_longer_are_cut_or_refused_as_in_the_dataset():
    assert parse([[1, 2, 3, 4]], lists("cut"))["v"].tolist() == [[1, 2, 3]]
    sentence = "column 'v', row 1: got 4 elements, expected at most 3."
    assert refusal([[1], [1, 2, 3, 4]], lists("quarantine")) == sentence


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (None, "got shape [], expected shape [3]."),
        (1, "got shape [], expected shape [3]."),
        ([[1], [2]], "got ragged lists, expected shape [3]."),
        ([1, None], "got null (None), expected int64."),
        (["1"], "got a string ('1'), expected int64."),
    ],
)
def test_lists_of_something_else_are_named(row, sentence):
    assert refusal([[1], row], lists("cut")) == f"column 'v', row 1: {sentence}"
