"""Runs the user's builder and checks that what it returns can be trained on the dataset."""

from collections.abc import Mapping
from typing import Any

from shardline.data.manifest import DatasetManifest
from shardline.data.schema import Column
from shardline.errors import ModelError
from shardline.model.code import ModelCode, load_builder
from shardline.model.features import Features
from shardline.model.tensorflow_import import import_tensorflow
from shardline.spec import Spec


def build_model(code: ModelCode, spec: Spec, dataset: DatasetManifest) -> Any:
    """The user's compiled model, the same on every worker that shares the seed.

    Returns:
        A compiled and built `keras.Model` whose inputs are features of the dataset.

    Raises:
        ModelError: The builder fails or returns something else.
    """
    import_tensorflow()
    import keras

    builder = load_builder(code)
    # Automatic layer names count up in a process; names of outputs and metrics are made of them.
    keras.utils.clear_session()
    keras.utils.set_random_seed(spec.train.seed)
    keras.config.set_dtype_policy(spec.train.mixed_precision)
    try:
        model = builder(Features(dataset), **spec.model.params)
    except ModelError:
        raise
    except Exception as error:  # the builder is the user's code and may raise anything
        raise ModelError(
            f"model.builder {code.builder!r} raised {type(error).__name__}: {error}."
        ) from error
    if not isinstance(model, keras.Model):
        raise ModelError(
            f"model.builder {code.builder!r} returned {type(model).__name__}, "
            "expected a compiled keras.Model; end it with `return model`."
        )
    if not model.compiled:
        raise ModelError(
            f"model.builder {code.builder!r} returned a model that is not compiled; "
            "call model.compile(optimizer=…, loss=…) before returning it."
        )
    _build_weights(model, dataset)
    _check_inputs(model, {column.name: column for column in dataset.columns.features})
    return model


def model_inputs(model: Any, dataset: DatasetManifest) -> tuple[Column, ...]:
    """The features that the model takes, in its own order; all of them for a subclassed model."""
    names = _input_names(model)
    if names is None:
        return dataset.columns.features
    return tuple(dataset.columns.feature(name) for name in names)


def model_arguments(model: Any, columns: Mapping[str, Any]) -> Any:
    """Columns by name in the form that a model is called with.

    A model made with a dict of inputs, or with several, or subclassed, takes the dict; a model of
    one bare input takes the bare value (Keras warns about a dict of one).
    """
    import keras

    inputs = list(getattr(model, "inputs", None) or [])
    bare = isinstance(model, keras.Sequential) or not isinstance(
        getattr(model, "input", None), dict
    )
    return columns[inputs[0].name] if len(inputs) == 1 and bare else dict(columns)


def _build_weights(model: Any, dataset: DatasetManifest) -> None:
    """Give a subclassed model its weights; functional and Sequential ones have them already."""
    if model.built:
        return
    import tensorflow as tf

    row = {
        column.name: tf.zeros((1, *(column.shape or (1,))), dtype=column.tensor_dtype)
        for column in dataset.columns.features
    }
    try:
        model(row)
    except Exception as error:  # the model's `call` is the user's code and may raise anything
        raise ModelError(
            f"the model cannot be called with the features {', '.join(row)}: "
            f"{type(error).__name__}: {error}; a Sequential needs a keras.Input as its first layer."
        ) from error


def _check_inputs(model: Any, columns: Mapping[str, Column]) -> None:
    for tensor in getattr(model, "inputs", None) or ():
        column = columns.get(tensor.name)
        if column is None:
            raise ModelError(
                f"the model has an input {tensor.name!r}, the dataset's features are "
                f"{', '.join(columns)}; name inputs after features, or use features.inputs."
            )
        if tensor.ragged or tensor.sparse:
            kind = "ragged" if tensor.ragged else "sparse"
            raise ModelError(
                f"model input {tensor.name!r} is {kind}, rows come as dense tensors, lists filled "
                f"up by the feature's pad; use features[{tensor.name!r}].input and make it {kind} "
                "in a layer."
            )
        shape = tuple(tensor.shape[1:])
        expected = column.shape or (1,)
        if len(shape) != len(expected) or any(
            have not in (None, want) for have, want in zip(shape, expected, strict=True)
        ):
            raise ModelError(
                f"model input {tensor.name!r} has shape {shape}, the feature has {expected}; "
                f"use features[{tensor.name!r}].input."
            )
        exact = column.dtype in ("string", "timestamp") or tensor.dtype == "string"
        if exact and tensor.dtype != column.tensor_dtype:
            raise ModelError(
                f"model input {tensor.name!r} is {tensor.dtype}, the feature is {column.dtype}; "
                f"use features[{tensor.name!r}].input."
            )


def _input_names(model: Any) -> list[str] | None:
    inputs = getattr(model, "inputs", None)
    return [tensor.name for tensor in inputs] if inputs else None
