"""Class weights from names, indices and counts, the same on any number of workers."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.data.schema import Label
from shardline.errors import SpecError
from shardline.spec.train import TrainSpec
from shardline.training.class_weights import balanced, check_class_weight, class_weights
from shardline.training.exchange.peers import Alone

KIND = Label(name="kind", dtype="int64", vocabulary=("left", "middle", "right"))
NUMBER = Label(name="kind", dtype="int64")


def weights_of(given_weight, labels, label=KIND):
    train = TrainSpec(class_weight=given_weight)
    return class_weights(train, label, np.array(labels), Alone()).tolist()


def test_class_weights_by_name_or_index_leave_the_others_at_one():
    assert weights_of({"right": 3.0, "0": 0.5}, [0, 1, 2]) == [0.5, 1.0, 3.0]
    assert weights_of({"1": 2.0, "7": 9.0}, [0, 1, 2], NUMBER) == [1.0, 2.0, 1.0]


def test_class_weights_without_the_key_are_none():
    assert class_weights(TrainSpec(), KIND, np.array([0]), Alone()) is None


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8).filter(any))
def test_balanced_classes_count_the_same_in_sum(counts):
    weights = balanced(np.array(counts))
    sums = [weight * count for weight, count in zip(weights, counts, strict=True) if count]
    assert sums == pytest.approx([sums[0]] * len(sums), rel=1e-5)
    assert sum(sums) == pytest.approx(sum(counts), rel=1e-5)


@given(st.lists(st.lists(st.integers(0, 4), max_size=20), min_size=2, max_size=4).filter(any))
def test_balanced_weights_are_those_of_all_ranks_rows(shares):
    """Every rank sees the others' counts, whatever classes it has itself."""
    rows = [label for share in shares for label in share]
    alone = class_weights(TrainSpec(class_weight="balanced"), NUMBER, np.array(rows, int), Alone())
    messages = []
    for share in shares:
        gathering = SimpleNamespace(
            all_gather=lambda message: messages.append(message) or [message]
        )
        class_weights(TrainSpec(class_weight="balanced"), NUMBER, np.array(share, int), gathering)
    for share in shares:
        gathered = SimpleNamespace(all_gather=lambda _: messages)
        found = class_weights(
            TrainSpec(class_weight="balanced"), NUMBER, np.array(share, int), gathered
        )
        np.testing.assert_array_equal(found, alone)


@pytest.mark.parametrize(
    ("label", "sentence"),
    [
        (KIND, "label 'kind' has no class 'rihgt', did you mean 'right'?"),
        (KIND.model_copy(update={"vocabulary": ("x", "y")}), "no class 'rihgt'; it has x, y."),
        (NUMBER, "no class 'rihgt'; it has indices from 0."),
        (Label(name="kind", dtype="float32"), "needs classes, label 'kind' is float32"),
        (NUMBER.model_copy(update={"shape": (2,)}), "needs one class per row, label 'kind' has"),
    ],
)
def test_class_weight_that_does_not_fit_the_label_is_refused(label, sentence):
    with pytest.raises(SpecError) as refusal:
        check_class_weight(TrainSpec(class_weight={"rihgt": 2.0}), label)
    assert sentence in str(refusal.value)


def test_class_weights_of_labels_that_are_no_indices_are_refused():
    with pytest.raises(SpecError, match=r"2 rows of the train split have a negative label"):
        weights_of("balanced", [-1, 1, -1], NUMBER)
