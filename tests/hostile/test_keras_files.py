"""Hostile `.keras` and HDF5 files are refused before anything of them is deserialised."""

import re

import pytest
from tests.hostile.canary import Canary, bounded_memory
from tests.hostile.keras_files import KERAS_FILES, archive, dense, functional, sequential

import shardline
from shardline.artifacts.safety import check_keras_file
from shardline.errors import DataError, NotFoundError, UnsafeModelError

MAX_GROWTH_BYTES = 64 << 20


@pytest.fixture
def canary(tmp_path):
    return Canary.in_folder(tmp_path / "canary")


def model_folder(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("name", KERAS_FILES)
def test_hostile_keras_file_is_refused_by_a_sentence_without_a_trace(name, tmp_path, canary):
    hostile = KERAS_FILES[name]
    path = hostile.build(model_folder(tmp_path), canary)
    with bounded_memory(MAX_GROWTH_BYTES), pytest.raises(UnsafeModelError) as refused:
        check_keras_file(path)
    sentence = refused.value.message
    assert hostile.says in sentence
    assert sentence.startswith(f"the model in {path} ")
    assert re.search(r"; .*\.$", sentence)
    assert not canary.sang


@pytest.mark.parametrize("config", [sequential(dense()), functional()])
def test_honest_keras_file_is_accepted(config, tmp_path):
    path = archive(model_folder(tmp_path), config, members=[("assets/words.txt", b"a\nb\n")])
    assert shardline.check_model(path) == "Keras file"


@pytest.mark.parametrize("name", ["model.pkl", "model.joblib", "model.pt", "model.npz"])
def test_other_formats_are_not_opened(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(b"\x80\x04")
    with pytest.raises(DataError, match=r"is no model that can be checked: .* what is pickled"):
        shardline.check_model(path)


def test_absent_model_is_not_found(tmp_path):
    with pytest.raises(NotFoundError, match=r"there is no file or folder .*nowhere; check its"):
        shardline.check_model(tmp_path / "nowhere")
