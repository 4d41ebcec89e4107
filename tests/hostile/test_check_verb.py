"""`shardline check`: exit codes, the JSON object and the last words."""

import json

import pytest
from tests.hostile.canary import Canary
from tests.hostile.keras_files import KERAS_FILES, archive, dense, sequential

from shardline.cli import main


@pytest.fixture
def honest(tmp_path):
    return archive(tmp_path, sequential(dense()))


def test_check_honest_file_is_reported_safe(honest, capfd):
    assert main(["check", str(honest), "--json"]) == 0
    report = json.loads(capfd.readouterr().out)
    assert report == {"model": str(honest), "format": "Keras file", "safe": True}


def test_check_honest_file_is_shown_to_people(honest, capfd):
    assert main(["check", str(honest)]) == 0
    assert "Keras file" in capfd.readouterr().out


def test_check_hostile_file_fails_with_the_reason_last(tmp_path, capfd):
    canary = Canary.in_folder(tmp_path / "canary")
    path = KERAS_FILES["code: Lambda"].build(tmp_path, canary)
    assert main(["check", str(path)]) == 1
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.startswith(f"the model in {path} has a Lambda, which runs Python")
    assert not canary.sang


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("model.pkl", "is no model that can be checked"), ("absent.keras", "check its path.")],
)
def test_check_what_is_no_model_is_bad_input(tmp_path, capfd, name, sentence):
    (tmp_path / "model.pkl").write_bytes(b"\x80")
    assert main(["check", str(tmp_path / name)]) == 2
    assert sentence in capfd.readouterr().err.splitlines()[-1]
