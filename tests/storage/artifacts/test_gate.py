"""Gates: bounds that a metric keeps by itself, and beside the version that holds the alias."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.sample_registry import manifest

from shardline.artifacts.gate import gate_failures, regressions, same_measure
from shardline.spec.output import Bound

NOT_WORSE = {"accuracy": Bound(min=0.5, max_regression=0.0)}


@given(
    value=st.floats(-10, 10),
    low=st.none() | st.floats(-10, 10),
    high=st.floats(-10, 10),
)
def test_gate_failures_empty_exactly_inside_the_bounds(value, low, high):
    failures = gate_failures({"m": value}, {"m": Bound(min=low, max=high)})
    assert (not failures) == ((low is None or value >= low) and value <= high)


def test_gate_empty_passes_a_version_without_evaluation():
    assert gate_failures({}, {}) == []


@given(
    value=st.floats(-10, 10),
    held=st.floats(-10, 10),
    allowed=st.floats(0, 3),
    mode=st.sampled_from(["min", "max"]),
)
def test_regressions_are_exactly_what_is_worse_by_more_than_allowed(value, held, allowed, mode):
    bound = Bound(max_regression=allowed, mode=mode)
    found = regressions({"m": value}, {"m": held}, {"m": bound}, holder=1)
    worse_by = value - held if mode == "min" else held - value
    assert bool(found) == (worse_by > allowed)


def test_regression_says_both_values():
    (said,) = regressions({"accuracy": 0.8}, {"accuracy": 0.9}, NOT_WORSE, holder=4)
    assert said == (
        "accuracy is 0.8, version 4 has 0.9 on the same rows; at most 0 worse is allowed"
    )


@pytest.mark.parametrize(
    ("value", "held", "passes"),
    [(0.9, math.nan, True), (math.nan, 0.9, False), (math.nan, math.nan, False)],
)
def test_regression_of_what_is_no_number(value, held, passes):
    found = regressions({"accuracy": value}, {"accuracy": held}, NOT_WORSE, holder=1)
    assert (not found) == passes


def test_regression_of_a_metric_that_the_holder_lacks_is_named():
    (said,) = regressions({"accuracy": 0.8}, {"loss": 0.9}, NOT_WORSE, holder=4)
    assert said == "accuracy is not among the metrics of version 4 (loss)"


@pytest.mark.parametrize(
    ("section", "better"),
    [
        ({"min": 0.9, "max_regression": 0.0}, "max"),
        ({"max": 0.9, "max_regression": 0.0}, "min"),
        ({"min": 0.1, "max": 0.9, "max_regression": 0.0, "mode": "max"}, "max"),
        ({"max_regression": 0.0, "mode": "min"}, "min"),
        ({"min": 0.1, "max": 0.9}, None),
    ],
)
def test_bound_knows_which_way_is_better(section, better):
    assert Bound(**section).better == better


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({}, "a bound needs min, max or max_regression"),
        ({"max_regression": 0.0}, "add mode: max if larger is better, mode: min if smaller is"),
        ({"max_regression": 0.0, "min": 0.0, "max": 1.0}, "add mode: max if larger is better"),
        ({"max_regression": -1.0, "min": 0.0}, "greater than or equal to 0"),
    ],
)
def test_bound_that_cannot_be_judged_by_is_refused(section, sentence):
    with pytest.raises(ValidationError, match=sentence):
        Bound(**section)


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"split": "test"}, True),
        ({"split": None}, True),
        ({"split": "validation"}, False),
        ({"dataset_version": "v2"}, False),
        ({"dataset": "other"}, False),
        ({"metrics": {}}, False),
        ({"code_digest": "other"}, False),
        ({"recipe_digest": "other"}, False),
        ({"spec_digest": "other"}, True),
    ],
)
def test_same_measure(changes, same):
    evaluated = {"metrics": {"loss": 1.0}, "split": "test"}
    a, b = manifest(1, **evaluated), manifest(2, **(evaluated | changes))
    assert same_measure(a, b) == same_measure(b, a) == same
