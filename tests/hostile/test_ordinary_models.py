"""What people serve is accepted: a check that refuses it would be switched off."""

import pytest
from tests.hostile.ordinary_models import IN_HDF5, PLAIN, WITH_CODE

from shardline.artifacts.safety import check_keras_file, check_saved_model
from shardline.artifacts.saved_model import write_saved_model
from shardline.data.schema import Column, Label
from shardline.errors import UnsafeModelError


def save(model, folder):
    columns = [
        Column(
            name=given.name,
            dtype=given.dtype,
            shape=() if given.shape[1:] == (1,) else given.shape[1:],
        )
        for given in model.inputs
    ]
    write_saved_model(model, folder, inputs=columns, label=Label(name="label", dtype="float32"))


@pytest.mark.parametrize("build", [*PLAIN, *WITH_CODE], ids=lambda build: build.__name__)
def test_ordinary_saved_model_is_accepted(build, tmp_path):
    save(build(tmp_path), tmp_path / "model")
    check_saved_model(tmp_path / "model")


@pytest.mark.parametrize("build", PLAIN, ids=lambda build: build.__name__)
def test_ordinary_keras_file_is_accepted(build, tmp_path):
    build(tmp_path).save(tmp_path / "model.keras")
    check_keras_file(tmp_path / "model.keras")


@pytest.mark.parametrize("build", IN_HDF5, ids=lambda build: build.__name__)
def test_ordinary_legacy_file_is_accepted(build, tmp_path):
    build(tmp_path).save(tmp_path / "model.h5")
    check_keras_file(tmp_path / "model.h5")


@pytest.mark.parametrize("build", WITH_CODE, ids=lambda build: build.__name__)
def test_keras_file_with_code_is_refused(build, tmp_path):
    build(tmp_path).save(tmp_path / "model.keras")
    with pytest.raises(UnsafeModelError, match=r"has a Lambda|needs custom code"):
        check_keras_file(tmp_path / "model.keras")
