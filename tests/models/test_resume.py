"""A run cut off anywhere continues to the same end, in one process without Ray."""

import numpy as np
import pytest
from tests.lines import classifier_line, prepared

from shardline.artifacts.checkpoint import list_checkpoints, read_tensors
from shardline.artifacts.checkpoint_removal import delete_checkpoints
from shardline.data.manifest import load_dataset
from shardline.errors import SpecError
from shardline.model.code import collect_code
from shardline.spec import load_spec
from shardline.store import Store
from shardline.training.run import begin_run
from shardline.training.task import WorkerTask
from shardline.training.worker import train_worker

OPTIONS = {"train.checkpoint.every_steps": 5, "train.checkpoint.keep": 100, "train.epochs": 2}

STEPS_PER_EPOCH = 13  # 13 x 16 of the 212 training rows; no multiple of 3
VARIANTS = {
    "plain": "optimizer=keras.optimizers.Adam(0.01)",
    "averaged": "optimizer=keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9)",
    "in groups of steps": "steps_per_execution=3, optimizer='adam'",
    "accumulated": "optimizer=keras.optimizers.SGD(0.1, 0.9, gradient_accumulation_steps=4)",
}


def line_at(folder, compiled_with):
    classifier_line(folder, **OPTIONS)
    model = folder / "model.py"
    model.write_text(
        model.read_text().replace("optimizer=keras.optimizers.Adam(0.01)", compiled_with)
    )
    return load_spec(folder / "toy.yaml", overrides=[f"{k}={v}" for k, v in OPTIONS.items()])


def run(spec):
    dataset = load_dataset(Store(spec.store), spec.name)
    outcome = train_worker({"task": WorkerTask(spec, dataset, collect_code(spec))})
    assert outcome.refusal is None, outcome.refusal
    return outcome.history


def end_state(spec):
    store = Store(spec.store)
    return read_tensors(store, list_checkpoints(store, spec.run_name)[-1])


@pytest.mark.parametrize(
    ("variant", "epoch"), [*((variant, 0) for variant in VARIANTS), ("averaged", 1)]
)
def test_run_cut_off_inside_an_epoch_ends_with_the_same_bits(tmp_path, variant, epoch):
    spec = line_at(tmp_path, VARIANTS[variant])
    prepared(spec)
    history, expected = run(spec), end_state(spec)
    (iterations,) = (array for name, array in expected.items() if name.endswith("/iteration"))
    assert iterations == 2 * STEPS_PER_EPOCH
    store = Store(spec.store)
    checkpoints = list_checkpoints(store, spec.run_name)
    cut = next(i for i, c in enumerate(checkpoints) if c.cursor.step and c.cursor.epoch == epoch)
    delete_checkpoints(store, checkpoints[cut + 1 :])

    assert run(spec) == [pytest.approx(entry, rel=1e-6) for entry in history]
    found = end_state(spec)
    assert found.keys() == expected.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, caplog):
    spec = line_at(tmp_path, VARIANTS["plain"])
    prepared(spec)
    run(spec)
    expected = end_state(spec)
    store = Store(spec.store)
    checkpoints = list_checkpoints(store, spec.run_name)
    delete_checkpoints(store, checkpoints[3:])
    torn = checkpoints[2].file_keys[0]
    store.write(torn, store.read(torn)[:-100])

    run(spec)
    assert "falling back to an earlier checkpoint" in caplog.text
    for name, array in end_state(spec).items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


@pytest.mark.parametrize("every_steps", [13, 100])
def test_moving_averages_reach_the_last_checkpoint_whenever_others_are_due(tmp_path, every_steps):
    line_at(tmp_path, VARIANTS["averaged"])
    options = {**OPTIONS, "train.checkpoint.every_steps": every_steps}
    spec = load_spec(tmp_path / "toy.yaml", overrides=[f"{k}={v}" for k, v in options.items()])
    prepared(spec)
    run(spec)
    found = end_state(spec)
    kernel = next(array for name, array in found.items() if name.endswith("dense/kernel"))
    (average,) = (a for n, a in found.items() if "optimizer" in n and "kernel_average" in n
                  and a.shape == kernel.shape)  # fmt: skip
    np.testing.assert_array_equal(kernel, average)


def test_misspelled_monitor_is_refused_with_what_there_is(tmp_path):
    spec = classifier_line(
        tmp_path, **OPTIONS, **{"train.checkpoint.monitor": {"metric": "val_acuracy"}}
    )
    dataset = prepared(spec)
    outcome = train_worker({"task": WorkerTask(spec, dataset, collect_code(spec))})
    assert "'val_acuracy' is not among the logs of an epoch; use one of accuracy, loss, val_" in (
        str(outcome.refusal)
    )


def test_begin_run_with_other_code_is_refused_once_something_was_trained(tmp_path):
    spec = line_at(tmp_path, VARIANTS["plain"])
    dataset = prepared(spec)
    store = Store(spec.store)
    begin_run(store, spec, dataset=dataset, code=collect_code(spec))
    model = tmp_path / "model.py"
    model.write_text(model.read_text() + "\n# a change\n")
    begin_run(store, spec, dataset=dataset, code=collect_code(spec))  # nothing trained yet
    run(spec)
    model.write_text(model.read_text() + "# another\n")
    with pytest.raises(SpecError, match=r"begun with another model code; .*--restart"):
        begin_run(store, spec, dataset=dataset, code=collect_code(spec))
