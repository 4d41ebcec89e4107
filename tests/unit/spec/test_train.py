"""What a spec may say of callbacks, class weights, first weights and devices, in sentences."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.errors import SpecError
from shardline.spec import check_spec
from shardline.spec.warm_start import (
    KerasFile,
    RegisteredModel,
    RunCheckpoint,
    parse_weight_source,
)

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)


def train_section(**train):
    values = {
        "name": "toy",
        "store": "store",
        "data": {"source": {"format": "csv", "path": "x.csv"}, "label": {"name": "y"}},
        "model": {"builder": "model:build"},
        "train": train,
    }
    return check_spec(values, where="test").located().train


@pytest.mark.parametrize(
    ("callback", "sentence"),
    [
        ({"name": "EarlyStoping"}, "there is no callback 'EarlyStoping', did you mean 'EarlySto"),
        ({"name": "model:"}, "name: expected module:name, got 'model:'"),
        ({"name": "ModelCheckpoint"}, "ModelCheckpoint is refused: checkpoints are committed as"),
        ({"name": "TensorBoard"}, "TensorBoard is refused: the run folder holds tensorboard/"),
        (
            {"name": "EarlyStopping", "patiense": 3},
            "EarlyStopping has no argument 'patiense', did you mean 'patience'?",
        ),
        (
            {"name": "EarlyStopping", "patience": "3"},
            "patience of EarlyStopping must be a whole number, got '3'",
        ),
        (
            {"name": "ReduceLROnPlateau", "factor": True},
            "factor of ReduceLROnPlateau must be a number, got True",
        ),
        (
            {"name": "EarlyStopping", "restore_best_weights": True},
            "restore_best_weights: every epoch's weights are compared by train.checkpoint.monitor",
        ),
    ],
)
def test_callback_that_cannot_be_is_refused_in_a_sentence(callback, sentence):
    with pytest.raises(SpecError) as refusal:
        train_section(callbacks=[callback])
    assert f"test: train.callbacks.0: {sentence}" in str(refusal.value)


def test_callbacks_keep_their_order_and_arguments():
    own, stopping = train_section(
        callbacks=[{"name": "mine:Watch", "at": [1, 2]}, {"name": "EarlyStopping", "patience": 3}]
    ).callbacks
    assert (own.is_own, own.arguments) == (True, {"at": [1, 2]})
    assert (stopping.is_own, stopping.arguments) == (False, {"patience": 3})


@pytest.mark.parametrize(
    ("given_weight", "sentence"),
    [
        ("balance", "expected `balanced` or weights by class, got 'balance'"),
        ({"left": "x"}, "the weight of 'left' must be a number from 0, got 'x'"),
        ({0: -1}, "the weight of 0 must be a number from 0, got -1"),
        ({0: float("nan")}, "the weight of 0 must be a number from 0, got nan"),
    ],
)
def test_class_weight_that_is_none_is_refused_in_a_sentence(given_weight, sentence):
    with pytest.raises(SpecError, match=r"train\.class_weight") as refusal:
        train_section(class_weight=given_weight)
    assert sentence in str(refusal.value)


def test_class_weight_takes_names_and_indices():
    assert train_section(class_weight={0: 2, "b": 0.5}).class_weight == {"0": 2.0, "b": 0.5}


@given(NAMES, st.integers(1, 10**6), NAMES)
def test_weight_source_reads_what_was_written(name, number, alias):
    assert parse_weight_source(f"models:/{name}/{number}") == RegisteredModel(name, number, None)
    assert parse_weight_source(f"models:/{name}@{alias}") == RegisteredModel(name, None, alias)
    assert parse_weight_source(f"models:/{name}") == RegisteredModel(name, None, None)
    assert parse_weight_source(f"runs:/{name}@{number}") == RunCheckpoint(name, number)
    assert parse_weight_source(f"{name}.keras") == KerasFile(f"{name}.keras")


@pytest.mark.parametrize("text", ["weights.h5", "models:/", "runs:/a@last", "http://a/b.keras"])
def test_weight_source_that_is_none_is_refused(text):
    with pytest.raises(SpecError, match=r"train\.warm_start: expected models:/NAME/VERSION, .*"):
        train_section(warm_start=text)


def test_weight_file_counts_from_the_spec_file(tmp_path):
    assert train_section(warm_start="a.keras").warm_start.startswith("file:///")
    assert train_section(warm_start="models:/a@b").warm_start == "models:/a@b"


def test_more_gpus_than_a_worker_uses_are_refused():
    with pytest.raises(SpecError, match=r"train\.gpus_per_worker: .* less than or equal to 1"):
        train_section(gpus_per_worker=2)


def test_cache_folder_counts_from_the_spec_file_and_is_local():
    assert train_section(cache={"dir": "rows"}).cache.dir.startswith("file:///")
    assert train_section().cache.dir is None
    with pytest.raises(
        SpecError, match=r"train\.cache\.dir: expected a local folder, got 's3://b'"
    ):
        train_section(cache={"dir": "s3://b"})
