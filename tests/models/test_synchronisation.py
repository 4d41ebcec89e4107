"""Synchronised batch normalization against one process that has all rows."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from tests.rings import with_ring

from shardline.training.replicas.gradients import RingSums
from shardline.training.replicas.synchronisation import synchronise_normalisation

ROWS = [slice(0, 3), slice(3, 12)]  # unequal shares of twelve rows
STEPS, CHANNELS = 5, 3


def normalising():
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    inputs = [keras.Input((STEPS, CHANNELS)), keras.Input((STEPS,), dtype="bool")]
    x = layers.Dense(CHANNELS)(inputs[0])
    x = layers.BatchNormalization(synchronized=True, momentum=0.5)(x, mask=inputs[1])
    x = layers.BatchNormalization(synchronized=True)(keras.ops.tanh(x))
    return keras.Model(inputs, layers.Dense(1)(x))


def learned(model, x, mask, y):
    """Gradients of the mean loss, and the running statistics after one step."""
    with tf.GradientTape() as tape:
        found = model([x, mask], training=True)
        loss = tf.reduce_mean(tf.square(found - y))
    gradients = tape.gradient(loss, model.trainable_variables)
    return [g.numpy() for g in gradients], [v.numpy() for v in model.non_trainable_variables]


@pytest.mark.parametrize("shift", [0.0, 100.0])
@pytest.mark.parametrize("hidden", [0, 7])
def test_gradients_and_statistics_are_those_of_all_rows(hidden, shift):
    rng = np.random.default_rng(1)
    x = (rng.normal(size=(12, STEPS, CHANNELS)) * [0.1, 1, 3] + shift).astype(np.float32)
    x[3:] += 1.0  # the workers' rows are no samples of one distribution
    mask = np.ones((12, STEPS), dtype=bool)
    mask[:hidden, 2:] = False
    y = rng.normal(size=(12, STEPS, 1)).astype(np.float32)
    one = normalising()
    synchronise_normalisation(one, None, weight=1.0)
    expected, statistics = learned(one, x, mask, y)
    models = [normalising(), normalising()]

    def body(ring):
        rows, model = ROWS[ring.rank], models[ring.rank]
        weight = (rows.stop - rows.start) / 12
        synchronise_normalisation(model, RingSums(ring), weight=weight)
        gradients, found = learned(model, x[rows], mask[rows], y[rows])
        return [weight * gradient for gradient in gradients], found

    (first, found), (second, others) = with_ring(2, body)
    for mine, theirs in zip(found, others, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    for mine, reference in zip(found, statistics, strict=True):
        np.testing.assert_allclose(mine, reference, rtol=1e-4, atol=1e-6)
    if shift:
        return  # gradients of kernels then cancel in float32 on any number of workers
    scale = max(np.abs(gradient).max() for gradient in expected)
    for mine, theirs, reference in zip(first, second, expected, strict=True):
        np.testing.assert_allclose(mine + theirs, reference, rtol=1e-3, atol=2e-5 * scale)


def test_moments_of_one_process_are_kerass():
    x = np.random.default_rng(2).normal(size=(12, STEPS, CHANNELS)).astype(np.float32)
    mask = np.ones((12, STEPS), dtype=bool)
    mask[4:, 3:] = False
    own, theirs = normalising(), normalising()
    synchronise_normalisation(own, None, weight=1.0)
    for found, reference in zip(
        learned(own, x, mask, 0.0), learned(theirs, x, mask, 0.0), strict=True
    ):
        for mine, expected in zip(found, reference, strict=True):
            np.testing.assert_allclose(mine, expected, rtol=1e-3, atol=1e-5)


def test_evaluation_exchanges_nothing_and_what_is_saved_is_plain(tmp_path):
    def fail(_):
        raise AssertionError("an exchange outside training")

    model = normalising()
    sums = type("Sums", (), {"over_ranks": staticmethod(fail)})
    synchronise_normalisation(model, sums, weight=0.5)
    x, mask = np.ones((2, STEPS, CHANNELS), np.float32), np.ones((2, STEPS), bool)
    expected = model([x, mask], training=False)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded([x, mask]), expected)
    loaded([x, mask], training=True)
    with pytest.raises(AssertionError, match="outside training"):
        model([x, mask], training=True)
