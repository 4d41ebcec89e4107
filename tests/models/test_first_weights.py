"""What a run begins with: weights of another model, weights of classes, and the dtype policy."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from tests.lines import classifier_line, prepared
from tests.models.test_resume import end_state, run

from shardline.artifacts.candidate import find_candidate, restored_model
from shardline.artifacts.export import export_version
from shardline.data.batches import read_block
from shardline.data.manifest import load_dataset
from shardline.errors import ModelError, SpecError
from shardline.model.builder import build_model
from shardline.model.code import collect_code
from shardline.spec import load_spec
from shardline.store import Store
from shardline.training.run import begin_run
from shardline.training.task import WorkerTask
from shardline.training.warm_start import apply_warm_start, find_warm_start
from shardline.training.worker import train_order, train_worker

ONE_EPOCH = {"train.epochs": 1}


def weights_of(spec):
    found = end_state(spec)
    return {name.partition("/")[2].partition("/")[2]: array for name, array in found.items()
            if name.startswith("model/")}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A trained and exported model of 16 units."""
    folder = tmp_path_factory.mktemp("base")
    spec = classifier_line(folder, **ONE_EPOCH).located()
    prepared(spec)
    run(spec)
    store = Store(spec.store)
    candidate = find_candidate(store, spec, collect_code(spec))
    export_version(candidate, clock=lambda: 0.0)
    return folder, spec


def warmed(folder, source, **options):
    """The built model after the warm start, and what was said of it."""
    spec = classifier_line(folder, **{"train.warm_start": source, "train.run": "new", **options})
    spec = spec.located()
    store = Store(spec.store)
    model = build_model(collect_code(spec), spec, load_dataset(store, spec.name))
    return model, apply_warm_start(model, find_warm_start(store, spec))


@pytest.mark.parametrize("source", ["models:/toy/1", "models:/toy", "runs:/toy", "toy.keras"])
def test_warm_start_takes_the_weights_from_wherever_they_are(base, source):
    folder, spec = base
    if source == "toy.keras":
        data = Store(spec.store).read("models/toy/1/model.keras")
        (folder / source).write_bytes(data)
    model, said = warmed(folder, source)
    expected = weights_of(spec)
    for variable in model.trainable_variables:
        np.testing.assert_array_equal(variable.numpy(), expected[variable.path])
    assert said.startswith("warm start: 4 of 4 variables from ") or "runs:" in source


def test_warm_start_leaves_what_has_another_shape_and_says_so(base):
    folder, _ = base
    model, said = warmed(folder, "models:/toy/1", **{"model.params": {"units": 7}})
    assert said == (
        "warm start: 1 of 4 variables from version 1 of model 'toy'; of another shape there: "
        "dense/0, dense/1, p/0"
    )
    fresh, _ = warmed(folder, "runs:/toy", **{"model.params": {"units": 7}})
    np.testing.assert_array_equal(
        model.get_layer("dense").kernel.numpy(), fresh.get_layer("dense").kernel.numpy()
    )


def test_warm_start_of_a_model_that_shares_nothing_is_refused(base):
    folder, _ = base
    other = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="elsewhere")])
    other.save(folder / "other.keras")
    with pytest.raises(ModelError, match=r"no variable of .*other\.keras has a name and shape .*"):
        warmed(folder, "other.keras")


def test_warm_start_reaches_into_layers_of_layers(base, tmp_path):
    from shardline.artifacts.weights import take_keras_weights

    def build():
        keras.utils.clear_session()
        x = keras.Input((4, 8))
        y = keras.layers.MultiHeadAttention(2, 4)(x, x)
        y = keras.layers.MultiHeadAttention(2, 4)(y, y)
        inner = keras.Sequential([keras.layers.Dense(3, name="inner")], name="encoder")
        return keras.Model(x, keras.layers.BatchNormalization()(inner(y)))

    keras.utils.set_random_seed(1)
    source = build()
    source.save(tmp_path / "source.keras")
    target = build()
    target.save_weights(tmp_path / "own.weights.h5")
    data = (tmp_path / "source.keras").read_bytes()
    taken = take_keras_weights(data, tmp_path / "own.weights.h5", where="source")
    target.load_weights(tmp_path / "own.weights.h5")
    assert (taken.missing, taken.other_shape) == ((), ())
    assert "multi_head_attention_1/query/0" in taken.taken
    assert "encoder/inner/0" in taken.taken
    for ours, theirs in zip(target.weights, source.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_warm_started_run_says_so_and_is_no_other_run(base):
    folder, _ = base
    options = {"train.run": "warm", "train.warm_start": "models:/toy/1", **ONE_EPOCH}
    spec = classifier_line(folder, **options).located()
    store, dataset = Store(spec.store), load_dataset(Store(spec.store), "toy")
    code = collect_code(spec)
    begin_run(store, spec, dataset=dataset, code=code)
    warm = find_warm_start(store, spec)
    outcome = train_worker({"task": WorkerTask(spec, dataset, code, warm)})
    assert outcome.remarks == ("warm start: 4 of 4 variables from version 1 of model 'toy'",)
    assert find_warm_start(store, spec) is None  # it has begun
    cold = classifier_line(folder, **{**options, "train.warm_start": None}).located()
    with pytest.raises(SpecError, match=r"begun with another train\.warm_start"):
        begin_run(store, cold, dataset=dataset, code=code)


# Class weights


def test_class_weights_are_those_of_keras(tmp_path):
    weights = {"left": 3.0, "right": 0.25}
    spec = classifier_line(tmp_path, **ONE_EPOCH, **{"train.class_weight": weights}).located()
    dataset = prepared(spec)
    (entry,) = run(spec)
    columns = (*dataset.columns.features, dataset.columns.label)
    rows = (0, dataset.split("train").rows)
    block = read_block(Store(spec.store), dataset, "train", rows=rows, columns=columns)
    model = build_model(collect_code(spec), spec, dataset)
    names = dataset.columns.label.vocabulary
    by_index = {index: weights.get(name, 1.0) for index, name in enumerate(names)}
    order = train_order(spec, dataset)
    for step in range(order.steps_per_epoch):
        taken = order.batch_rows(epoch=0, step=step, lanes=range(order.num_lanes))
        batch = {name: array[taken] for name, array in block.columns.items()}
        label = batch.pop("kind")
        data = {name: batch[name] for name in ("a", "b")}
        model.train_on_batch(data, label, class_weight=by_index)
    found = weights_of(spec)
    for variable in model.trainable_variables:
        np.testing.assert_allclose(
            variable.numpy(), found[variable.path], atol=1e-5, err_msg=variable.path
        )
    plain = classifier_line(tmp_path, **ONE_EPOCH, **{"train.run": "plain"}).located()
    (unweighted,) = run(plain)
    assert unweighted["loss"] != pytest.approx(entry["loss"], rel=1e-3)


# Mixed precision


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_holds_wherever_the_model_is_built(tmp_path, policy):
    spec = classifier_line(tmp_path, **ONE_EPOCH, **{"train.mixed_precision": policy}).located()
    model_file = tmp_path / "model.py"
    text = model_file.read_text().replace('name="p")', 'name="p", dtype="float32")')
    model_file.write_text(text)
    prepared(spec)
    (entry,) = run(spec)
    assert np.isfinite(entry["loss"])
    candidate = find_candidate(Store(spec.store), spec, collect_code(spec))
    model = restored_model(candidate).model
    assert model.get_layer("dense").compute_dtype == policy.removeprefix("mixed_")
    assert model.get_layer("dense").kernel.dtype == "float32"
    assert hasattr(model.optimizer, "inner_optimizer") == (policy == "mixed_float16")
    exported = export_version(candidate, clock=lambda: 0.0)
    assert exported.parity < 1e-2
    plain = load_spec(tmp_path / "toy.yaml").located()
    other = replace(candidate, spec=plain)
    assert other.builder_digest != candidate.builder_digest
    assert restored_model(other).model.get_layer("dense").compute_dtype == "float32"
