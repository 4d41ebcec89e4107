"""Averaged gradients inside steps: buckets, sparse gradients, unequal shares, 16 bits, faults."""

import numpy as np
import pytest
from tests.rings import with_ring

NUM_STEPS = 6
LOCAL_ROWS = {"equal": (6, 6), "unequal": (9, 3)}


def train(exchange, options):
    """Train a model of several buckets on this rank's rows; the body of every test.

    Args:
        exchange: The ring, or that of a worker alone.
        options: `shares` of the rows, `wire`, and what `compile` gets.

    Returns:
        Final weights and the memory that sums were made in, in bytes.
    """
    import keras
    import tensorflow as tf

    from shardline.training.replicas.averaging import average_gradients
    from shardline.training.replicas.gradients import RingSums

    options = dict(options)
    rows = LOCAL_ROWS[options.pop("shares", "equal")]
    first = sum(rows[: exchange.rank])
    num_rows = sum(rows) if exchange.world_size == 1 else rows[exchange.rank]
    wire = options.pop("wire", "float32")
    accumulation = options.pop("gradient_accumulation_steps", None)
    keras.utils.set_random_seed(3)
    words = keras.Input((4,), dtype="int64")
    x = keras.layers.Flatten()(keras.layers.Embedding(50, 64)(words))
    for units in (520, 520, 520):  # the kernel of two is larger than what is packed
        x = keras.layers.Dense(units, activation="tanh")(x)
    model = keras.Model(words, keras.layers.Dense(1)(x))
    model.compile(
        optimizer=keras.optimizers.SGD(
            0.05, momentum=0.9, gradient_accumulation_steps=accumulation
        ),
        loss="mse",
        **options,
    )
    sums = RingSums(exchange, wire=wire) if exchange.world_size > 1 else None
    average_gradients(model, sums, weight=num_rows / sum(rows))
    random = np.random.default_rng(0)
    inputs = random.integers(0, 50, (NUM_STEPS, sum(rows), 4))
    targets = random.normal(size=(NUM_STEPS, sum(rows), 1)).astype("float32")
    local = slice(first, first + num_rows)
    data = tf.data.Dataset.from_tensor_slices((inputs[:, local], targets[:, local]))
    model.fit(data, epochs=1, shuffle=False, verbose=0)
    used = sums._memory.num_bytes if sums else 0
    return [variable.numpy() for variable in model.variables], used


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"steps_per_execution": 3},
        {"shares": "unequal"},
        {"gradient_accumulation_steps": 2, "steps_per_execution": 2},
        {"run_eagerly": True},
    ],
    ids=lambda options: " ".join(options) or "plain",
)
def test_averaged_step_equals_one_worker_and_is_equal_on_all_ranks(ranks, options):
    ((alone, _),) = ranks.call(train, options, world_size=1)
    together = ranks.call(train, options, world_size=2)
    for weights, used in together:
        for mine, expected, first in zip(weights, alone, together[0][0], strict=True):
            np.testing.assert_allclose(mine, expected, atol=1e-5)
            assert mine.tobytes() == first.tobytes()
        # Whatever the number of steps, TensorFlow holds a few generations of sums.
        assert used < 4 * sum(array.nbytes for array in alone)


def test_averaged_step_16_bit_wire_is_near_and_equal_on_all_ranks(ranks):
    ((alone, _),) = ranks.call(train, {}, world_size=1)
    (first, _), (second, _) = ranks.call(train, {"wire": "bfloat16"}, world_size=2)
    for expected, mine, other in zip(alone, first, second, strict=True):
        np.testing.assert_allclose(mine, expected, atol=1e-2)
        assert mine.tobytes() == other.tobytes()
    assert any(not np.array_equal(a, b) for a, b in zip(alone, first, strict=True))


def leave_in_the_middle(exchange):
    """Rank 1 leaves before the first step."""
    from shardline.errors import TrainingError

    if exchange.rank == 1:
        exchange.all_gather(exchange.all_gather(b"as average_gradients does")[0])
        return None
    exchange.all_gather(b"both are here")
    try:
        train(exchange, {})
    except Exception as error:  # noqa: BLE001  # TensorFlow's own
        return type(error).__module__, type(exchange.failure) is TrainingError, str(error)
    return None


def test_averaged_step_peer_gone_raises_and_keeps_the_original_error(ranks):
    (module, is_kept, text), _ = ranks.call(leave_in_the_middle, world_size=2)
    assert module.startswith("tensorflow")
    assert is_kept
    assert "rank 0 lost its peer, rank 1" in text


def test_sums_that_tensorflow_keeps_are_not_overwritten_by_later_steps():
    import tensorflow as tf

    from shardline.training.replicas.gradients import RingSums

    def body(ring):
        sums = RingSums(ring)
        variable = tf.Variable(tf.zeros(1000))

        @tf.function
        def step(value):
            (mean,) = sums.mean([tf.fill([1000], value)])
            variable.assign(mean)  # takes the memory over, without a copy
            return mean

        results = [step(tf.constant(float(number))) for number in range(8)]
        first = variable.numpy().tolist()
        sums.mean([tf.fill([1000], 100.0)])
        return [result.numpy() for result in results], first == variable.numpy().tolist()

    ((results, is_untouched),) = with_ring(1, body)
    for number, result in enumerate(results):
        np.testing.assert_array_equal(result, np.full(1000, number, "float32"))
    assert is_untouched
