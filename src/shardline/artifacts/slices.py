"""How well parts of the held-out rows are answered: by label, and by features of few values."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from shardline.artifacts.manifest import Slice
from shardline.data.schema import Column, Label

MAX_CLASSES = 10
MAX_FEATURES = 4
MAX_VALUES = 8
NUM_LABEL_RANGES = 3

Array = np.ndarray[Any, Any]
Measure = Literal["accuracy", "mean absolute error"]


@dataclass(frozen=True)
class Score:
    """What each row's answer is worth."""

    measure: Measure
    values: Array
    """(rows,): 1 and 0 for right and wrong, or deviations."""


def slices_of(
    answers: Mapping[str, Array],
    rows: Mapping[str, Array],
    label: Label,
    features: Sequence[Column],
) -> tuple[Slice, ...]:
    """All rows, then each class or third of the label, then each value of a few features.

    Args:
        answers: Outputs by name, (rows, …).
        rows: Label and features by name, (rows, *shape), (rows, 1) for scalars.
        label: What was learned.
        features: What the model takes.

    Returns:
        Nothing where answers cannot be compared with the label: several outputs of which none has
        its name, other shapes, or logits of two classes.
    """
    score = scored(answers, rows[label.name], label)
    if score is None or not len(score.values):
        return ()
    cut = _measured(score)
    everything = cut(None, "all", np.ones(len(score.values), dtype=bool))
    parts = _by_label(rows[label.name], label, score) if not label.shape else ()
    found = [cut(label.name, value, mask) for value, mask in parts]
    for column in _of_few_values(rows, features):
        values = rows[column.name][:, 0]
        found += [cut(column.name, str(v), values == v) for v in np.unique(values)]
    return (everything, *found)


def scored(answers: Mapping[str, Array], expected: Array, label: Label) -> Score | None:
    """What each answer is worth; None where it cannot be compared with the label."""
    numbers = {name: array for name, array in answers.items() if array.dtype.kind in "fiub"}
    answer = next(iter(numbers.values())) if len(numbers) == 1 else numbers.get(label.name)
    if answer is None or label.shape or expected.dtype.kind not in "fiub":
        return None
    answer, expected = answer.reshape(len(answer), -1), expected[:, 0]
    is_class = expected.dtype.kind in "iub"
    if answer.shape[1] > 1:
        if not is_class or expected.min() < 0 or expected.max() >= answer.shape[1]:
            return None
        return Score("accuracy", answer.argmax(axis=1) == expected)
    answer = answer[:, 0].astype(np.float64)
    is_two = is_class and np.isin(expected, (0, 1)).all()
    if is_two and (answer >= 0).all() and (answer <= 1).all():
        return Score("accuracy", (answer >= 0.5) == expected)
    # Of two classes other answers are logits, whose distance from 0 and 1 means nothing.
    return (
        None if is_two or label.vocabulary else Score("mean absolute error", abs(answer - expected))
    )


def _measured(score: Score) -> Callable[[str | None, str, Array], Slice]:
    def cut(column: str | None, value: str, mask: Array) -> Slice:
        mean = float(score.values[mask].mean())
        return Slice(
            column=column,
            value=value,
            rows=int(mask.sum()),
            measure=score.measure,
            measured=mean if np.isfinite(mean) else None,
        )

    return cut


def _by_label(expected: Array, label: Label, score: Score) -> Iterator[tuple[str, Array]]:
    values = expected[:, 0]
    if score.measure == "accuracy":
        classes, counts = np.unique(values, return_counts=True)
        for number in classes[np.argsort(-counts, kind="stable")][:MAX_CLASSES]:
            name = label.vocabulary[int(number)] if label.vocabulary else str(number)
            yield name, values == number
        return
    bounds = np.unique(np.quantile(values, np.linspace(0, 1, NUM_LABEL_RANGES + 1)))
    for low, high in pairwise(bounds):
        last = high == bounds[-1]
        mask = (values >= low) & ((values <= high) if last else (values < high))
        if mask.any():
            yield f"{low:.6g} to {high:.6g}", mask


def _of_few_values(rows: Mapping[str, Array], features: Sequence[Column]) -> list[Column]:
    scalars = [c for c in features if not c.shape and c.dtype != "timestamp"]
    few = [
        column
        for column in scalars
        if rows[column.name].dtype.kind != "f"
        and 2 <= len(np.unique(rows[column.name])) <= MAX_VALUES
    ]
    return few[:MAX_FEATURES]
