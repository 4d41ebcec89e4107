"""Small models of every kind that training on several workers must leave unchanged.

Each is a builder, the dataset it learns from and what its spec says beside the defaults.
"""

from dataclasses import dataclass, field

import keras
import numpy as np
from keras import layers
from tests.sample_datasets import write_dataset

from shardline.data.schema import Column, Label

GLOBAL_BATCH = 32
STEPS_PER_EPOCH = 12
EPOCHS = 2
TRAIN_ROWS = GLOBAL_BATCH * STEPS_PER_EPOCH + 5
VALIDATION_ROWS = 37
FEW_ROWS = 3
CLASSES = ("left", "middle", "right")


@dataclass(frozen=True)
class Architecture:
    """One row of the table."""

    build: object
    dataset: str
    train: dict = field(default_factory=dict)


def write_all(store):
    """The datasets, by name."""
    written = {}
    for name, (features, label, values) in _datasets().items():
        parts, start = {}, 0
        held_out = FEW_ROWS if name == "answers" else VALIDATION_ROWS
        splits = {"train": TRAIN_ROWS, "validation": held_out}
        for split, rows in splits.items():
            parts[split] = {key: array[start : start + rows] for key, array in values.items()}
            start += rows
        written[name] = write_dataset(store, features, label, parts, name=name)
    return written


def _datasets():
    rng = np.random.default_rng(11)
    rows = TRAIN_ROWS + VALIDATION_ROWS
    vectors = rng.normal(size=(rows, 8)).astype(np.float32)
    images = rng.normal(size=(rows, 8, 8, 1)).astype(np.float32)
    tokens = rng.integers(1, 50, size=(rows, 6))
    other = rng.normal(size=(rows, 8)).astype(np.float32)
    kinds = Label(name="kind", dtype="int64", vocabulary=CLASSES)
    number = Label(name="y", dtype="float32")

    def classes(scores):
        return np.digitize(scores, np.quantile(scores, [1 / 3, 2 / 3])).astype(np.int64)

    return {
        "answers": (
            [Column(name="x", dtype="float32", shape=(8,))],
            Label(name="answer", dtype="float32"),
            {"x": vectors, "answer": (vectors[:, 0] > vectors[:, 1]).astype(np.float32)},
        ),
        "vectors": (
            [Column(name="x", dtype="float32", shape=(8,))],
            kinds,
            {"x": vectors, "kind": classes(vectors[:, 0] + vectors[:, 1] ** 2)},
        ),
        "images": (
            [Column(name="image", dtype="float32", shape=(8, 8, 1))],
            kinds,
            {"image": images, "kind": classes(images[:, :4].mean((1, 2, 3)))},
        ),
        "texts": (
            [Column(name="tokens", dtype="int64", shape=(6,))],
            kinds,
            {"tokens": tokens, "kind": classes((tokens % 7).sum(1) + tokens[:, 0] / 50)},
        ),
        "pairs": (
            [
                Column(name="a", dtype="float32", shape=(8,)),
                Column(name="b", dtype="float32", shape=(8,)),
            ],
            number,
            {"a": vectors, "b": other, "y": (vectors * other).mean(1) + vectors[:, 0]},
        ),
    }


def mlp(features):
    model = _classifier(features, _hidden(features["x"].input), optimizer="adam")
    model.steps_per_execution = 2
    return model


def synchronised_conv_net(features):
    x = features["image"].input
    for filters in (4, 8):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization(synchronized=True)(x)
        x = layers.MaxPooling2D()(layers.ReLU()(x))
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    return _classifier(features, layers.Flatten()(x), optimizer=optimizer)


def transformer(features):
    x = layers.Embedding(50, 8)(features["tokens"].input)
    attended = layers.MultiHeadAttention(2, 4)(x, x)
    x = layers.LayerNormalization()(x + attended)
    x = layers.LayerNormalization()(x + layers.Dense(8)(layers.Dense(16, "gelu")(x)))
    # The bias of the keys has no gradient but rounding, which Adam would scale to full steps.
    optimizer = keras.optimizers.Adam(0.01, epsilon=1e-4)
    return _classifier(features, layers.GlobalAveragePooling1D()(x), optimizer=optimizer)


def recurrent(features):
    x = layers.GRU(8)(layers.Embedding(50, 8)(features["tokens"].input))
    return _classifier(features, x, optimizer=keras.optimizers.Adam(0.01))


def sparse_embedding(features):
    x = layers.Flatten()(layers.Embedding(50, 4)(features["tokens"].input))
    optimizer = keras.optimizers.Adam(0.01, global_clipnorm=0.05)
    return _classifier(features, x, optimizer=optimizer)


class TwoHeads(keras.Model):
    """A dataset has one label: both outputs learn it."""

    def compute_loss(self, x=None, y=None, y_pred=None, *rest, **named):
        return super().compute_loss(x, {"y": y, "doubled": 2 * y}, y_pred, *rest, **named)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return super().compute_metrics(x, {"y": y, "doubled": 2 * y}, y_pred, sample_weight)


def several_inputs_and_outputs(features):
    x = layers.Concatenate()([features["a"].input, features["b"].normalized()])
    x = layers.Dense(16, "tanh")(x)
    outputs = {name: layers.Dense(1, name=name)(x) for name in ("y", "doubled")}
    model = TwoHeads(features.inputs, outputs)
    model.compile(
        optimizer=keras.optimizers.Adam(0.01),
        loss={"y": "mse", "doubled": "mae"},
        loss_weights={"y": 1.0, "doubled": 0.5},
        metrics={"y": ["mae"]},
    )
    return model


class OwnSteps(keras.Model):
    """Computes a loss by itself and logs figures that are no metrics."""

    def __init__(self):
        super().__init__()
        self.hidden = layers.Dense(8, "tanh")
        self.out = layers.Dense(1)
        self.errors = keras.metrics.MeanAbsoluteError(name="mae")

    def call(self, inputs):
        joined = keras.ops.concatenate([inputs["a"], inputs["b"]], axis=-1)
        return self.out(self.hidden(joined))

    def train_step(self, data):
        import tensorflow as tf

        x, y = data
        with tf.GradientTape() as tape:
            found = self(x, training=True)
            loss = self.compute_loss(x=x, y=y, y_pred=found)
        weights = self.trainable_variables
        gradients = tape.gradient(loss, weights)
        self.optimizer.apply_gradients(zip(gradients, weights, strict=True))
        self.errors.update_state(y, found)
        return {"own_loss": loss, "mae": self.errors.result()}

    def test_step(self, data):
        x, y = data
        self.errors.update_state(y, self(x, training=False))
        return {"mae": self.errors.result()}


def own_steps(features):
    model = OwnSteps()
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss="mse")
    return model


def shared_and_frozen_layers(features):
    shared, frozen = layers.Dense(8, "tanh"), layers.Dense(8, "relu", trainable=False)
    normalization = layers.BatchNormalization(trainable=False)
    both = [normalization(frozen(shared(features[name].input))) for name in ("a", "b")]
    model = keras.Model(features.inputs, layers.Dense(1)(layers.Multiply()(both)))
    metrics = ["mae", keras.metrics.R2Score()]
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss="mse", metrics=metrics)
    return model


def accumulated_gradients(features):
    optimizer = keras.optimizers.Adam(0.01, gradient_accumulation_steps=4)
    return _classifier(features, _hidden(features["x"].input), optimizer=optimizer)


def decay_average_and_schedule(features):
    x = layers.Dense(16, "relu", kernel_regularizer="l2")(features["x"].input)
    schedule = keras.optimizers.schedules.CosineDecay(0.05, EPOCHS * STEPS_PER_EPOCH)
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=0.05, use_ema=True, ema_momentum=0.9)
    return _classifier(features, x, optimizer=optimizer)


def plateau(features):
    return _classifier(
        features, _hidden(features["x"].input), optimizer=keras.optimizers.SGD(1.0, 0.9)
    )


class Squares(keras.metrics.Metric):
    """Mean of squared answers, and over how many: a user's metric with states of its own."""

    def __init__(self, name="squares", **options):
        super().__init__(name=name, **options)
        self.total = self.add_weight(shape=(), initializer="zeros", name="total")
        self.count = self.add_weight(shape=(), initializer="zeros", dtype="int64", name="count")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.total.assign_add(keras.ops.sum(keras.ops.square(y_pred)))
        self.count.assign_add(keras.ops.cast(keras.ops.size(y_pred), "int64"))

    def result(self):
        count = keras.ops.cast(self.count, "float32")
        return {"squares": self.total / count, "rows": count}


def metrics(features):
    x = layers.Dense(1, "sigmoid")(_hidden(features["x"].input))
    model = keras.Model(features.inputs, x)
    model.compile(
        optimizer="adam",
        loss="binary_crossentropy",
        metrics=[
            "accuracy",
            keras.metrics.AUC(),
            keras.metrics.AUC(curve="PR", name="pr"),
            keras.metrics.Precision(),
            keras.metrics.Recall(),
            keras.metrics.BinaryIoU(),
            keras.metrics.F1Score("macro", threshold=0.5),
            keras.metrics.R2Score(),
            Squares(),
        ],
    )
    return model


def mixed_precision(features):
    # The gradients of single rows overflow long before their sums, which are over other rows on
    # other numbers of workers.
    x = layers.Rescaling(0.01)(features["x"].input)
    x = layers.Dense(16, "relu", dtype="mixed_float16", use_bias=False)(x)
    x = layers.Dense(3, activation="softmax", dtype="float32")(x)
    model = keras.Model(features.inputs, x)
    optimizer = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(0.1), initial_scale=2.0**24, dynamic_growth_steps=6
    )
    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy")
    return model


def _hidden(x):
    return layers.Dense(16, "relu")(x)


def _classifier(features, x, *, optimizer):
    scores = layers.Dense(3, activation="softmax", name="scores")(x)
    model = keras.Model(features.inputs, scores)
    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


ARCHITECTURES = {
    "mlp, several steps per execution": Architecture(mlp, "vectors"),
    "conv net, synchronised batch norm": Architecture(synchronised_conv_net, "images"),
    "transformer block": Architecture(transformer, "texts"),
    "GRU": Architecture(recurrent, "texts"),
    "embedding, global-norm clipping": Architecture(sparse_embedding, "texts"),
    "several inputs and outputs": Architecture(several_inputs_and_outputs, "pairs"),
    "own train_step and test_step": Architecture(own_steps, "pairs"),
    "shared and frozen layers": Architecture(shared_and_frozen_layers, "pairs"),
    "gradient accumulation": Architecture(accumulated_gradients, "vectors"),
    "weight decay, moving average, schedule": Architecture(decay_average_and_schedule, "vectors"),
    "mixed_float16, dynamic loss scaling": Architecture(mixed_precision, "vectors"),
    "plateau and early stopping": Architecture(
        plateau,
        "vectors",
        {
            "epochs": 12,
            # At a rate of 1 rounding grows from step to step, by how much depends on the rows.
            "order": "full",
            "callbacks": [
                {
                    "name": "ReduceLROnPlateau",
                    "monitor": "val_loss",
                    "patience": 1,
                    "factor": 0.5,
                    "min_delta": 0.2,
                },
                {
                    "name": "EarlyStopping",
                    "monitor": "val_loss",
                    "patience": 2,
                    "min_delta": 0.05,
                },
            ],
        },
    ),
    "metrics, fewer validation rows than workers": Architecture(metrics, "answers"),
}
