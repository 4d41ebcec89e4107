"""An exported folder where users put it: TensorFlow, Keras, MLflow, TensorFlow Serving, Triton."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2

from shardline.artifacts.manifest import ModelManifest
from shardline.artifacts.signature import call_keywords
from shardline.spec.locations import local_path
from shardline.store import read_marker

SCRIPT = Path(__file__).with_name("elsewhere.py")
MODELS = ("classifier", "line", "two_inputs")
TRITON_TYPES = {
    "bool": "TYPE_BOOL", "uint8": "TYPE_UINT8", "int64": "TYPE_INT64", "float32": "TYPE_FP32",
    "string": "TYPE_STRING",
}  # fmt: skip
TENSORFLOW_TYPES = {
    types_pb2.DT_BOOL: "TYPE_BOOL", types_pb2.DT_UINT8: "TYPE_UINT8",
    types_pb2.DT_INT64: "TYPE_INT64", types_pb2.DT_FLOAT: "TYPE_FP32",
    types_pb2.DT_STRING: "TYPE_STRING",
}  # fmt: skip


@pytest.fixture
def versions(classifier, line, two_inputs):
    """Folder and manifest of each exported model."""
    found = {}
    for name, exported in zip(MODELS, (classifier, line, two_inputs), strict=True):
        key = f"models/{exported.result.model}/{exported.result.version}"
        manifest = read_marker(exported.store, f"{key}/model.json", ModelManifest)
        found[name] = Path(local_path(exported.store.uri), key), manifest
    return found


def test_folder_answers_alike_by_tensorflow_keras_mlflow_and_the_card(versions):
    specs = []
    for folder, manifest in versions.values():
        keywords = call_keywords(column.name for column in manifest.inputs)
        columns = [
            (keywords[c.name], c.tensor_dtype, [1, *(c.shape or (1,))]) for c in manifest.inputs
        ]
        specs.append((str(folder), columns))
    done = subprocess.run(
        [sys.executable, "-I", str(SCRIPT), json.dumps(specs)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for found, (_, manifest) in zip(json.loads(done.stdout), versions.values(), strict=True):
        assert set(found["tensorflow"]) == {column.name for column in manifest.outputs}
        assert found["mlflow"] == found["tensorflow"]
        numbers = [
            v for k, v in found["tensorflow"].items() if manifest_dtype(manifest, k) != "string"
        ]
        for values in found["keras"].values():
            assert any(
                len(values) == len(each)
                and np.allclose(np.float64(values), np.float64(each), rtol=1e-5)
                for each in numbers
            )
        for name in found["tensorflow"]:
            assert repr(name) in found["card"]


def manifest_dtype(manifest, output):
    return next(column.dtype for column in manifest.outputs if column.name == output)


@pytest.mark.parametrize("model", MODELS)
def test_folder_is_a_version_of_a_tensorflow_serving_base_path(versions, model):
    folder, manifest = versions[model]
    assert folder.name == str(int(folder.name))
    assert folder.parent.name == manifest.name
    # TensorFlow Serving takes every folder with an integer name for a version.
    numbers = [path.name for path in folder.parent.iterdir() if path.name.isdigit()]
    assert numbers == [folder.name]
    assert {path.name for path in folder.iterdir()} == {
        "saved_model.pb", "variables", "assets", "fingerprint.pb", "model.keras", "model.json",
        "MODEL_CARD.md",
    } - ({"assets"} if not (folder / "assets").exists() else set())  # fmt: skip
    assert (folder / "variables/variables.index").is_file()
    assert list((folder / "variables").glob("variables.data-00000-of-*"))


@pytest.mark.parametrize("model", MODELS)
def test_signature_of_the_file_is_what_the_manifest_says_to_serving_and_triton(versions, model):
    folder, manifest = versions[model]
    proto = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    (graph,) = proto.meta_graphs
    assert list(graph.meta_info_def.tags) == ["serve"]
    signature = graph.signature_def["serving_default"]
    assert signature.method_name == "tensorflow/serving/predict"
    # The inputs and outputs of a config.pbtxt with `max_batch_size` above 0: without the batch.
    for tensors, columns in (
        (signature.inputs, manifest.inputs),
        (signature.outputs, manifest.outputs),
    ):
        found = {
            name: (TENSORFLOW_TYPES[t.dtype], [d.size for d in t.tensor_shape.dim])
            for name, t in tensors.items()
        }
        for name, (_, sizes) in found.items():
            assert sizes[0] == -1, name
        assert {name: (kind, sizes[1:]) for name, (kind, sizes) in found.items()} == {
            c.name: (TRITON_TYPES[c.tensor_dtype], list(shape_of(c, tensors is signature.inputs)))
            for c in columns
        }


def shape_of(column, is_input):
    """A scalar input is a column of one; a scalar output, as a class name, has no further size."""
    return column.shape or ((1,) if is_input else ())
