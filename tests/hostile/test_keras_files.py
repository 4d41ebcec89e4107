"""Hostile `.keras` and HDF5 files are refused before anything of them is deserialised."""

import random
import re

import pytest
from tests.hostile.canary import Canary, bounded_memory
from tests.hostile.keras_files import (
    KERAS_FILES,
    Hostile,
    archive,
    dense,
    functional,
    legacy_config,
    sequential,
)

import shardline
from shardline.artifacts.safety import check_keras_file
from shardline.errors import DataError, NotFoundError, UnsafeModelError

MAX_GROWTH_BYTES = 64 << 20
DAMAGED_FILES = 8
LEGACY = Hostile(legacy_config(lambda canary: functional()), "")


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


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_damaged_keras_file_is_accepted_or_refused_never_a_bug(suffix, tmp_path, canary):
    folder = model_folder(tmp_path)
    honest = archive(folder, functional()) if suffix == ".keras" else LEGACY.build(folder, canary)
    content, rng = honest.read_bytes(), random.Random(5)
    refused = 0
    for _ in range(DAMAGED_FILES):
        damaged = bytearray(content)
        for _ in range(rng.choice([1, 3, 10, 60])):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        honest.write_bytes(damaged[: rng.choice([len(damaged), rng.randrange(len(damaged))])])
        try:
            check_keras_file(honest)
        except UnsafeModelError:
            refused += 1
    assert DAMAGED_FILES / 2 < refused <= DAMAGED_FILES


@pytest.mark.parametrize("name", ["model.pkl", "model.joblib", "model.pt", "model.npz"])
def test_other_formats_are_not_opened(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(b"\x80\x04")
    with pytest.raises(DataError, match=r"is no model that can be checked: .* what is pickled"):
        shardline.check_model(path)


def test_absent_model_is_not_found(tmp_path):
    with pytest.raises(NotFoundError, match=r"there is no file or folder .*nowhere; check its"):
        shardline.check_model(tmp_path / "nowhere")
