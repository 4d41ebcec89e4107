"""A Keras model as a SavedModel that takes raw columns and answers outputs, all by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from shardline.artifacts.signature import SIGNATURE, call_keywords
from shardline.data.schema import Column, Label
from shardline.errors import ModelError
from shardline.model.builder import model_arguments
from shardline.spec.data import TensorDType


@dataclass(frozen=True)
class SavedSignature:
    """What the written SavedModel takes and answers."""

    inputs: tuple[Column, ...]
    outputs: tuple[Column, ...]


def named_answers(model: Any, columns: Mapping[str, Any], label: Label) -> dict[str, Any]:
    """Call a model in inference mode.

    Returns:
        Output tensors by name. Where the label has a vocabulary and the only output has one value
        per class, a further string output with the name of the most probable class.
    """
    answers = answers_by_name(model, model(model_arguments(model, columns), training=False))
    return answers | _class_names(answers, label)


def write_saved_model(
    model: Any, folder: Path, *, inputs: Sequence[Column], label: Label
) -> SavedSignature:
    """Write `saved_model.pb`, `variables/` and `assets/` into `folder`.

    Args:
        model: A built `keras.Model`.
        folder: Where to write.
        inputs: The model's input columns.
        label: What it learned.

    Raises:
        ModelError: An output cannot be described by a fixed shape and dtype.
    """
    import tensorflow as tf

    keywords = call_keywords(column.name for column in inputs)

    def serve(**arguments: Any) -> dict[str, Any]:
        columns = {name: arguments[keyword] for name, keyword in keywords.items()}
        return named_answers(model, columns, label)

    specs = {
        keywords[column.name]: tf.TensorSpec(
            (None, *(column.shape or (1,))), column.tensor_dtype, name=keywords[column.name]
        )
        for column in inputs
    }
    function = tf.function(serve, autograph=False).get_concrete_function(**specs)
    outputs = tuple(
        _output_column(name, spec) for name, spec in function.structured_outputs.items()
    )
    holder = tf.Module()
    holder.model = model  # keeps variables and lookup tables
    # No attribute that TensorFlow knows leads to the seeds of augmenting layers (keras 3.15).
    holder.state = [variable.value for variable in model.variables]
    tf.saved_model.save(holder, str(folder), signatures={SIGNATURE: function})
    _name_inputs(folder / "saved_model.pb", keywords)
    return SavedSignature(inputs=tuple(inputs), outputs=outputs)


def answers_by_name(model: Any, answers: Any) -> dict[str, Any]:
    """What a model answered, by the names of the exported outputs."""
    import keras

    if not isinstance(answers, dict):
        tensors = list(answers) if isinstance(answers, list | tuple) else [answers]
        answers = dict(zip(_output_names(model, len(tensors)), tensors, strict=True))
    return {
        # No client has bfloat16; every bfloat16 is a float32.
        name: keras.ops.cast(tensor, "float32") if tensor.dtype == "bfloat16" else tensor
        for name, tensor in answers.items()
    }


def _output_names(model: Any, count: int) -> list[str]:
    import keras

    if isinstance(model, keras.Sequential):
        names = [model.layers[-1].name]
    else:
        names = list(getattr(model, "output_names", ()))
    if len(names) != count or len(set(names)) != count:
        # Subclassed, or one layer gives several outputs.
        return ["output"] if count == 1 else [f"output_{index}" for index in range(count)]
    return names


def _class_names(answers: Mapping[str, Any], label: Label) -> dict[str, Any]:
    import tensorflow as tf

    if label.vocabulary is None or len(answers) != 1:
        return {}
    ((name, scores),) = answers.items()
    if len(scores.shape) != 2 or scores.shape[1] != len(label.vocabulary):
        return {}
    own_name = label.name if label.name != name else f"{label.name}_name"
    return {own_name: tf.gather(tf.constant(label.vocabulary), tf.argmax(scores, axis=-1))}


def _output_column(name: str, spec: Any) -> Column:
    shape = tuple(spec.shape)
    if not shape or shape[0] is not None or None in shape[1:]:
        raise ModelError(
            f"model output {name!r} has shape {shape}, expected (batch, …) with fixed sizes; "
            "give it a fixed shape, for example by pooling."
        )
    if spec.dtype.name not in get_args(TensorDType):
        raise ModelError(
            f"model output {name!r} is {spec.dtype.name}, expected one of "
            f"{', '.join(get_args(TensorDType))}; cast it in the model."
        )
    return Column(name=name, dtype=spec.dtype.name, shape=shape[1:])


def _name_inputs(file: Path, keywords: Mapping[str, str]) -> None:
    """Give the inputs their raw names in the SignatureDef, which is what other runtimes read."""
    from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

    if all(name == keyword for name, keyword in keywords.items()):
        return
    proto = saved_model_pb2.SavedModel()
    proto.ParseFromString(file.read_bytes())
    inputs = proto.meta_graphs[0].signature_def[SIGNATURE].inputs
    # All are taken out before any is put in: a column may be called what is another's keyword.
    infos = {
        name: meta_graph_pb2.TensorInfo.FromString(inputs[keyword].SerializeToString())
        for name, keyword in keywords.items()
    }
    inputs.clear()
    for name, info in infos.items():
        inputs[name].CopyFrom(info)
    file.write_bytes(proto.SerializeToString(deterministic=True))
