"""Weights from a `.keras` file, by name and shape, and nothing else of it."""

import io
import zipfile

import h5py
import numpy as np
import pytest

from shardline.artifacts.weights import take_keras_weights
from shardline.errors import DataError


def weights_file(layers, *, extra=None):
    """HDF5 bytes as `model.save_weights` writes them; layers by (class, name)."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file.create_group("vars").attrs["name"] = "functional"
        file.create_group("optimizer/vars")["0"] = np.zeros(3)
        for (place, name), arrays in layers.items():
            group = file.create_group(f"layers/{place}/vars")
            group.attrs["name"] = name
            for index, array in enumerate(arrays):
                group[str(index)] = np.asarray(array, "float32")
        if extra:
            extra(file)
    return content.getvalue()


def keras_file(weights):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("config.json", '{"class_name": "os.system"}')
        archive.writestr("model.weights.h5", weights)
    return content.getvalue()


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.weights.h5"
    layers = {
        ("dense", "head"): [np.zeros((2, 2))],
        ("dense_1", "body"): [np.zeros(3), np.zeros(2)],
    }
    path.write_bytes(weights_file(layers))
    return path


def test_weights_are_taken_by_name_whatever_their_place(own):
    source = {("dense", "body"): [np.ones(3), np.ones(5)], ("dense_1", "other"): [np.ones((2, 2))]}
    taken = take_keras_weights(keras_file(weights_file(source)), own, where="a.keras")
    assert taken.taken == ("body/0",)
    assert taken.missing == ("head/0",)
    assert taken.other_shape == ("body/1",)
    with h5py.File(own) as file:
        np.testing.assert_array_equal(file["layers/dense_1/vars/0"], np.ones(3))
        np.testing.assert_array_equal(file["layers/dense/vars/0"], np.zeros((2, 2)))


def test_file_without_weights_is_refused(own):
    with pytest.raises(DataError, match=r"a\.keras holds no HDF5 that can be read"):
        take_keras_weights(keras_file(b"no HDF5"), own, where="a.keras")


@pytest.mark.parametrize("data", [b"", b"PK", b"PK\3\4 and no more", weights_file({})])
def test_file_that_is_none_is_refused(own, data):
    with pytest.raises(DataError, match=r"a\.keras is no \.keras file \(.*\); save a model with"):
        take_keras_weights(data, own, where="a.keras")


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("soft", r"a\.keras has '/layers/dense/vars/0', which is a link"),
        ("external", r"a\.keras has '/layers/dense/vars/0', which is a link"),
        ("storage", r"a\.keras has '/layers/dense/vars/0', which refers to other files"),
    ],
)
def test_file_that_leads_to_other_files_is_refused(own, tmp_path, kind, sentence):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["0"] = np.ones(3, "float32")
    secret_bytes = tmp_path / "secret.bin"
    secret_bytes.write_bytes(b"\1" * 12)

    def extra(file):
        group = file.create_group("layers/dense/vars")
        group.attrs["name"] = "body"
        if kind == "soft":
            group["0"] = h5py.SoftLink("/optimizer/vars/0")
        elif kind == "external":
            group["0"] = h5py.ExternalLink(str(secret), "/0")
        else:
            group.create_dataset("0", (3,), "float32", external=[(str(secret_bytes), 0, 12)])

    before = own.read_bytes()
    with pytest.raises(DataError, match=sentence):
        take_keras_weights(keras_file(weights_file({}, extra=extra)), own, where="a.keras")
    assert own.read_bytes() == before
