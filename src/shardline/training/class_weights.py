"""`train.class_weight` as one weight per class index."""

import difflib
from collections.abc import Sequence
from typing import Any

import numpy as np

from shardline.data.schema import Label
from shardline.errors import SpecError
from shardline.spec.train import TrainSpec
from shardline.training.exchange.peers import Exchange


def check_class_weight(train: TrainSpec, label: Label) -> None:
    """Refuse weights that do not fit the dataset's classes.

    Raises:
        SpecError: The label has no classes, or a weight is for one that is not there.
    """
    given = train.class_weight
    if given is None:
        return
    if label.dtype.startswith(("float", "string")):
        raise SpecError(
            f"train.class_weight needs classes, label {label.name!r} is {label.dtype}; leave it "
            "out, or make the label an integer."
        )
    if label.shape:
        raise SpecError(f"train.class_weight needs one class per row, label {label.name!r} has "
                        f"shape {label.shape}; leave it out.")  # fmt: skip
    if given != "balanced":
        for name in given:
            _index_of(name, label)


def class_weights(
    train: TrainSpec, label: Label, labels: Any, exchange: Exchange
) -> "np.ndarray[Any, Any] | None":
    """The weight of every class, the same on all ranks.

    The loss is a mean over the rows of a batch, linear in their weights, so equal parts on the
    workers give the weighted mean of the global batch.

    Args:
        train: What the spec says.
        label: The dataset's label column.
        labels: Class indices of this worker's rows of the train split; any shape.
        exchange: Connects the workers, whose rows together are the split.

    Returns:
        float32 of shape (classes,), or None without `class_weight`.
    """
    given = train.class_weight
    if given is None:
        return None
    counts = _counts(np.asarray(labels).ravel(), exchange, num_classes=len(label.vocabulary or ()))
    if given == "balanced":
        return balanced(counts)
    weights = np.ones(len(counts), np.float32)
    for name, weight in given.items():
        index = _index_of(name, label)
        if index < len(weights):  # a class without rows weighs nothing
            weights[index] = weight
    return weights


def balanced(counts: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """Weights in inverse proportion to the classes' rows, with a mean of 1 over all rows.

    King and Zeng, "Logistic Regression in Rare Events Data", 2001; as in scikit-learn, but over
    the classes that have rows.
    """
    present = counts > 0
    weights = np.ones(len(counts), np.float32)
    weights[present] = counts.sum() / (present.sum() * counts[present])
    return weights


def _counts(
    labels: "np.ndarray[Any, Any]", exchange: Exchange, *, num_classes: int
) -> "np.ndarray[Any, Any]":
    places = np.maximum(labels.astype(np.int64), -1) + 1  # place 0 is for what is no class
    local = np.bincount(places, minlength=num_classes + 1)
    everyone = [np.frombuffer(other, np.int64) for other in exchange.all_gather(local.tobytes())]
    total = np.zeros(max(len(counts) for counts in everyone), np.int64)
    for counts in everyone:
        total[: len(counts)] += counts
    if total[0]:
        raise SpecError(
            f"train.class_weight needs class indices from 0, but {total[0]} rows of the train "
            "split have a negative label; renumber the classes."
        )
    return total[1:]


def _index_of(name: str, label: Label) -> int:
    names: Sequence[str] = label.vocabulary or ()
    if name in names:
        return names.index(name)
    if name.isdigit() and (not names or int(name) < len(names)):
        return int(name)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f", did you mean {near[0]!r}?" if near else f"; it has {_listed(names)}."
    raise SpecError(f"train.class_weight: label {label.name!r} has no class {name!r}{hint}")


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "indices from 0"
    return ", ".join(names[:20]) + (" and more" if len(names) > 20 else "")
