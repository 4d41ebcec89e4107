"""What a model says about itself, in TensorFlow Serving's form: its status and its signature."""

from collections.abc import Sequence
from typing import Any

import orjson

from shardline.artifacts.manifest import ModelManifest
from shardline.data.schema import Column
from shardline.serving.treated import client_columns
from shardline.serving.wire import SIGNATURE

_DTYPES = {
    "bool": "DT_BOOL",
    "int8": "DT_INT8",
    "int16": "DT_INT16",
    "int32": "DT_INT32",
    "int64": "DT_INT64",
    "uint8": "DT_UINT8",
    "uint16": "DT_UINT16",
    "uint32": "DT_UINT32",
    "uint64": "DT_UINT64",
    "float16": "DT_HALF",
    "float32": "DT_FLOAT",
    "float64": "DT_DOUBLE",
    "string": "DT_STRING",
    "timestamp": "DT_INT64",
}


def status_document(manifest: ModelManifest) -> bytes:
    """The answer to `GET /v1/models/NAME` of a loaded version."""
    status = {
        "version": str(manifest.version),
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    return orjson.dumps({"model_version_status": [status]})


def metadata_document(manifest: ModelManifest) -> bytes:
    """The answer to `GET /v1/models/NAME/metadata`: the signature, from the manifest's columns."""
    signature = {
        "inputs": _tensors(client_columns(manifest.inputs)),
        "outputs": _tensors(manifest.outputs),
        "method_name": "tensorflow/serving/predict",
    }
    return orjson.dumps(
        {
            "model_spec": {
                "name": manifest.name,
                "signature_name": "",
                "version": str(manifest.version),
            },
            "metadata": {"signature_def": {"signature_def": {SIGNATURE: signature}}},
        }
    )


def _tensors(columns: Sequence[Column]) -> dict[str, Any]:
    return {column.name: _tensor(column) for column in columns}


def _tensor(column: Column) -> dict[str, Any]:
    sizes = (-1, *(column.shape or (1,)))
    return {
        "dtype": _DTYPES[column.dtype],
        "tensor_shape": {
            "dim": [{"size": str(size), "name": ""} for size in sizes],
            "unknown_rank": False,
        },
        "name": column.name,
    }
