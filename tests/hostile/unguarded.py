"""Loads models as one would who trusts them: `python -m tests.hostile.unguarded`, tasks on stdin.

Answers are one line of JSON on stdout: by name, what the model said or how it failed.
"""

import json
import sys
from pathlib import Path


def main():
    import keras

    tasks = json.load(sys.stdin)

    @keras.saving.register_keras_serializable(package="evil", name="Canary")
    class Own(keras.layers.Layer):
        """A class of the machine's owner that a config picks by its name, instead of `Dense`."""

        @classmethod
        def from_config(cls, config):
            canaries = [Path(task["canary"]) for task in tasks if "registered" in task["name"]]
            for folder in canaries:
                (folder / "ran").write_text("x")
            return keras.layers.Dense(1)

    answers = {}
    for task in tasks:
        try:
            answers[task["name"]] = _use(Path(task["path"]))
        except Exception as error:  # noqa: BLE001  # a canary may sing and the model fail
            answers[task["name"]] = f"{type(error).__name__}: {error}"
    sys.stdout.write("\n" + json.dumps(answers) + "\n")


def _use(path):
    import keras
    import tensorflow as tf

    if path.suffix in {".keras", ".h5"}:
        model = keras.saving.load_model(path, safe_mode=False, compile=False)
        return str(model(tf.zeros((1, *model.input_shape[1:]))))
    loaded = tf.saved_model.load(str(path))
    return str(loaded.signatures["serving_default"](x=tf.zeros((1, 2))))


if __name__ == "__main__":
    main()
