"""JSON lines say what is written: no number is rounded, no text rewritten, no field dropped."""

import pytest
from tests.data.preparing import prepare, quarantined, rows_of
from tests.raw_sources import spec_for, write_csv

from shardline.errors import DataError

BEYOND_INT64 = 2**63 + 1
BEYOND_FLOAT64 = 2**53 + 1
"""The first whole number that float64 cannot hold."""


def prepared(folder, lines, **data):
    """The rows of a column x, and why others were set aside."""
    write_csv(folder / "raw.jsonl", "\n".join(lines) + "\n")
    spec = spec_for(folder, "json", "raw.jsonl", max_quarantined=0.9, **data)
    result = prepare(spec)
    found = quarantined(spec, result) if result.rows_quarantined else []
    return rows_of(spec, result), {each["row"]: each["reason"] for each in found}


def line(x, y=1):
    return f'{{"x": {x}, "z": 0, "y": {y}}}'


def test_identifiers_beyond_int64_leave_no_other_rounded(tmp_path):
    numbers = [1, BEYOND_FLOAT64, BEYOND_INT64, 2**64 - 1]
    features = {"z": {"dtype": "int8"}}
    rows, _ = prepared(tmp_path, map(line, numbers), features=features, keep=["x"])
    assert sorted(rows["x"].to_pylist()) == sorted(map(str, numbers))
    rows, _ = prepared(tmp_path, map(line, numbers), features={"x": {"dtype": "uint64"}})
    assert sorted(rows["x"].to_pylist()) == numbers
    rows, reasons = prepared(tmp_path, map(line, numbers), features={"x": {"dtype": "int64"}})
    assert sorted(rows["x"].to_pylist()) == numbers[:2]
    assert reasons[3] == f"feature 'x' is {BEYOND_INT64}, expected int64"


def test_whole_numbers_among_decimals_are_kept_exactly_or_quarantined(tmp_path):
    numbers = [1, BEYOND_FLOAT64, 1.5]
    _, reasons = prepared(tmp_path, map(line, numbers), features={"x": {"dtype": "int64"}})
    assert reasons == {
        2: f"field 'x' is {BEYOND_FLOAT64}, most rows hold double",
        3: "feature 'x' is 1.5, expected int64",
    }
    rows, _ = prepared(tmp_path, map(line, [1e300, 2**60, 0.5]))
    assert sorted(rows["x"].to_pylist()) == [0.5, 2.0**60, 1e300]


def test_identifier_of_thirty_digits_is_quarantined_as_it_is_written(tmp_path):
    _, reasons = prepared(tmp_path, map(line, [1, "1" * 30]))
    assert reasons == {2: f"field 'x' is {'1' * 30}, most rows hold int64"}


def test_field_that_nobody_wants_quarantines_no_row(tmp_path):
    lines = map(line, [1, "1" * 30, '"text"', "[1]", "true"])
    rows, reasons = prepared(tmp_path, lines, features={"z": {"dtype": "int8"}})
    assert (rows.num_rows, reasons) == (5, {})


@pytest.mark.parametrize("texts", [["2020-01-01", "2020-01-02"], ["2020-01-01T00:00:00Z", "soon"]])
def test_texts_that_look_like_dates_stay_as_written_in_lists_too(tmp_path, texts):
    lines = [line(f'["{text}"]') for text in texts]
    features = {"x": {"dtype": "string", "shape": [1]}}
    rows, _ = prepared(tmp_path, lines, features=features)
    assert sorted(rows["x"].to_pylist()) == sorted([text] for text in texts)


def test_field_that_a_row_has_twice_quarantines_it(tmp_path):
    lines = [line(1), '{"x": 1, "x": 2, "z": 0, "y": 1}', '{"x" : 3, "z": 0, "y": 1}', "{"]
    rows, reasons = prepared(tmp_path, lines)
    assert reasons.pop(4).startswith("is not valid JSON")
    assert reasons == {2: "has field 'x' twice"}
    assert sorted(rows["x"].to_pylist()) == [1, 3]


def test_line_that_is_nested_too_deeply_is_quarantined(tmp_path):
    for depth in (1000, 1020, 100_000):
        deep = '{"x": ' + "[" * depth + "1" * 20 + "]" * depth + ', "y": 1}'
        _, reasons = prepared(tmp_path, [line(1), deep], features={"z": {"dtype": "int8"}})
        assert list(reasons) == [2]


@pytest.mark.parametrize("empty", ['""', "{}", "0"])
def test_an_empty_text_among_lists_is_no_empty_list(tmp_path, empty):
    features = {"x": {"dtype": "float32", "shape": [2], "pad": 0}}
    lines = [line("[1, 2]"), line("[3]"), line("[]"), line(empty)]
    rows, reasons = prepared(tmp_path, lines, features=features)
    assert sorted(rows["x"].to_pylist()) == [[0, 0], [1, 2], [3, 0]]
    assert list(reasons) == [4]
    assert reasons[4].endswith("most rows hold list<item: int64>")


@pytest.mark.parametrize("empty", ['""', "[]", "[{}]"])
def test_a_field_of_structures_in_some_rows_is_named(tmp_path, empty):
    lines = [line('{"a": null}'), line('{"a": null}'), line(empty)]
    with pytest.raises(DataError, match=r"^feature 'x' holds struct<a: null>, which no"):
        prepared(tmp_path, lines)


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("null", ["null", " null", "\tnull \r", 'null {"x": 1}'])
def test_a_line_that_is_null_is_no_object_and_does_not_end_the_process(tmp_path, null, place):
    """Arrow's own parser makes a row of nulls of it, or crashes where it comes first."""
    lines = [line(1), line(2)]
    lines.insert(place, null)
    rows, reasons = prepared(
        tmp_path, lines, cleaning={"x": {"missing": {"by": "constant", "value": 0}}}
    )
    assert sorted(rows["x"].to_pylist()) == [1, 2]
    (reason,) = reasons.values()
    assert list(reasons) == [place + 1]
    assert reason.startswith(("is null, expected a JSON object", "is not valid JSON"))
