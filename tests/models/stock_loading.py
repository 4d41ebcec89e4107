"""Loads exported folders as somebody would who has TensorFlow, Keras and no shardline.

Run as `python stock_loading.py FOLDER…`: rows.npz becomes answers.npz; where `model.keras` needs
none of the user's own classes, about.json tells how far its answers lie from these.
"""

import json
import sys
from pathlib import Path

sys.modules["shardline"] = None  # an import of it would fail

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402


def arrays_of(file):
    with np.load(file, allow_pickle=False) as stored:
        return {str(name): stored[f"array_{i}"] for i, name in enumerate(stored["names"])}


def plain(tensor):
    array = tensor.numpy()
    if array.dtype.kind != "O":
        return array
    texts = [value.decode() for value in array.ravel()]
    return np.array(texts, dtype=np.str_).reshape(array.shape)


def load(folder):
    model = tf.saved_model.load(str(folder / "model"))
    signature = model.signatures["serving_default"]
    rows = arrays_of(folder / "rows.npz")
    tensors = {keyword: tf.constant(array) for keyword, array in rows.items()}
    answers = {name: plain(tensor) for name, tensor in signature(**tensors).items()}
    np.savez(
        folder / "answers.npz",
        names=np.array(list(answers), dtype=np.str_),
        **{f"array_{i}": array for i, array in enumerate(answers.values())},
    )
    about = json.loads((folder / "about.json").read_text())
    if not about["own"]:
        columns = {about["columns"][keyword]: tensor for keyword, tensor in tensors.items()}
        about["keras_error"] = deviation(folder / "model/model.keras", columns, answers)
        (folder / "about.json").write_text(json.dumps(about))


def deviation(file, columns, answers):
    """How far the numbers of the `.keras` file lie from those of the SavedModel, at most."""
    model = keras.models.load_model(file)
    if not isinstance(getattr(model, "input", None), dict):
        (columns,) = columns.values()
    found = [
        plain(tf.cast(tensor, "float64"))
        for tensor in keras.tree.flatten(model(columns, training=False))
    ]
    numbers = [array.astype(np.float64) for array in answers.values() if array.dtype.kind != "U"]
    return max(min(error_of(f, n) for n in numbers) for f in found)


def error_of(found, expected):
    if found.shape != expected.shape:
        return float("inf")
    return float((np.abs(found - expected) / np.maximum(1, np.abs(expected))).max())


for each in sys.argv[1:]:
    load(Path(each))
