"""A loss or gradient that is not finite ends the run at its step, before anything is committed."""

import numpy as np
import pytest
from tests.lines import classifier_line, prepared

from shardline.artifacts.checkpoint import list_checkpoints, read_tensors
from shardline.data.batches import read_block
from shardline.data.manifest import load_dataset
from shardline.errors import NotFiniteError
from shardline.model.code import collect_code
from shardline.spec import load_spec
from shardline.store import Store
from shardline.training.exchange.peers import Alone
from shardline.training.task import WorkerTask
from shardline.training.worker import train_order, train_worker

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
# There is a checkpoint before it, and not just before it.
POISONED_STEP = 8
OPTIONS = {"train.checkpoint.every_steps": 5, "train.checkpoint.keep": 100, "train.epochs": 2}


def poisoned_line(folder, **params):
    """A prepared line with a row of poison in one step; its overrides, the order and the step."""
    classifier_line(folder, **OPTIONS)
    (folder / "model.py").write_text(BUILDER)
    spec = load_spec(folder / "toy.yaml", overrides=[f"{k}={v}" for k, v in OPTIONS.items()])
    dataset = prepared(spec)
    rows = dataset.split("train").rows
    column = next(c for c in dataset.columns.features if c.name == "a")
    block = read_block(Store(spec.store), dataset, "train", rows=(0, rows), columns=[column])
    values = np.asarray(block.columns["a"]).ravel()
    order = train_order(spec, dataset)
    row = order.batch_rows(epoch=0, step=POISONED_STEP, lanes=range(order.num_lanes))[0]
    settings = {**OPTIONS, "model.params": params | {"value": float(values[row])}}
    return settings, order, POISONED_STEP


def refusal_of(exchange, file, settings):
    """What training in this process is refused with."""
    spec = load_spec(file, overrides=[f"{k}={v}" for k, v in settings.items()])
    dataset = load_dataset(Store(spec.store), spec.name)
    return train_worker({"task": WorkerTask(spec, dataset, collect_code(spec))}).refusal


def kind_and_message(exchange, file, settings):
    """The refusal for a harness that takes errors for its own."""
    refusal = refusal_of(exchange, file, settings)
    return type(refusal), refusal.message


def sentence(what, order, step):
    """How the refusal begins."""
    rows = order.batch_rows(epoch=0, step=step, lanes=range(order.num_lanes))
    named = ", ".join(map(str, rows[:10]))
    return f"{what} became NaN or infinite at step {step} (epoch 0), on rows {named}, … (16 in all)"


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
    settings, order, step = poisoned_line(tmp_path, **params)
    refusal = refusal_of(Alone(), tmp_path / "toy.yaml", settings)
    assert type(refusal) is NotFiniteError
    assert refusal.exit_code == 1
    assert refusal.message.startswith(sentence(what, order, step))
    store = Store(f"file://{tmp_path}/store")
    checkpoints = list_checkpoints(store, "toy")
    assert checkpoints
    assert checkpoints[-1].step <= step
    for checkpoint in checkpoints:
        for name, array in read_tensors(store, checkpoint).items():
            assert np.isfinite(array).all(), name


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_not_finite_on_one_worker_ends_all_with_the_same_sentence(tmp_path, ranks, policy):
    settings, order, step = poisoned_line(tmp_path, kind="loss", policy=policy)
    settings |= {"train.workers": 2, "train.checkpoint.every_steps": 100}
    refusals = ranks.call(kind_and_message, tmp_path / "toy.yaml", settings, world_size=2)
    # With loss scaling, gradients that overflow are no mistake: the loss tells.
    what = "gradients" if policy == "float32" else "loss"
    ((kind, message),) = set(refusals)
    assert kind is NotFiniteError
    assert message.startswith(sentence(what, order, step))
