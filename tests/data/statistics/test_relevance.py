"""Relevance against other people's arithmetic, chance, and what must be found."""

from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mutual_info_score

from shardline.data.statistics.duplicates import near_duplicates
from shardline.data.statistics.relevance import (
    Variable,
    contingency,
    correlation,
    correlation_ratio,
    dependence,
    discretised,
    entropy,
    information,
)

CODES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=200)


def numbers(values):
    return Variable(np.asarray(values, np.float64), ordered=True)


def categories(values):
    return Variable(np.asarray(values, np.float64), ordered=False)


@settings(deadline=None)
@given(CODES)
def test_information_is_scikit_learns(pairs):
    first, second = np.array(pairs).T
    assert information(contingency(first, second)) == pytest.approx(
        mutual_info_score(first, second) / log(2), abs=1e-9
    )


@given(CODES)
def test_information_of_a_variable_with_itself_is_its_entropy(pairs):
    codes = np.array(pairs)[:, 0]
    assert information(contingency(codes, codes)) == pytest.approx(
        entropy(np.bincount(codes).astype(float)), abs=1e-9
    )


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(allow_nan=False, width=32)), max_size=80))
def test_discretised_keeps_the_order_of_numbers_and_apart_what_is_missing(values):
    column = np.array([np.nan if v is None else v for v in values], np.float64)
    codes = discretised(numbers(column), max_bins=4)
    missing = np.isnan(column)
    assert len(np.unique(codes[~missing])) <= 4
    assert not set(codes[missing]) & set(codes[~missing])
    order = np.argsort(column[~missing], kind="stable")
    assert np.all(np.diff(codes[~missing][order]) >= 0)


def test_dependence_of_independent_columns_is_measurable_about_never():
    random = np.random.default_rng(0)
    label = categories(random.integers(0, 4, 3000))
    found = [dependence(numbers(random.normal(size=3000)), label) for _ in range(300)]
    assert sum(each.measurable for each in found) <= 3
    assert np.mean([each.bits for each in found]) < 0.003


@pytest.mark.parametrize("rows", [60, 500, 20_000])
def test_dependence_on_the_label_itself_settles_it(rows):
    label = np.random.default_rng(0).integers(0, 3, rows)
    found = dependence(categories(label), categories(label))
    assert found.measurable
    assert found.share == pytest.approx(1, abs=0.1)


def test_dependence_finds_what_no_correlation_sees():
    x = np.random.default_rng(0).normal(size=2000)
    feature, label = numbers(x), numbers(x**2)
    assert abs(correlation(feature, label)) < 0.2
    assert dependence(feature, label).share > 0.5


def test_dependence_sees_that_a_value_is_missing():
    label = np.random.default_rng(0).integers(0, 2, 1000)
    feature = np.where(label == 1, np.nan, 7.0)
    assert dependence(numbers(feature), categories(label)).share > 0.95


@pytest.mark.parametrize("label", [np.full(50, 3.0), np.full(50, np.nan), np.empty(0)])
def test_dependence_on_a_label_without_choice_is_none(label):
    found = dependence(numbers(np.arange(len(label))), numbers(label))
    assert (found.bits, found.share, found.measurable) == (0.0, 0.0, False)


def test_correlation_is_numpys_over_rows_that_have_both():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(2, 500))
    y += 0.5 * x
    holes = np.where(np.arange(500) % 7 == 0, np.nan, x)
    both = ~np.isnan(holes)
    expected = np.corrcoef(x[both], y[both])[0, 1]
    assert correlation(numbers(holes), numbers(y)) == pytest.approx(expected)


@pytest.mark.parametrize("values", [[1.0, 1.0, 1.0], [np.nan] * 3])
def test_correlation_of_a_constant_is_none(values):
    assert correlation(numbers(values), numbers([1.0, 2.0, 3.0])) is None
    assert correlation_ratio(categories([0, 1, 1]), numbers(values)) is None


def test_correlation_of_giant_numbers_is_finite():
    assert correlation(numbers([1e308, -1e308, 1e308]), numbers([1, 0, 1])) == pytest.approx(1)


def test_correlation_ratio_is_the_root_of_the_explained_variance():
    random = np.random.default_rng(0)
    groups = random.integers(0, 4, 2000)
    values = groups * 2.0 + random.normal(size=2000)
    within = np.concatenate([values[groups == g] - values[groups == g].mean() for g in range(4)])
    expected = np.sqrt(1 - within.var() / values.var())
    assert correlation_ratio(categories(groups), numbers(values)) == pytest.approx(expected)


def test_near_duplicates_are_monotone_functions_and_renamings():
    random = np.random.default_rng(0)
    x, code = random.normal(size=3000), random.integers(0, 5, 3000)
    found = near_duplicates(
        {
            "x": numbers(x),
            "cubed": numbers(x**3),
            "negative": numbers(-x),
            "square": numbers(x**2),
            "code": categories(code),
            "renamed": categories((code * 7 + 3) % 11),
            "as_number": numbers(code * 10),
            "other": categories(random.integers(0, 5, 3000)),
            "constant": numbers(np.ones(3000)),
        }
    )
    assert {frozenset((pair.first, pair.second)) for pair in found} == {
        frozenset(pair)
        for pair in [
            ("x", "cubed"), ("x", "negative"), ("cubed", "negative"),
            ("code", "renamed"), ("code", "as_number"), ("renamed", "as_number"),
        ]
    }  # fmt: skip
    assert all(0.99 <= pair.similarity <= 1 for pair in found)


def test_near_duplicates_with_other_missing_rows_are_none():
    x = np.arange(1000.0)
    holes = np.where(np.arange(1000) % 5 == 0, np.nan, x)
    assert near_duplicates({"x": numbers(x), "holes": numbers(holes)}) == []
    assert len(near_duplicates({"a": numbers(holes), "b": numbers(2 * holes)})) == 1


def test_near_duplicates_of_identifiers_are_not_claimed():
    """Any two columns without repetition are renamings of each other."""
    first, second = np.random.default_rng(0).permutation(2000), np.arange(2000)
    assert near_duplicates({"a": categories(first), "b": categories(second)}) == []
