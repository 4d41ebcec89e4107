"""The lists of what is allowed, held against what this TensorFlow and this Keras have."""

import re

from shardline.artifacts.safety.allowed_ops import (
    ALLOWED_OPS,
    RESTORES,
    SAVES,
    TABLES_FROM_FILES,
)
from shardline.artifacts.safety.keras_names import LAYERS, RUNS_CODE

# How operations call what leads out of the process.
WAY_OUT = re.compile(
    r"(file\w*|\w*_file|\w*path|path_prefix|prefix|directory|logdir|\w+_dir|\w*urls?|\w*address|"
    r"db_uri|patterns?|memory_region_name|descriptor_source|output_stream|container_path|token|"
    r"module|call_target_name)"
)
REGULAR_EXPRESSIONS = {
    "RegexFullMatch", "RegexReplace", "StaticRegexFullMatch", "StaticRegexReplace",
}  # fmt: skip


def known_ops():
    from tensorflow.core.framework.op_def_pb2 import OpList
    from tensorflow.python.client import pywrap_tf_session

    data = pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList())
    return {op.name: op for op in OpList.FromString(data).op}


def test_allowed_ops_are_tensorflows_own():
    assert (ALLOWED_OPS | RESTORES | SAVES | TABLES_FROM_FILES) - known_ops().keys() == set()


def test_allowed_ops_name_no_file_and_no_server():
    leading_out = {
        name
        for name, op in known_ops().items()
        if any(WAY_OUT.fullmatch(part.name) for part in (*op.attr, *op.input_arg))
    }
    assert {"ReadFile", "ImmutableConst", "DecodeProtoV2", "PrintV2", "PyFunc"} <= leading_out
    assert leading_out & ALLOWED_OPS == REGULAR_EXPRESSIONS


def test_every_public_layer_of_keras_is_known():
    import keras

    public = {
        name: found.__name__
        for name, found in vars(keras.layers).items()
        if isinstance(found, type) and issubclass(found, keras.layers.Layer)
    }
    assert set(public.values()) - RUNS_CODE - LAYERS == set()
    assert LAYERS - public.keys() - set(public.values()) == set()
