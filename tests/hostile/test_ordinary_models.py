"""What people serve is accepted: a check that refuses it would be switched off."""

import pytest
import tensorflow as tf
from tests.hostile.ordinary_models import IN_HDF5, PLAIN, WITH_CODE

from shardline.artifacts.safety import check_keras_file, check_saved_model
from shardline.errors import UnsafeModelError


def save(model, folder):
    specs = [
        tf.TensorSpec((None, *given.shape[1:]), given.dtype, name=given.name)
        for given in model.inputs
    ]

    def serve(**columns):
        answers = model([columns[spec.name] for spec in specs], training=False)
        return {f"y{i}": answer for i, answer in enumerate(tf.nest.flatten(answers))}

    function = tf.function(serve, autograph=False)
    holder = tf.Module()
    holder.model = model
    signature = function.get_concrete_function(**{spec.name: spec for spec in specs})
    tf.saved_model.save(holder, str(folder), signatures={"serving_default": signature})


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
    with pytest.raises(UnsafeModelError, match=r"Lambda|needs custom code|from the file"):
        check_keras_file(tmp_path / "model.keras")
