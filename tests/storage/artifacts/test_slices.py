"""What parts of the rows are answered how well."""

import numpy as np
import pytest

from shardline.artifacts.manifest import Slice
from shardline.artifacts.slices import slices_of
from shardline.data.schema import Column, Label

CITY = Column(name="city", dtype="string")
AGE = Column(name="age", dtype="int32")
KIND = Label(name="kind", dtype="int64", vocabulary=("cat", "dog", "fish"))
FLAG = Label(name="flag", dtype="int64", vocabulary=("no", "yes"))
PRICE = Label(name="price", dtype="float32")


def column(*values, dtype=None):
    return np.array(values, dtype=dtype)[:, None]


def shown(slices):
    return [(s.column, s.value, s.rows, s.measured) for s in slices]


def test_slices_of_classes_are_shares_of_right_answers():
    scores = np.eye(3)[[0, 1, 1, 2, 0]]
    rows = {
        "kind": column(0, 1, 1, 1, 1),
        "city": column("Ulm", "Bonn", "Ulm", "Bonn", "Bonn", dtype=object),
        "age": column(*range(5)),
    }
    answers = {"scores": scores, "kind": np.array(["cat"] * 5)}
    found = slices_of(answers, rows, KIND, [CITY, AGE])
    assert {each.measure for each in found} == {"accuracy"}
    assert shown(found) == [
        (None, "all", 5, 0.6),
        ("kind", "dog", 4, 0.5),
        ("kind", "cat", 1, 1.0),
        ("city", "Bonn", 3, pytest.approx(1 / 3)),
        ("city", "Ulm", 2, 1.0),
        *[("age", str(age), 1, [1.0, 1.0, 1.0, 0.0, 0.0][age]) for age in range(5)],
    ]


def test_slices_of_one_probability_take_a_half_as_the_line():
    rows = {"flag": column(0, 1, 1)}
    found = slices_of({"p": np.array([[0.4], [0.5], [0.2]])}, rows, FLAG, [])
    assert shown(found) == [
        (None, "all", 3, pytest.approx(2 / 3)),
        ("flag", "yes", 2, 0.5),
        ("flag", "no", 1, 1.0),
    ]


def test_slices_of_a_number_are_deviations_by_thirds_of_the_label():
    price = np.arange(9.0)
    rows = {"price": price[:, None], "age": column(*[1, 2, 3] * 3)}
    answer = (price + np.repeat([0.0, 1.0, 2.0], 3))[:, None]
    found = slices_of({"out": answer}, rows, PRICE, [AGE])
    assert {each.measure for each in found} == {"mean absolute error"}
    assert shown(found) == [
        (None, "all", 9, 1.0),
        ("price", "0 to 2.66667", 3, 0.0),
        ("price", "2.66667 to 5.33333", 3, 1.0),
        ("price", "5.33333 to 8", 3, 2.0),
        *[("age", str(age), 3, 1.0) for age in (1, 2, 3)],
    ]


def test_slice_with_an_answer_that_is_not_finite_has_no_figure():
    found = slices_of({"out": column(np.nan, 1.0)}, {"price": column(1.0, 1.0)}, PRICE, [])
    assert found == (
        Slice(column=None, value="all", rows=2, measure="mean absolute error", measured=None),
    )


def test_slices_are_bounded_in_number():
    many = [Column(name=f"f{i}", dtype="int8") for i in range(9)]
    values = np.arange(900) % 8
    rows = {c.name: values[:, None] for c in many} | {"kind": (np.arange(900) % 90)[:, None]}
    label = Label(name="kind", dtype="int64")
    found = slices_of({"out": np.eye(90)[np.arange(900) % 90]}, rows, label, many)
    assert len(found) == 1 + 10 + 4 * 8


@pytest.mark.parametrize(
    ("answers", "label", "expected"),
    [
        ({"a": column(0.1), "b": column(0.2)}, PRICE, column(1.0)),
        ({"a": np.zeros((1, 2))}, PRICE, column(1.0)),
        ({"a": np.zeros((1, 2))}, KIND, column(2)),
        ({"a": np.zeros((1, 2))}, KIND, column(-1)),
        ({"a": column(-3.0)}, FLAG, column(1)),
        ({"a": column(-3.0, 2.0)}, Label(name="flag", dtype="int64"), column(0, 1)),
        ({"a": column(-3.0, 2.0)}, Label(name="flag", dtype="bool"), column(False, True)),
        ({"a": np.array([["text"]])}, PRICE, column(1.0)),
        ({"a": np.zeros((1, 2, 2))}, Label(name="l", dtype="float32", shape=(2, 2)), np.zeros(1)),
    ],
)
def test_answers_that_cannot_be_compared_with_the_label_have_no_slices(answers, label, expected):
    assert slices_of(answers, {label.name: expected}, label, []) == ()


def test_of_several_outputs_the_one_named_like_the_label_counts():
    answers = {"price": column(2.0), "risk": column(9.0)}
    assert slices_of(answers, {"price": column(1.0)}, PRICE, [])[0].measured == 1.0
