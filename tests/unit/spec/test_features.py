"""What a spec may say of a feature."""

import pytest
from pydantic import ValidationError

from shardline.spec import check_spec
from shardline.spec.cleaning import MissingRule
from shardline.spec.data import FeatureSpec, LabelSpec


def refused(section, **values):
    with pytest.raises(ValidationError) as caught:
        section(**values)
    return caught.value.errors()[0]["msg"].removeprefix("Value error, ")


def test_lists_are_padded_by_any_number_that_the_dtype_holds():
    found = FeatureSpec(dtype="int64", shape=[32], pad=-1)
    assert (found.pad, found.longer) == (-1, "quarantine")
    assert FeatureSpec(dtype="float32", shape=[2], pad=0.5, longer="cut").pad == 0.5
    assert FeatureSpec(dtype="float64", shape=[2], pad=2).pad == 2


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"dtype": "string", "shape": [2], "pad": 0}, "pad takes lists of numbers, not of string"),
        ({"dtype": "bool", "shape": [2], "pad": 0}, "pad takes lists of numbers, not of bool"),
        ({"dtype": "int8", "pad": 0}, "pad goes with shape: [LENGTH], the length of the padded li"),
        ({"dtype": "int8", "shape": [2, 3], "pad": 0}, "pad goes with shape: [LENGTH], the length"),
        ({"dtype": "uint8", "shape": [2], "pad": -1}, "pad is -1, which uint8 does not hold"),
        ({"dtype": "int16", "shape": [2], "pad": 0.5}, "pad is 0.5, which int16 does not hold"),
        ({"dtype": "float16", "shape": [2], "pad": 1e6}, "pad is 1000000.0, which float16 does no"),
        ({"dtype": "int8", "shape": [2], "longer": "cut"}, "longer goes with pad, the number that"),
        ({"dtype": "timestamp", "shape": [2]}, "a timestamp is one per row; leave shape out"),
    ],
)
def test_lists_that_cannot_be_padded_are_refused(values, sentence):
    assert refused(FeatureSpec, **values).startswith(sentence)


def test_label_is_no_timestamp():
    sentence = "a label is a class or a number, not a timestamp"
    assert refused(LabelSpec, name="y", dtype="timestamp") == sentence


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        ({"map": {"a": "b"}}, "cleaning.when: map takes columns of texts or numbers"),
        (
            {"outliers": {"by": "iqr", "then": "clip"}},
            "cleaning.when: outliers take columns of",
        ),
    ],
)
def test_rules_that_suit_no_timestamps_are_refused(rules, sentence):
    values = {
        "name": "sample",
        "store": "store",
        "data": {
            "source": {"format": "csv", "path": "raw.csv"},
            "label": {"name": "y"},
            "features": {"when": {"dtype": "timestamp"}},
            "cleaning": {"when": rules},
        },
        "model": {"builder": "model:build"},
    }
    with pytest.raises(Exception, match=sentence):
        check_spec(values, where="spec")


def test_constant_may_be_a_date_as_yaml_reads_it():
    import yaml

    rule = yaml.safe_load("{by: constant, value: 2026-03-31}")
    assert MissingRule(**rule).value == "2026-03-31"
