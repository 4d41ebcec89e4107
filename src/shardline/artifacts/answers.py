"""What a model in memory answers to rows."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from shardline.artifacts.candidate import RestoredModel
from shardline.artifacts.clock import Clock
from shardline.artifacts.golden import TrialRows
from shardline.artifacts.manifest import Slice
from shardline.artifacts.parity import decoded
from shardline.artifacts.saved_model import named_answers
from shardline.artifacts.slices import slices_of
from shardline.data.schema import Column, Label

BATCH_ROWS = 64
MAX_SECONDS = 10.0

Array = np.ndarray[Any, Any]
Answering = Callable[[Mapping[str, Array]], dict[str, Array]]


def answering(restored: RestoredModel, label: Label) -> Answering:
    """The model as a function of its inputs by name, (rows, *shape), (rows, 1) for scalars.

    It is traced, as by `predict` and `evaluate`: called eagerly, some layers round otherwise, among
    them `Resizing` of bytes (keras 3.15).

    Args:
        restored: The model.
        label: What it learned.

    Returns:
        Gives every output by name, texts decoded.
    """
    import tensorflow as tf

    specs = {
        c.name: tf.TensorSpec((None, *(c.shape or (1,))), c.tensor_dtype) for c in restored.inputs
    }

    @tf.function(autograph=False, input_signature=[specs])  # type: ignore[untyped-decorator]
    def traced(columns: Any) -> Any:
        return named_answers(restored.model, columns, label)

    def answer(rows: Mapping[str, Array]) -> dict[str, Array]:
        tensors = {c.name: tf.constant(rows[c.name], c.tensor_dtype) for c in restored.inputs}
        return {name: decoded(tensor.numpy()) for name, tensor in traced(tensors).items()}

    return answer


def measured_slices(
    answer: Answering, rows: TrialRows, label: Label, inputs: Sequence[Column], *, clock: Clock
) -> tuple[Slice, ...]:
    """Slices of the held-out rows: of as many as the model answers in `MAX_SECONDS`."""
    answered: list[dict[str, Array]] = []
    begun = clock()
    for start in range(0, rows.num_held_out, BATCH_ROWS):
        stop = min(start + BATCH_ROWS, rows.num_held_out)
        batch = {column.name: rows.columns[column.name][start:stop] for column in inputs}
        answered.append(answer(batch))
        if clock() - begun > MAX_SECONDS:
            break
    if not answered:
        return ()
    answers = {name: np.concatenate([each[name] for each in answered]) for name in answered[0]}
    num_rows = sum(len(next(iter(each.values()))) for each in answered)
    known = {name: array[:num_rows] for name, array in rows.columns.items()}
    return slices_of(answers, known, label, inputs)
