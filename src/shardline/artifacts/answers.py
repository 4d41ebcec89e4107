"""What a model in memory answers to rows."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from shardline.artifacts.candidate import RestoredModel
from shardline.artifacts.clock import Clock
from shardline.artifacts.golden import TrialRows
from shardline.artifacts.manifest import Slice
from shardline.artifacts.parity import decoded
from shardline.artifacts.saved_model import named_answers
from shardline.artifacts.slices import slices_of
from shardline.data.schema import Label

BATCH_ROWS = 64
MAX_SECONDS = 10.0

Array = np.ndarray[Any, Any]


def model_answers(
    restored: RestoredModel, rows: Mapping[str, Array], label: Label
) -> dict[str, Array]:
    """Every output by name, texts decoded.

    Args:
        restored: The model.
        rows: Its inputs by name, (rows, *shape), (rows, 1) for scalars.
        label: What it learned.
    """
    import tensorflow as tf

    tensors = {c.name: tf.constant(rows[c.name], c.tensor_dtype) for c in restored.inputs}
    answers = named_answers(restored.model, tensors, label)
    return {name: decoded(tf.convert_to_tensor(a).numpy()) for name, a in answers.items()}


def measured_slices(
    restored: RestoredModel, rows: TrialRows, label: Label, *, clock: Clock
) -> tuple[Slice, ...]:
    """Slices of the held-out rows: of as many as the model answers in `MAX_SECONDS`."""
    answered: list[dict[str, Array]] = []
    begun = clock()
    for start in range(0, rows.num_held_out, BATCH_ROWS):
        stop = min(start + BATCH_ROWS, rows.num_held_out)
        batch = {column.name: rows.columns[column.name][start:stop] for column in restored.inputs}
        answered.append(model_answers(restored, batch, label))
        if clock() - begun > MAX_SECONDS:
            break
    if not answered:
        return ()
    answers = {name: np.concatenate([each[name] for each in answered]) for name in answered[0]}
    num_rows = sum(len(next(iter(each.values()))) for each in answered)
    known = {name: array[:num_rows] for name, array in rows.columns.items()}
    return slices_of(answers, known, label, restored.inputs)
