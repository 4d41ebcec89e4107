"""Uses a model version's folder as the world outside does: TensorFlow, Keras, MLflow, the card.

Run without shardline as `python elsewhere.py JSON`, a list of folders with their inputs; prints
what each way answers to one row of zeros and empty texts, as JSON.
"""

import contextlib
import io
import json
import os
import re
import sys
from pathlib import Path

sys.modules["shardline"] = None  # an import of it would fail

import keras  # noqa: E402
import mlflow.pyfunc  # noqa: E402
import mlflow.tensorflow  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import tensorflow as tf  # noqa: E402
import yaml  # noqa: E402


def listed(answers):
    """Values as texts; rows may be tensors, arrays or, in MLflow's tables, lists."""
    return {name: texts([np.ravel(row) for row in values]) for name, values in answers.items()}


def texts(rows):
    array = np.concatenate(rows)
    return (array.astype(np.float32) if array.dtype.kind == "f" else array).astype(str).tolist()


def by_tensorflow(folder, row):
    model = tf.saved_model.load(str(folder))
    answers = model.signatures["serving_default"](**row)
    return {name: tensor.numpy() for name, tensor in answers.items()}


def by_keras(folder, row):
    model = keras.models.load_model(folder / "model.keras")
    given = next(iter(row.values()))
    if isinstance(getattr(model, "input", None), dict):
        given = dict(zip([tensor.name for tensor in model.inputs], row.values(), strict=True))
    answers = model(given, training=False)
    return answers if isinstance(answers, dict) else {"only": answers}


def by_mlflow(folder, row):
    flavor = {
        "saved_model_dir": ".",
        "meta_graph_tags": ["serve"],
        "signature_def_key": "serving_default",
    }
    flavors = {
        "tensorflow": flavor,
        "python_function": {"loader_module": "mlflow.tensorflow", "python_version": "3"},
    }
    (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": flavors, "model_uuid": "m"}))
    table = pd.DataFrame({name: [tensor.numpy()[0]] for name, tensor in row.items()})
    return mlflow.pyfunc.load_model(str(folder)).predict(table)


def by_the_card(folder):
    """What its Python blocks print, in the folder they speak of."""
    blocks = re.findall("```python\n(.*?)\n```", (folder / "MODEL_CARD.md").read_text(), re.DOTALL)
    os.chdir(folder)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for block in blocks:
            exec(block, {})
    return printed.getvalue()


def main(folder, spec):
    row = {
        name: tf.fill(shape, "") if dtype == "string" else tf.zeros(shape, dtype)
        for name, dtype, shape in spec
    }
    ways = {"tensorflow": by_tensorflow, "keras": by_keras, "mlflow": by_mlflow}
    found = {way: listed(answer(folder, row)) for way, answer in ways.items()}
    return {**found, "card": by_the_card(folder)}


print(json.dumps([main(Path(folder), spec) for folder, spec in json.loads(sys.argv[1])]))
