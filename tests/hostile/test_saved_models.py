"""Hostile SavedModels are refused before TensorFlow loads them; that they are hostile is proven."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.hostile import unguarded
from tests.hostile.canary import Canary, bounded_memory
from tests.hostile.keras_files import KERAS_FILES
from tests.hostile.saved_models import SAVED_MODELS, honest, with_vocabulary

import shardline
from shardline.artifacts.predictor import load_signature
from shardline.artifacts.safety import check_saved_model
from shardline.errors import DataError, IntegrityError, UnsafeModelError

MAX_GROWTH_BYTES = 128 << 20
TIMEOUT_S = 120


@pytest.fixture
def canary(tmp_path):
    return Canary.in_folder(tmp_path / "canary")


@pytest.mark.parametrize("name", SAVED_MODELS)
def test_hostile_saved_model_is_refused_by_a_sentence_without_a_trace(name, tmp_path, canary):
    hostile = SAVED_MODELS[name]
    folder = hostile.build(tmp_path / "model", canary)
    with bounded_memory(MAX_GROWTH_BYTES), pytest.raises(UnsafeModelError) as refused:
        load_signature(folder)
    sentence = refused.value.message
    assert hostile.says in sentence
    assert sentence.startswith(f"the model in {folder} ")
    assert re.search(r"; .*\.$", sentence)
    assert not canary.sang


@pytest.mark.parametrize("build", [honest, with_vocabulary])
def test_honest_saved_model_is_loaded(build, tmp_path):
    folder = build(tmp_path / "model")
    assert shardline.check_model(folder) == "SavedModel"
    loaded, signature = load_signature(folder)
    assert set(signature.structured_outputs) == {"y"}
    del loaded


def test_restored_saver_and_assets_of_an_honest_model_are_its_own(tmp_path):
    check_saved_model(with_vocabulary(tmp_path / "model"))


def test_folder_without_a_graph_is_no_model(tmp_path):
    with pytest.raises(DataError, match=r"holds no saved_model\.pb; give a SavedModel folder"):
        shardline.check_model(tmp_path)


def test_model_that_does_not_fit_together_is_no_bug(tmp_path):
    folder = honest(tmp_path / "model")
    data = next((folder / "variables").glob("variables.data*"))
    data.write_bytes(bytes(len(data.read_bytes())))
    with pytest.raises(IntegrityError, match=r"variables that cannot be read|cannot be loaded \("):
        load_signature(folder)


def test_live_canaries_sing_when_nothing_is_checked(tmp_path):
    """Without this, a corpus of duds would be refused just as well."""
    corpus = KERAS_FILES | SAVED_MODELS
    live = [name for name in corpus if corpus[name].live]
    tasks = []
    for number, name in enumerate(live):
        folder = tmp_path / str(number)
        canary = Canary.in_folder(folder / "canary")
        if name in KERAS_FILES:
            (folder / "model").mkdir()
        path = corpus[name].build(folder / "model", canary)
        assert not canary.sang, name
        tasks.append({"name": name, "path": str(path), "canary": str(canary.folder)})
    done = subprocess.run(
        [sys.executable, "-m", unguarded.__name__],
        input=json.dumps(tasks),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    silent = {
        task["name"]: answers[task["name"]]
        for task in tasks
        if not Canary(Path(task["canary"])).is_heard(answers[task["name"]])
    }
    assert silent == {}
