"""What keeps the workers' copies of a model one model, with real models on a real ring."""

import keras
import numpy as np
import pytest
from tests.rings import with_ring

from shardline.errors import ModelError
from shardline.training.exchange import Alone
from shardline.training.metrics import GlobalMetrics
from shardline.training.replicas import (
    average_statistics,
    check_same_start,
    check_still_equal,
    refuse_false_synchronisation,
)


def normalising(seed=0, **options):
    keras.utils.clear_session()  # names count up in a process; workers are processes of their own
    keras.utils.set_random_seed(seed)
    normalization = keras.layers.BatchNormalization(**options)
    model = keras.Sequential([keras.Input((3,)), normalization, keras.layers.Dense(1)])
    metrics = ["mae", keras.metrics.RootMeanSquaredError()]
    model.compile(optimizer="sgd", loss="mse", metrics=metrics)
    return model


def test_same_start_is_accepted_and_another_is_named():
    models = [normalising(), normalising()]
    with_ring(2, lambda ring: check_same_start(models[ring.rank], ring))

    odd = [normalising(), normalising(), normalising(seed=1)]

    def body(ring):
        with pytest.raises(ModelError, match=r"ranks \[2\] built another model than rank 0"):
            check_same_start(odd[ring.rank], ring)
        return True

    assert all(with_ring(3, body))


def test_statistics_that_differ_become_their_mean_and_weights_stay():
    models = [normalising(), normalising()]
    for rank, model in enumerate(models):
        model.layers[0].moving_mean.assign([rank, 2.0 * rank, 5.0])
    before = [weight.numpy() for weight in models[0].trainable_variables]

    with_ring(2, lambda ring: average_statistics(models[ring.rank], ring))

    for model in models:
        np.testing.assert_array_equal(model.layers[0].moving_mean, [0.5, 1.0, 5.0])
        for weight, expected in zip(model.trainable_variables, before, strict=True):
            np.testing.assert_array_equal(weight, expected)


def test_weights_that_drifted_apart_are_named():
    models = [normalising(), normalising()]
    with_ring(2, lambda ring: check_still_equal(models[ring.rank], ring))
    models[1].layers[1].bias.assign([0.5])

    def body(ring):
        with pytest.raises(ModelError, match=r"variable 'sequential/dense/bias' differs between"):
            check_still_equal(models[ring.rank], ring)
        return True

    assert all(with_ring(2, body))


def test_validation_with_fewer_rows_than_workers_reaches_every_log():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 3)).astype("float32"), rng.normal(size=(9, 1)).astype("float32")
    models = [normalising(), normalising()]

    def body(ring):
        model = models[ring.rank]
        callback = GlobalMetrics(ring)
        callback.set_model(model)
        callback.on_epoch_begin(0)
        rows = slice(0, 0) if ring.rank == 0 else slice(0, 9)
        model.evaluate(x, y, verbose=0)  # the variables of metrics exist by then
        callback.on_test_begin()
        model.reset_metrics()
        logs = (
            {} if ring.rank == 0 else model.evaluate(x[rows], y[rows], return_dict=True, verbose=0)
        )
        callback.on_test_end(logs)
        epoch_logs = {f"val_{name}": value for name, value in logs.items()}
        callback.on_epoch_end(0, epoch_logs)
        return {name: value for name, value in epoch_logs.items() if name.startswith("val_")}

    first, second = with_ring(2, body)
    assert first == second
    assert first.keys() == {"val_loss", "val_mae", "val_root_mean_squared_error"}


def test_synchronised_normalisation_is_refused_on_several_workers_only():
    model = normalising(synchronized=True)
    refuse_false_synchronisation(model, Alone())

    def body(ring):
        with pytest.raises(ModelError, match=r"asks for synchronized=True, which has no effect"):
            refuse_false_synchronisation(model, ring)
        return True

    assert all(with_ring(2, body))


def test_global_metrics_of_unequal_shares_are_those_of_all_rows():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 3)).astype("float32"), rng.normal(size=(50, 1)).astype("float32")
    expected = normalising().evaluate(x, y, return_dict=True, verbose=0, batch_size=7)
    shares = [slice(0, 13), slice(13, 50)]
    models = [normalising(), normalising()]

    def body(ring):
        model = models[ring.rank]
        callback = GlobalMetrics(ring)
        callback.set_model(model)
        rows = shares[ring.rank]
        model.evaluate(x[rows], y[rows], verbose=0, batch_size=7)
        states = [variable.numpy() for variable in model.metrics_variables]
        found = callback.states_result()
        after = [variable.numpy() for variable in model.metrics_variables]
        assert all(np.array_equal(a, b) for a, b in zip(states, after, strict=True))
        return found

    for found in with_ring(2, body):
        assert found == pytest.approx(expected, rel=1e-5)
