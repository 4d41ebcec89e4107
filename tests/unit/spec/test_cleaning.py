"""`data.cleaning`, `data.duplicates` and `data.split`: what is accepted, and what is said."""

from datetime import date, datetime

import pytest

from shardline.errors import SpecError
from shardline.spec import check_spec, json_schema
from shardline.spec.cleaning import ColumnCleaning

FRACTIONS = {"train": 0.8, "test": 0.2}


def section(**data):
    values = {
        "name": "toy", "store": "store", "model": "model:build",
        "data": {
            "source": {"format": "csv", "path": "rows.csv"},
            "label": {"name": "y", "dtype": "float32"}, **data,
        },
    }  # fmt: skip
    return check_spec({**values, "model": {"builder": "model:build"}}, where="spec").data


def cleaning(**rules):
    return section(cleaning={"x": rules}).cleaning["x"]


def test_cleaning_takes_all_rules_of_a_column():
    found = cleaning(
        text={"unicode": "NFKC", "strip": True, "whitespace": "collapse", "case": "lower"},
        map={"a": "b", 1: 2.5}, unmapped="keep",
        outliers={"by": "quantile", "low": 0.05, "then": "clip"},
        missing={"by": "median", "null_values": "NA", "indicator": "x_gone"},
    )  # fmt: skip
    assert found.map == {"a": "b", "1": 2.5}
    assert (found.outliers.low, found.outliers.high) == (0.05, 0.99)
    assert found.missing.null_values == ("NA",)


def test_duplicates_take_one_column_or_several_or_none():
    assert section(duplicates={"key": "id"}).duplicates.key == ("id",)
    assert section(duplicates={"key": ["a", "b"]}).duplicates.key == ("a", "b")
    assert section(duplicates={}).duplicates.key == ()
    assert section().duplicates is None


def test_boundaries_may_be_dates_as_yaml_reads_them():
    days = {"validation": date(2024, 3, 1), "test": datetime(2024, 4, 1, 12)}
    split = section(split={"by": "time", "time": "t", "boundaries": days}).split
    assert split.boundaries == {"validation": "2024-03-01", "test": "2024-04-01T12:00:00"}
    assert split.names == ("train", "validation", "test")
    assert split.columns == ("t",)


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        ({}, "data.cleaning.x: says nothing; set text, map, outliers or missing."),
        ({"text": {}}, "data.cleaning.x.text: says nothing; set unicode, strip, whitespace or"),
        ({"text": {"case": "title"}}, "x.text.case: input should be 'lower' or 'upper', got"),
        ({"mising": {}}, "unknown key 'data.cleaning.x.mising', did you mean 'missing'?"),
        ({"missing": {"by": "avg"}}, "data.cleaning.x.missing.by: input should be 'drop', 'const"),
        ({"missing": {"by": "constant"}}, "data.cleaning.x.missing: by: constant needs a value."),
        ({"missing": {"by": "mean", "value": 1}}, "value goes with by: constant, not with by: me"),
        ({"missing": {"by": "drop", "indicator": True}}, "by: drop leaves no row for an indicator"),
        ({"outliers": {"by": "sigma", "then": "clip"}}, "outliers.by: expected one of 'quantile'"),
        ({"outliers": {"then": "clip"}}, "'data.cleaning.x.outliers.by' is missing."),
        ({"outliers": {"by": "iqr"}}, "'data.cleaning.x.outliers.then' is missing."),
        ({"outliers": {"by": "iqr", "then": "clip", "fctor": 2}}, "fctor', did you mean 'fac"),
        ({"outliers": {"by": "iqr", "then": "clip", "factor": 0}}, "factor: input should be great"),
        ({"outliers": {"by": "bounds", "then": "clip"}}, "by: bounds needs min or max."),
        ({"outliers": {"by": "bounds", "then": "clip", "min": 2, "max": 1}}, "min (2) must be bel"),
        ({"outliers": {"by": "quantile", "then": "clip", "low": 0.99}}, "low (0.99) must be below"),
        ({"map": {True: 1}}, "data.cleaning.x.map: True is no text or number; put it in quotes."),
        ({"map": {}}, "data.cleaning.x.map: Value should have at least 1 item"),
    ],
)  # fmt: skip
def test_cleaning_that_makes_no_sense_is_refused_with_a_sentence(rules, sentence):
    with pytest.raises(SpecError) as caught:
        cleaning(**rules)
    assert sentence in caught.value.message


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"split": {}}, "data.split: needs fractions, such as {train: 0.8, validation: 0.1"),
        ({"split": {"by": "group", "fractions": FRACTIONS}}, "by: group needs key, the column th"),
        ({"split": {"by": "time", "fractions": FRACTIONS}}, "by: time needs time, the column th"),
        ({"split": {"time": "t", "fractions": FRACTIONS}}, "data.split: by: hash takes no time."),
        ({"split": {"by": "hash", "boundaries": {"test": 5}}}, "boundaries go with by: time, not"),
        ({"split": {"by": "time", "time": "t", "fractions": FRACTIONS, "boundaries": {"test": 5}}},
         "give fractions or boundaries, not both."),
        ({"split": {"by": "time", "time": "t", "boundaries": {"test": "soon"}}},
         "'soon' is no ISO 8601 date or time, as 2026-03-31"),
        ({"split": {"by": "time", "time": "t", "boundaries": {"test": 5, "validation": 6}}},
         "boundaries: validation must begin before test."),
        ({"split": {"by": "time", "time": "t", "boundaries": {"test": "2024-01-01",
                                                              "validation": 6}}},
         "boundaries must all be dates or all be numbers."),
        ({"sample": 0}, "data.sample: input should be greater than 0, got 0"),
        ({"cleaning": {"y": {"missing": {"by": "mean"}}}},
         "cleaning.y: a label is dropped or filled with a constant when missing, not with the"),
        ({"features": {"x": {"dtype": "int8"}}, "cleaning": {"z": {"text": {"strip": True}}}},
         "cleaning.z is no feature, label, key or kept column."),
        ({"features": {"x": {"dtype": "string"}},
          "cleaning": {"x": {"outliers": {"by": "iqr", "then": "clip"}}}},
         "cleaning.x: outliers take columns of numbers."),
        ({"features": {"x": {"dtype": "int8", "shape": [2]}},
          "cleaning": {"x": {"missing": {"by": "mean"}}}},
         "cleaning.x: outliers and fills take scalar columns."),
        ({"keep": ["x_missing"], "cleaning": {"x": {"missing": {"by": "mean", "indicator": True}}}},
         "cleaning.x: there is a column 'x_missing' already."),
    ],
)  # fmt: skip
def test_data_that_makes_no_sense_is_refused_with_a_sentence(data, sentence):
    with pytest.raises(SpecError) as caught:
        section(**data)
    assert sentence in caught.value.message


def test_cleaning_of_a_key_or_kept_column_is_accepted():
    section(
        features={"x": {"dtype": "int8"}}, keep=["note"], duplicates={"key": "id"},
        split={"by": "group", "key": "who", "fractions": FRACTIONS},
        cleaning={name: {"text": {"strip": True}} for name in ("x", "y", "note", "id", "who")},
    )  # fmt: skip


def test_schema_of_cleaning_names_its_ways_and_takes_short_forms():
    definitions = json_schema()["$defs"]
    key = definitions["DuplicatesRule"]["properties"]["key"]
    assert {form["type"] for form in key["anyOf"]} == {"string", "array"}
    ways = definitions["ColumnCleaning"]["properties"]["outliers"]["anyOf"][0]
    assert set(ways["discriminator"]["mapping"]) == {"quantile", "zscore", "iqr", "bounds"}
    assert {"sample", "cleaning", "duplicates", "split"} <= set(
        definitions["DataSpec"]["properties"]
    )


def test_whole_numbers_in_a_map_are_written_as_columns_of_numbers_have_them():
    rule = ColumnCleaning(map={1: "a", 2.0: "b", 2.5: "c", "3.0": "d"})
    assert rule.map == {"1": "a", "2": "b", "2.5": "c", "3.0": "d"}
