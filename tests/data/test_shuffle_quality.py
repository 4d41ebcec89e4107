"""How well rows are mixed, as figures, beside a full shuffle and a buffer of the same memory."""

import numpy as np
import pytest

from shardline.data.order import Order
from shardline.data.windows import WindowForm

ROWS, GROUP, LANES, BATCH = 40_000, 250, 8, 80
FORM = WindowForm(row_groups=(GROUP,) * (ROWS // GROUP), rows=2 * GROUP, epochs=1)


def epoch(number, seed):
    order = Order(num_rows=ROWS, num_lanes=LANES, global_batch=BATCH, seed=seed, window=FORM)
    steps = order.steps_per_epoch
    return order.batch_rows(epoch=number, step=0, lanes=range(LANES), num_steps=steps)


def buffered(size, seed):
    """A buffer that gives one of its rows at random for each that enters."""
    random = np.random.default_rng(seed)
    buffer, out = list(range(size)), []
    for entering, slot in zip(
        range(size, ROWS), random.integers(0, size, ROWS - size), strict=True
    ):
        out.append(buffer[slot])
        buffer[slot] = entering
    return np.array(out + random.permutation(buffer).tolist())


def figures(rows):
    """Mean displacement, deviation inside batches (1 is uniform), and drift between batches."""
    batches = rows.reshape(-1, BATCH)
    means = batches.mean(axis=1)
    return (
        np.abs(rows - np.arange(len(rows))).mean() / ROWS,
        np.sqrt(batches.var(axis=1).mean()) * np.sqrt(12) / ROWS,
        np.corrcoef(means[:-1], means[1:])[0, 1],
    )


@pytest.mark.parametrize("seed", range(3))
def test_full_form_is_a_full_shuffle(seed):
    displacement, spread, drift = figures(epoch(1, seed))
    assert displacement == pytest.approx(1 / 3, abs=0.01)
    assert spread == pytest.approx(1, abs=0.01)
    assert abs(drift) < 0.15  # of 500 batches; the deviation of independent ones is 0.045


@pytest.mark.parametrize("seed", range(3))
def test_window_form_mixes_far_better_than_a_buffer_of_the_same_memory(seed):
    displacement, spread, drift = figures(epoch(0, seed))
    assert displacement == pytest.approx(1 / 3, abs=0.03)
    assert spread == pytest.approx(1, abs=0.03)
    of_buffer = figures(buffered(LANES * FORM.rows, seed))
    assert of_buffer[0] < 0.12
    assert of_buffer[1] < 0.5
    assert of_buffer[2] > 0.99
    # Batches that share a window come from the same row groups.
    assert drift < 0.98


def test_window_form_takes_batches_from_all_over_the_split():
    batches = epoch(0, 0).reshape(-1, BATCH)
    groups = [len(np.unique(batch // GROUP)) for batch in batches]
    assert np.mean(groups) > 2 * LANES - 2
