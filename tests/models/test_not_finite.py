"""A loss or gradient that is not finite ends the run at its step, before anything is committed."""

import numpy as np
import pytest
from tests.lines import classifier_line, prepared

from shardline.artifacts.checkpoint import list_checkpoints, read_tensors
from shardline.data.batches import read_block
from shardline.errors import NotFiniteError
from shardline.model.code import collect_code
from shardline.spec import load_spec
from shardline.store import Store
from shardline.training.worker import WorkerTask, train_order, train_worker

# One row, told from the others by its value, is poison.
BUILDER = """
import keras
from keras import ops

@keras.saving.register_keras_serializable("tests")
class Poison(keras.layers.Layer):
    def __init__(self, value, kind, **options):
        super().__init__(**options)
        self.value, self.kind = value, kind

    def build(self, shape):
        self.scale = self.add_weight(shape=(), initializer="ones", name="scale")

    def call(self, a):
        distance = ops.abs(a - self.value)
        if self.kind == "loss":
            return ops.where(distance < 1e-6, float("nan"), a) * self.scale
        # The root of zero is zero; its derivative is not finite.
        return a + 1e-3 * ops.sqrt(distance * self.scale)

def build(features, value, kind, steps_per_execution=1, policy="float32"):
    a = Poison(value, kind, dtype="float32")(features["a"].input)
    x = keras.layers.Concatenate()([a, features["b"].normalized()])
    x = keras.layers.Dense(8, activation="relu", dtype=policy)(x)
    outputs = keras.layers.Dense(3, activation="softmax", name="p", dtype="float32")(x)
    model = keras.Model(features.inputs, outputs)
    optimizer = keras.optimizers.Adam(0.01)
    if policy == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(
        optimizer, "sparse_categorical_crossentropy", steps_per_execution=steps_per_execution
    )
    return model
"""
OPTIONS = {"train.checkpoint.every_steps": 5, "train.checkpoint.keep": 100, "train.epochs": 2}


def outcome_with(folder, **params):
    """What training comes to when the row with the largest `a` is poison; and that row."""
    classifier_line(folder, **OPTIONS)
    (folder / "model.py").write_text(BUILDER)
    spec = load_spec(folder / "toy.yaml", overrides=[f"{k}={v}" for k, v in OPTIONS.items()])
    dataset = prepared(spec)
    store = Store(spec.store)
    rows = dataset.split("train").rows
    column = next(c for c in dataset.columns.features if c.name == "a")
    block = read_block(store, dataset, "train", rows=(0, rows), columns=[column])
    values = np.asarray(block.take(np.arange(rows))["a"]).ravel()
    row = int(values.argmax())
    settings = {**OPTIONS, "model.params": params | {"value": float(values[row])}}
    spec = load_spec(folder / "toy.yaml", overrides=[f"{k}={v}" for k, v in settings.items()])
    order = train_order(spec, dataset)
    step = next(
        step
        for step in range(order.steps_per_epoch)
        if row in order.batch_rows(epoch=0, step=step, lanes=range(order.num_lanes))
    )
    task = WorkerTask(spec, dataset, collect_code(spec))
    return spec, train_worker({"task": task}).refusal, step, order


@pytest.mark.parametrize(
    ("params", "what"),
    [
        ({"kind": "loss"}, "gradients"),
        ({"kind": "gradient"}, "gradients"),
        ({"kind": "gradient", "steps_per_execution": 4}, "gradients"),
        ({"kind": "loss", "policy": "mixed_float16"}, "loss"),
    ],
    ids=["loss", "gradient", "in groups of steps", "with loss scaling"],
)
def test_not_finite_step_is_named_with_its_rows_and_nothing_of_it_is_committed(
    tmp_path, params, what
):
    spec, refusal, step, order = outcome_with(tmp_path, **params)
    assert type(refusal) is NotFiniteError
    assert refusal.exit_code == 1
    rows = order.batch_rows(epoch=0, step=step, lanes=range(order.num_lanes))
    named = ", ".join(map(str, rows[:10]))
    assert refusal.message.startswith(
        f"{what} became NaN or infinite at step {step} (epoch 0), on rows {named}, … (16 in all) "
    )
    store = Store(spec.store)
    checkpoints = list_checkpoints(store, spec.run_name)
    assert checkpoints
    assert checkpoints[-1].step <= step
    for checkpoint in checkpoints:
        for name, array in read_tensors(store, checkpoint).items():
            assert np.isfinite(array).all(), name
