"""What keeps the workers' copies of a model one model, with real models on a real ring."""

import logging

import keras
import numpy as np
import pytest
from keras import layers
from tests.rings import with_ring

from shardline.errors import ModelError
from shardline.training.exchange.peers import Alone
from shardline.training.replicas.equality import check_same_start, digest_of, draw_apart, make_equal
from shardline.training.replicas.exactness import check_exactness
from shardline.training.replicas.metrics import GlobalMetrics


class Rank(Alone):
    """One of several workers, for what asks nobody."""

    world_size = 2


def normalising(seed=0, optimizer="sgd", **options):
    keras.utils.clear_session()  # names count up in a process; workers are processes of their own
    keras.utils.set_random_seed(seed)
    normalization = layers.BatchNormalization(**options)
    model = keras.Sequential([keras.Input((3,)), normalization, layers.Dense(1)])
    metrics = ["mae", keras.metrics.RootMeanSquaredError()]
    model.compile(optimizer=optimizer, loss="mse", metrics=metrics)
    model.optimizer.build(model.trainable_variables)
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


def test_statistics_that_differ_become_their_mean_by_share_and_weights_stay():
    models = [normalising(), normalising()]
    for rank, model in enumerate(models):
        model.layers[0].moving_mean.assign([rank, 2.0 * rank, 5.0])
    shares = [0.25, 0.75]
    before = [weight.numpy() for weight in models[0].trainable_variables]

    with_ring(2, lambda ring: make_equal(models[ring.rank], ring, share=shares[ring.rank]))

    for model in models:
        np.testing.assert_array_equal(model.layers[0].moving_mean, [0.75, 1.5, 5.0])
        for weight, expected in zip(model.trainable_variables, before, strict=True):
            np.testing.assert_array_equal(weight, expected)


@pytest.mark.parametrize(
    ("drift", "named"),
    [
        (lambda model: model.layers[1].bias.assign([0.5]), "sequential/dense/bias"),
        (lambda model: model.optimizer.iterations.assign(3), "sgd/iteration"),
        (lambda model: model.optimizer.variables[-1].assign([1e-30]), "dense_bias_momentum"),
    ],
)
def test_state_that_drifted_apart_is_named(drift, named):
    models = [normalising(optimizer=keras.optimizers.SGD(0.1, 0.9)) for _ in range(2)]
    with_ring(2, lambda ring: make_equal(models[ring.rank], ring, share=0.5))
    drift(models[1])

    def body(ring):
        with pytest.raises(ModelError, match=rf"variable '\S*{named}' differs between workers"):
            make_equal(models[ring.rank], ring, share=0.5)
        return True

    assert all(with_ring(2, body))


@pytest.mark.parametrize("size", [0, 1, 7, 8 * 4096, 8 * 4096 + 3, 100_000])
def test_digest_changes_with_any_value_and_its_place(size):
    rng = np.random.default_rng(size)
    array = rng.normal(size=size).astype(np.float32)
    assert digest_of(array) == digest_of(array.copy())
    assert digest_of(array) != digest_of(np.zeros(size + 1, np.float32))
    for place in {0, size // 2, size - 1} if size else ():
        other = array.copy()
        other[place] = np.nextafter(other[place], np.float32(9))
        assert digest_of(other) != digest_of(array)
    if size > 1:
        assert digest_of(np.roll(array, 1)) != digest_of(array)
    if size > 4 * 4096:
        assert digest_of(np.roll(array, 2 * 4096)) != digest_of(array)


def test_global_metrics_of_unequal_shares_are_those_of_all_rows():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 3)).astype("float32"), rng.normal(size=(50, 1)).astype("float32")
    expected = normalising().evaluate(x, y, return_dict=True, verbose=0, batch_size=7)
    shares = [slice(0, 13), slice(13, 50)]
    models = [normalising(), normalising()]

    def body(ring):
        model = models[ring.rank]
        callback = GlobalMetrics(ring, share=0.5)
        callback.set_model(model)
        rows = shares[ring.rank]
        logs = model.evaluate(x[rows], y[rows], verbose=0, batch_size=7, return_dict=True)
        states = [variable.numpy() for variable in model.metrics_variables]
        found = callback.global_logs(logs)
        after = [variable.numpy() for variable in model.metrics_variables]
        assert all(np.array_equal(a, b) for a, b in zip(states, after, strict=True))
        return found

    for found in with_ring(2, body):
        assert found == pytest.approx(expected, rel=1e-5)


def test_figures_of_a_custom_step_are_averaged_even_under_a_metrics_name():
    models = [normalising(), normalising()]
    for model in models:
        model.evaluate(np.zeros((2, 3)), np.zeros((2, 1)), verbose=0)
        model.reset_metrics()  # a step of the user's own leaves them alone

    def body(ring):
        callback = GlobalMetrics(ring, share=[0.25, 0.75][ring.rank])
        callback.set_model(models[ring.rank])
        return callback.global_logs({"loss": [1.0, 5.0][ring.rank], "own": float(ring.rank)})

    for found in with_ring(2, body):
        assert found == {"loss": 4.0, "own": 0.75}


def small(*hidden, name=None, optimizer="sgd", loss="mse"):
    model = keras.Sequential([keras.Input((4,)), *hidden, layers.Dense(1)], name=name)
    model.compile(optimizer=optimizer, loss=loss)
    return model


def refusal(model, exchange=None):
    with pytest.raises(ModelError) as caught:
        check_exactness(model, exchange or Rank())
    return str(caught.value)


def test_optimizer_of_another_model_is_refused_on_any_number_of_workers():
    optimizer = keras.optimizers.Adam()
    optimizer.build(small().trainable_variables)
    said = refusal(small(optimizer=optimizer), Alone())
    assert "optimizer 'adam' was built for another model's variables; make a new optimizer" in said


def test_optimizer_shared_with_a_model_inside_is_refused():
    optimizer = keras.optimizers.Adam()
    inner = small(name="critic", optimizer=optimizer)
    outer = small(layers.Dense(4), inner, optimizer=optimizer)
    assert "with the model 'critic' inside it" in refusal(outer)


def test_optimizer_besides_the_models_own_is_refused_on_several_workers_only():
    model = small()
    model.critic_optimizers = [keras.optimizers.Adam()]
    assert "an optimizer of its own, 'critic_optimizers'" in refusal(model)
    check_exactness(model, Alone())


@pytest.mark.parametrize("nest", [lambda loss: loss, lambda loss: [loss]])
@pytest.mark.parametrize("reduction", ["sum", "none", None, "mean_with_sample_weight"])
def test_loss_that_is_no_mean_over_a_workers_rows_is_refused(nest, reduction):
    model = small(loss=nest(keras.losses.MeanSquaredError(reduction=reduction)))
    assert f"reduction={reduction!r} is no mean over the rows" in refusal(model)
    check_exactness(model, Alone())


def test_layers_that_see_a_workers_own_rows_are_named_in_one_line(caplog):
    model = small(
        layers.BatchNormalization(name="alone"),
        layers.BatchNormalization(name="together", synchronized=True),
        layers.BatchNormalization(name="frozen", trainable=False),
        layers.Dropout(0.5, name="drops"),
        layers.Dropout(0.0, name="keeps"),
        layers.GaussianNoise(0.1, name="noise"),
        layers.Reshape((1, 4)),
        layers.Masking(name="masking"),
        layers.GRU(2, dropout=0.1),
    )
    check_exactness(model, Alone())
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        check_exactness(model, Rank())
    (record,) = caplog.records
    assert record.getMessage() == (
        "results depend on the number of workers: alone normalise by a worker's own rows "
        "(synchronized=True changes that); drops, noise, gru_cell draw random numbers per worker; "
        "masking mask steps, and a masked loss is divided by a worker's own count"
    )


def test_ranks_drop_other_units_while_their_seeds_stay_in_step():
    def dropping(rank):
        keras.utils.clear_session()
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((64,)), layers.Dropout(0.5)])
        draw_apart(model, rank)
        kept = [np.array(model(np.ones((1, 64)), training=True)) for _ in range(2)]
        return kept, [np.array(variable.value) for variable in model.variables]

    alone, *ranks = [dropping(rank) for rank in (0, 0, 1, 2)]
    np.testing.assert_array_equal(alone[0], ranks[0][0])
    kept = [batch.tobytes() for batches, _ in ranks for batch in batches]
    assert len(set(kept)) == len(kept)
    for _, state in ranks:
        np.testing.assert_array_equal(state, alone[1])
