"""The part of a model card that shows how the version is called, from here and from elsewhere."""

import json
import re
from collections.abc import Sequence

from shardline.artifacts.card_text import code
from shardline.artifacts.manifest import MARKER_NAME, ModelManifest
from shardline.artifacts.own_objects import LAMBDA, OwnObject
from shardline.artifacts.signature import SIGNATURE, call_keywords
from shardline.data.schema import Column
from shardline.report import one_line


def calls(manifest: ModelManifest, own: Sequence[OwnObject]) -> str:
    """Markdown with commands that work as they stand."""
    return "\n\n".join(
        [
            "Over HTTP, `shardline serve` or any server of TensorFlow Serving's protocol:",
            _block("sh", _curl(manifest)),
            *_notes_on_example(manifest),
            "In Python, in this folder, without shardline:",
            _block("python", _saved_model_call(manifest.inputs)),
            "To train on, or to look inside:",
            _block("python", _keras_call(own)),
            "TensorFlow Serving takes the folder above this one as `--model_base_path`; Triton's "
            f"TensorFlow backend takes a copy of this folder as `{manifest.name}/"
            f"{manifest.version}/model.savedmodel` and finds out inputs and outputs by itself.",
        ]
    )


def _block(language: str, content: str) -> str:
    longest = max((len(run) for run in re.findall("`+", content)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{content}\n{fence}"


def _curl(manifest: ModelManifest) -> str:
    url = f"http://localhost:8000/v1/models/{manifest.name}:predict"
    if manifest.example is None:
        return f"curl -d @rows.json {url}"
    # The row is somebody's: it stays in model.json, since cards are shown around.
    taken = f'json.load(open("{MARKER_NAME}"))["example"]'
    wrapped = f'import json; print(json.dumps({{"instances": [{taken}]}}))'
    return f"python3 -c '{wrapped}' > rows.json\ncurl -d @rows.json {url}"


def _notes_on_example(manifest: ModelManifest) -> list[str]:
    inputs = manifest.inputs
    if manifest.example is None:
        names = ", ".join(f"{code(c.name)} {list(c.shape)}" for c in inputs)
        return [
            f'`rows.json` holds `{{"instances": [...]}}`: one object per row, with nested lists of '
            f"these shapes: {names}."
        ]
    differs = any(
        c.encoded or c.padding or c.treatment or c.indicates or c.dtype == "timestamp"
        for c in inputs
    )
    if not differs:
        return []
    return [
        "Only shardline decodes images, fills lists up, treats missing values and reads times: "
        "other servers are sent what the SavedModel takes, as below."
    ]


def _saved_model_call(inputs: Sequence[Column]) -> str:
    keywords = call_keywords(column.name for column in inputs)
    lines = [f"    {keywords[c.name]}={_constant(c)},{_comment(c, keywords)}" for c in inputs]
    return "\n".join(
        [
            "import tensorflow as tf",
            "",
            'model = tf.saved_model.load(".")',
            f'answers = model.signatures["{SIGNATURE}"](',
            *lines,
            ")",
            "print({name: tensor.numpy() for name, tensor in answers.items()})",
        ]
    )


def _constant(column: Column) -> str:
    """One row of nothing, in the input's type and shape."""
    shape = [1, *(column.shape or (1,))]
    if column.dtype == "string":
        return f'tf.fill({shape}, "")'
    return f"tf.zeros({shape}, tf.{column.tensor_dtype})"


def _comment(column: Column, keywords: dict[str, str]) -> str:
    notes = [] if keywords[column.name] == column.name else [one_line(column.name)]
    if column.dtype == "timestamp":
        notes.append("microseconds since 1970, in UTC")
    if column.padding is not None:
        notes.append(f"filled up with {column.padding.value}")
    return f"  # {', '.join(notes)}" if notes else ""


def _keras_call(own: Sequence[OwnObject]) -> str:
    named = [each for each in own if each.name != LAMBDA]
    arguments = ['"model.keras"']
    if named:
        given = ", ".join(f"{json.dumps(each.key)}: {each.name}" for each in named)
        arguments.append(f"custom_objects={{{given}}}")
    call = f"model = keras.models.load_model({', '.join(arguments)})"
    if len(named) < len(own):
        arguments.append("safe_mode=False")
        call = (
            "# It holds a Python lambda, which runs when it is loaded and called.\n"
            f"model = keras.models.load_model({', '.join(arguments)})"
        )
    imports = [f"from {each.module} import {each.name}" for each in named]
    return "\n".join(["import keras", *imports, "", call])
