"""Bad input that shows only once there is a dataset, a cluster or a model."""

import json
import re
import shutil
import socket
import time

import pytest
from tests.e2e.commands import artifacts, refused
from tests.lines import CLASSIFIER, classifier_line, prepared

pytestmark = pytest.mark.usefixtures("ray_session")

WRONG_INPUT = """
import keras

def build(features):
    x = keras.Input({shape}, name="{name}")
    model = keras.Model(x, keras.layers.Dense(3)(x))
    model.compile("sgd", "mse")
    return model
"""
WRONG_LAYER = """
import keras

def build(features):
    keras.layers.Conv2D(1, 3)(features["a"].input)
"""


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """The spec file of a prepared table that was not trained on yet."""
    folder = tmp_path_factory.mktemp("bad-line")
    prepared(classifier_line(folder, num_rows=60))
    return folder / "toy.yaml"


@pytest.fixture(scope="module")
def trained_toy(toy_line, tmp_path_factory):
    """A copy of the finished line, whose builder each test replaces."""
    folder = tmp_path_factory.mktemp("other-builders") / "line"
    shutil.copytree(toy_line.parent, folder)
    return folder / toy_line.name


def checkpoints(spec):
    """What training has left."""
    return [key for key in artifacts(spec, "runs") if "/checkpoints/" in key]


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (
            "import numppy\ndef build(features): ...",
            r"model\.builder 'model:build' does not import: ModuleNotFoundError: "
            r"No module named 'numppy'\.",
        ),
        (
            "def build(features): return [1]",
            r"model\.builder 'model:build' returned list, expected a compiled keras\.Model; "
            r"end it with `return model`\.",
        ),
        (
            WRONG_INPUT.format(shape=(1,), name="c"),
            r"the model has an input 'c', the dataset's features are a, b; "
            r"name inputs after features, or use features\.inputs\.",
        ),
        (
            WRONG_INPUT.format(shape=(3,), name="a"),
            r"model input 'a' has shape \(3,\), the feature has \(1,\); "
            r"use features\['a'\]\.input\.",
        ),
        (
            WRONG_LAYER,
            r"model\.builder 'model:build' raised ValueError: .* shape received: \(None, 1\)\.",
        ),
        (
            "def build(features): raise ValueError('one\\ntwo')",
            r"model\.builder 'model:build' raised ValueError: one two\.",
        ),
    ],
    ids=["no-import", "no-model", "input-name", "input-shape", "keras-raises", "raises"],
)
def test_faulty_builder_is_refused_with_its_reason(shardline, trained_toy, code, sentence):
    trained_toy.with_name("model.py").write_text(code)
    # Like training, it builds the model on a worker, but on one that has imported TensorFlow.
    refused(shardline("evaluate", trained_toy), sentence)


def test_builder_that_does_not_compile_is_refused_and_the_mended_one_trains(shardline, toy):
    module = toy.with_name("model.py")
    module.write_text(CLASSIFIER.replace("model.compile(", "dict("))
    refused(
        shardline("train", toy),
        r"model\.builder 'model:build' returned a model that is not compiled; "
        r"call model\.compile\(optimizer=…, loss=…\) before returning it\.",
    )
    assert checkpoints(toy) == []
    module.write_text(CLASSIFIER)
    done = shardline("train", toy, "--json", "--set", "train.epochs=1")
    assert done.code == 0, done.err
    assert [entry["epoch"] for entry in done.json["history"]] == [0]


def test_more_workers_than_the_cluster_holds_are_refused_before_anything_starts(shardline, toy):
    began_s = time.monotonic()
    done = shardline("train", toy, "--set", "train.workers=16", "--set", "train.run=wide")
    refused(
        done,
        r"train\.workers asks for 16 workers of 1 CPU, the cluster holds 4 "
        r"\(1 node: 4 CPUs, 0 GPUs\); lower train\.workers or add nodes\.",
    )
    assert time.monotonic() - began_s < 5, "workers were started to find out"
    assert not [key for key in checkpoints(toy) if "/wide/" in key]


def test_workers_without_their_gpu_are_refused(shardline, toy):
    refused(
        shardline("train", toy, "--set", "train.gpus_per_worker=1", "--set", "train.run=gpu"),
        r"train\.workers asks for 1 worker of 1 CPU and 1 GPU, the cluster holds 0 "
        r"\(1 node: 4 CPUs, 0 GPUs\); lower train\.workers or add nodes\.",
    )


def test_batch_larger_than_the_train_split_is_refused(shardline, toy):
    refused(
        shardline("train", toy, "--set", "train.global_batch=64", "--set", "train.run=large"),
        r".*global_batch.*64.*",
    )


def test_run_continued_with_another_seed_is_refused(shardline, toy_line):
    refused(
        shardline("train", toy_line, "--set", "train.seed=4"),
        r"run 'toy' was begun with another train\.seed; continue it with the same, name a new run "
        r"with --set train\.run=NAME, or discard it with --restart\.",
    )
    assert shardline("models", "toy", "--store", toy_line.parent / "store").code == 0


@pytest.mark.parametrize("verb", ["score", "serve"])
def test_alias_that_does_not_exist_names_those_that_do(shardline, toy_line, verb):
    refused(
        shardline(verb, toy_line, "--set", "export.alias=prodution"),
        r"model 'toy' has no alias 'prodution'; it has production; "
        r"set one with `shardline promote`\.",
    )


def test_promoting_a_version_that_does_not_exist_names_those_that_do(shardline, toy_line):
    refused(
        shardline("promote", toy_line, "--version", "7", "--alias", "production"),
        r"model 'toy' has no version 7; it has 1\.",
    )


def test_promoting_to_no_alias_says_how_to_name_one(shardline, toy_line):
    refused(
        shardline("promote", toy_line),
        r"no alias to move; give --alias, or set export\.alias in the spec\.",
    )


def test_rolling_back_where_nothing_was_before_is_refused(shardline, toy_line):
    refused(
        shardline("rollback", toy_line, "--alias", "production"),
        r"alias 'production' of model 'toy' has no version to go back to; it has pointed to "
        r"nothing that is left before 1\.",
    )
    refused(
        shardline("rollback", toy_line, "--alias", "production", "--to", "7"),
        r"alias 'production' of model 'toy' never pointed to version 7; it pointed to 1: use .*",
    )


def test_version_below_the_gate_fails_and_the_alias_stays(shardline, toy_line):
    done = shardline(
        "promote", toy_line, "--alias", "best", "--set", "export.gate={accuracy: {min: 1.5}}"
    )
    assert done.code == 1
    assert re.fullmatch(
        r"version 1 of model 'toy' does not pass the gate: accuracy is 0\.\d+, at least 1\.5 is "
        r"required; alias 'best' was not moved\.",
        done.sentence,
    )
    listed = shardline("models", "--json", "--store", toy_line.parent / "store").json
    assert listed["models"] == [{"model": "toy", "versions": 1, "aliases": "production=1"}]


def test_occupied_port_is_refused_and_a_free_one_would_do(shardline, toy_line):
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        port = occupied.getsockname()[1]
        refused(
            shardline("serve", toy_line, "--set", f"serve.port={port}"),
            rf"port {port} of 127\.0\.0\.1 is already in use; stop what listens there, set another "
            r"serve\.port, or serve\.port=0 for a free one\.",
        )


def test_score_input_without_the_models_column_is_refused(shardline, toy_line, tmp_path):
    (tmp_path / "new.csv").write_text("id,a\nr,1\n")
    refused(
        shardline("score", toy_line, "--set", f"score.input={tmp_path}/new.csv"),
        r"new\.csv has no column 'b'; it has id, a: fix score\.keep, or score\.input if the model "
        r"needs the column\.",
    )


def test_score_with_too_many_bad_rows_is_refused_and_mended_rows_are_scored(
    shardline, toy_line, tmp_path
):
    rows = tmp_path / "new.csv"
    output = ("--set", f"score.input={rows}", "--set", f"score.output={tmp_path}/scores")
    rows.write_text("id,a,b\nr1,1,2\nr2,one,2\n")
    refused(
        shardline("score", toy_line, *output),
        r"1 of 2 rows cannot be scored, more than score\.max_rejected = 0\.05 allows; the reasons "
        r"are in .*/scores.*/_rejects: mend the input or raise the limit\.",
    )
    (named,) = [json.loads(line) for file in tmp_path.rglob("_rejects/*") for line in file.open()]
    assert (named["file"], named["row"]) == ("new.csv", 2)
    rows.write_text("id,a,b\nr1,1,2\nr2,1.5,2\n")
    done = shardline("score", toy_line, *output, "--json")
    assert done.code == 0, done.err
    assert (done.json["rows_read"], done.json["rows_rejected"]) == (2, 0)
