"""The number of workers changes the speed, never the result: a table of architectures."""

import numpy as np
import pytest
from tests.models.architectures import (
    ARCHITECTURES,
    EPOCHS,
    FEW_ROWS,
    GLOBAL_BATCH,
    STEPS_PER_EPOCH,
    TRAIN_ROWS,
    write_all,
)
from tests.models.ranks import Training

from shardline.data.batches import read_block
from shardline.data.forms import split_order
from shardline.spec.train import TrainSpec
from shardline.store import Store

WORLD_SIZES = (1, 2, 4)
LOSS_TOLERANCE = 1e-5
WEIGHT_TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    store = Store(f"file://{tmp_path_factory.mktemp('exactness')}/store")
    return store, write_all(store)


@pytest.fixture(scope="module")
def trained(ranks, datasets):
    """Trains an architecture on every number of workers, once; what each rank saw, by number."""
    store, _ = datasets
    done = {}

    def train(name):
        if name not in done:
            done[name] = ranks.train_on(
                WORLD_SIZES, lambda size: Training(name, store.uri, f"{_slug(name)}-{size}")
            )
        return done[name]

    return train


def _slug(name):
    return "".join(c if c.isalnum() else "-" for c in name)


def global_losses(seen):
    """Per step, over the rows of all ranks, whose shares are equal."""
    return np.mean([rank.losses for rank in seen], axis=0)


def global_rows(seen):
    return [
        [row for rank in ranks for row in rank]
        for ranks in zip(*(s.rows for s in seen), strict=True)
    ]


def expected_rows(store, dataset, epochs, **options):
    train = TrainSpec(global_batch=GLOBAL_BATCH, seed=5, **options)
    order = split_order(dataset, "train", train)
    columns = dataset.columns.features[:1]
    block = read_block(store, dataset, "train", rows=(0, TRAIN_ROWS), columns=columns)
    values = block.columns[columns[0].name]
    return [
        [values[row].tobytes() for row in order.batch_rows(epoch=epoch, step=step, lanes=range(16))]
        for epoch in range(epochs)
        for step in range(STEPS_PER_EPOCH)
    ]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_result_is_the_same_on_one_two_and_four_workers(trained, datasets, name):
    store, manifests = datasets
    by_size = trained(name)
    assert not any(rank.refusal for seen in by_size.values() for rank in seen)
    (alone,) = by_size[1]
    epochs = len(alone.history)
    assert epochs == EPOCHS or ARCHITECTURES[name].train
    assert len(alone.losses) == epochs * STEPS_PER_EPOCH
    architecture = ARCHITECTURES[name]
    form = architecture.train.get("order", "auto")
    expected = expected_rows(store, manifests[architecture.dataset], epochs, order=form)
    for size, seen in sorted(by_size.items()):
        assert global_rows(seen) == expected
        for rank in seen[1:]:
            assert rank.weights.keys() == seen[0].weights.keys()
            for path, value in rank.weights.items():
                np.testing.assert_array_equal(value, seen[0].weights[path], err_msg=path)
        loss = max(np.abs(global_losses(seen) / alone.losses - 1))
        weights = {p: np.abs(v - alone.weights[p]).max() for p, v in seen[0].weights.items()}
        worst = max(weights, key=weights.get)
        print(f"{name:40} {size} workers: loss {loss:.1e}, weights {weights[worst]:.1e} ({worst})")
        assert loss <= LOSS_TOLERANCE
        assert weights[worst] <= WEIGHT_TOLERANCE, worst
        for entry, reference in zip(seen[0].history, alone.history, strict=True):
            assert entry == pytest.approx(reference, rel=1e-4, abs=1e-6)


def test_plateau_lowers_the_rate_and_ends_training_early(trained):
    (alone,) = trained("plateau and early stopping")[1]
    assert EPOCHS < len(alone.history) < 12
    rate = next(v for path, v in alone.weights.items() if path.endswith("learning_rate"))
    assert rate < 1.0


def test_loss_scale_falls_at_overflow_and_the_steps_are_skipped(trained):
    (alone,) = trained("mixed_float16, dynamic loss scaling")[1]
    state = {path.split("/")[-1]: value for path, value in alone.weights.items()}
    assert state["dynamic_scale"] < 2.0**24
    assert 0 < state["iteration"] < EPOCHS * STEPS_PER_EPOCH


def test_figures_that_are_no_metrics_are_the_mean_over_the_last_global_batch(trained):
    by_size = trained("own train_step and test_step")
    for seen in by_size.values():
        last = global_losses(seen)[-1]
        assert seen[0].history[-1]["own_loss"] == pytest.approx(last, rel=1e-5)
        assert all(rank.history == seen[0].history for rank in seen)


def test_validation_of_fewer_rows_than_workers_sees_each_once_and_tells_all(trained):
    for seen in trained("metrics, fewer validation rows than workers").values():
        for rank in seen:
            assert [entry["val_rows"] for entry in rank.history] == [FEW_ROWS] * EPOCHS
            assert rank.history == seen[0].history


def steps_with_an_overflow(exchange):
    """Three steps, in the first of which one rank's gradients overflow; the state after each."""
    import keras

    from shardline.training.replicas.averaging import average_gradients
    from shardline.training.replicas.gradients import RingSums

    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense(1, dtype="mixed_float16", kernel_initializer="ones")
    model = keras.Sequential([keras.Input((2,)), dense])
    optimizer = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(0.01), initial_scale=2.0**10
    )
    model.compile(optimizer=optimizer, loss="mse")
    optimizer.build(model.trainable_variables)
    average_gradients(model, RingSums(exchange), weight=1 / exchange.world_size)
    x, y = np.full((4, 2), 1.0 + exchange.rank, np.float32), np.zeros((4, 1), np.float32)
    states = []
    for step in range(3):
        is_large = step == 0 and exchange.rank == 1
        loss = model.train_on_batch(x * 1000 if is_large else x, y)
        kernel = dense.kernel.numpy().tolist()
        states.append((kernel, float(optimizer.dynamic_scale), int(optimizer.iterations)))
        assert np.isfinite(loss)
    return states


def test_overflow_on_one_worker_skips_the_step_on_all(ranks):
    by_rank = ranks.call(steps_with_an_overflow, world_size=2)
    assert by_rank[0] == by_rank[1]
    first, *others = by_rank[0]
    assert first == ([[1.0], [1.0]], 2.0**9, 0)
    assert [iterations for _, _, iterations in others] == [1, 2]
    assert others[-1][0] != first[0]
