"""The models that benchmarks train, and a callback that notes when every step ended."""

import os
import struct
import time
from pathlib import Path
from typing import Any

import keras

MLP_UNITS = {"77k": (90,), "4m": (1024, 1024, 2048), "25m": (2048, 4096, 3072, 1024)}
"""Hidden layers of MLPs with about 77 thousand, 4 and 25 million parameters on 784 inputs."""


def mlp(features: Any, size: str = "77k", steps_per_execution: int = 1) -> keras.Model:
    """A multi-layer perceptron whose gradients are large for the little it computes."""
    x = keras.layers.Flatten()(features["image"].input)
    x = keras.layers.Rescaling(1 / 255)(x)
    for units in MLP_UNITS[size]:
        x = keras.layers.Dense(units, activation="relu")(x)
    return _compiled(features, x, steps_per_execution)


def conv(features: Any, filters: int = 16, steps_per_execution: int = 1) -> keras.Model:
    """A small convolutional net: much to compute, few gradients to exchange."""
    x = keras.layers.Rescaling(1 / 255)(features["image"].input)
    for depth in (1, 2):
        x = keras.layers.Conv2D(filters * depth, 3, activation="relu", padding="same")(x)
        x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Flatten()(x)
    return _compiled(features, x, steps_per_execution)


def _compiled(features: Any, x: Any, steps_per_execution: int) -> keras.Model:
    model = keras.Model(features.inputs, keras.layers.Dense(10, activation="softmax")(x))
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3),
        loss="sparse_categorical_crossentropy",
        steps_per_execution=steps_per_execution,
    )
    return model


class Stamps(keras.callbacks.Callback):
    """Appends the time at which each step ended to a file of this process.

    Args:
        folder: Where the files of all processes go.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        self._file = os.open(
            Path(folder) / f"{os.getpid()}.stamps", os.O_WRONLY | os.O_CREAT | os.O_APPEND
        )

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Note the time."""
        os.write(self._file, struct.pack("<d", time.time()))
