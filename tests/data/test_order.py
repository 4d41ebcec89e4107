"""The data order: a permutation, the same on every cluster, resumable anywhere, in both forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardline.data.order import Order
from shardline.data.permutation import permuted, permuted_each, permuted_range, round_keys
from shardline.data.windows import WindowForm
from shardline.errors import DataError

checked = settings(max_examples=50, deadline=None)
EPOCHS = 3
"""With two epochs in window form, both forms are seen."""


def divisors(number):
    return [d for d in range(1, number + 1) if number % d == 0]


@st.composite
def orders(draw, min_rows=0):
    global_batch = draw(st.integers(1, 48))
    lanes = draw(st.sampled_from(divisors(global_batch)))
    groups = draw(st.lists(st.integers(0, 60), min_size=1, max_size=20))
    groups.append(max(0, max(global_batch, min_rows) - sum(groups)))
    return Order(
        num_rows=sum(groups),
        num_lanes=lanes,
        global_batch=global_batch,
        seed=draw(st.integers(0, 2**31 - 1)),
        window=WindowForm(row_groups=tuple(groups), rows=draw(st.integers(1, 80)), epochs=2),
    )


def of_epoch(order, epoch, lanes=None):
    """The rows of every step, one row of the result per step."""
    steps = order.steps_per_epoch
    lanes = lanes or range(order.num_lanes)
    rows = order.batch_rows(epoch=epoch, step=0, lanes=lanes, num_steps=steps)
    return rows.reshape(steps, -1)


@checked
@given(size=st.integers(1, 3000), seed=st.integers(0, 2**31))
def test_permuted_any_size_is_a_bijection(size, seed):
    positions = np.arange(size, dtype=np.uint64)
    values = permuted(positions, size=size, keys=round_keys(seed, 1))
    assert sorted(values.tolist()) == list(range(size))


def test_permuted_every_small_size_is_a_bijection():
    for size in range(1, 130):
        values = permuted(np.arange(size, dtype=np.uint64), size=size, keys=round_keys(size))
        assert sorted(values.tolist()) == list(range(size))
        assert np.array_equal(permuted_range(size, keys=round_keys(size)), values)


@checked
@given(size=st.integers(1, 20_000), seed=st.integers(0, 2**31))
def test_permuted_range_is_what_its_positions_would_be(size, seed):
    keys = round_keys(seed, 1)
    positions = np.arange(size, dtype=np.uint64)
    alone = permuted(positions, size=size, keys=keys)
    assert np.array_equal(permuted_range(size, keys=keys), alone)


@checked
@given(sizes=st.lists(st.integers(1, 300), min_size=1, max_size=6), seed=st.integers(1, 2**31))
def test_permuted_each_is_what_each_alone_would_be(sizes, seed):
    keys = np.stack([round_keys(seed, number + 1) for number in range(len(sizes))], axis=1)
    positions = np.arange(min(sizes), dtype=np.uint64)
    together = permuted_each(positions, sizes=np.array(sizes, np.uint64), keys=keys)
    for number, size in enumerate(sizes):
        alone = permuted(positions, size=size, keys=keys[:, number])
        assert np.array_equal(together[number], alone)


LARGE = [2**32, 2**32 + 1, 2**33 + 12_345, 2**63 + 1]


@pytest.mark.parametrize("size", LARGE)
def test_permuted_sizes_around_and_beyond_32_bits_are_permutations(size):
    """So many random draws of 2^33 values would repeat five of them."""
    chance = np.random.default_rng(size % 1000)
    positions = np.unique(chance.integers(0, size, 300_000, np.uint64))
    values = permuted(positions, size=size, keys=round_keys(5, 1))
    assert len(np.unique(values)) == len(positions)
    assert int(values.max()) < size
    shares, _ = np.histogram(values / size, bins=20, range=(0, 1))
    assert np.abs(shares / len(values) - 0.05).max() < 0.004


@pytest.mark.parametrize("sizes", [[2**32, 2**32 + 1], [2**33, 7, 2**32 - 1]])
def test_permuted_each_beyond_32_bits_is_what_each_alone_would_be(sizes):
    keys = np.stack([round_keys(3, number + 1) for number in range(len(sizes))], axis=1)
    positions = np.arange(7, dtype=np.uint64)
    together = permuted_each(positions, sizes=np.array(sizes, np.uint64), keys=keys)
    for number, size in enumerate(sizes):
        alone = permuted(positions, size=size, keys=keys[:, number])
        assert np.array_equal(together[number], alone)


def test_order_of_lanes_around_32_bits_is_the_same_on_any_number_of_workers():
    order = Order(num_rows=4 * 2**32 + 2, num_lanes=4, global_batch=64, seed=9)
    last = order.steps_per_epoch - 1
    for step in (0, 2**27 + 3, last):
        alone = order.batch_rows(epoch=0, step=step, lanes=range(4))
        lanes = [order.worker_lanes(rank, 4) for rank in range(4)]
        parts = [order.batch_rows(epoch=0, step=step, lanes=each) for each in lanes]
        assert np.array_equal(np.concatenate(parts), alone)
        assert len(np.unique(alone)) == 64
        for lane, rows in enumerate(alone.reshape(4, -1)):
            start, stop = order.lane_range(lane)
            assert start <= rows.min() <= rows.max() < stop


@checked
@given(order=orders(), epoch=st.integers(0, EPOCHS - 1))
def test_order_whole_epoch_uses_no_row_twice(order, epoch):
    steps = of_epoch(order, epoch)
    assert steps.shape == (order.steps_per_epoch, order.global_batch)
    assert len(np.unique(steps)) == steps.size
    assert steps.min() >= 0
    assert steps.max() < order.num_rows
    assert order.num_rows - steps.size < order.global_batch + order.num_lanes


@checked
@given(order=orders(), epoch=st.integers(0, EPOCHS - 1), data=st.data())
def test_order_any_world_size_gives_the_same_global_batch(order, epoch, data):
    step = data.draw(st.integers(0, order.steps_per_epoch - 1))
    alone = order.batch_rows(epoch=epoch, step=step, lanes=range(order.num_lanes))
    for world_size in divisors(order.num_lanes):
        parts = [
            order.batch_rows(epoch=epoch, step=step, lanes=order.worker_lanes(rank, world_size))
            for rank in range(world_size)
        ]
        assert np.array_equal(np.concatenate(parts), alone)
        for rank, part in enumerate(parts):
            start, stop = order.worker_range(rank, world_size)
            assert start <= part.min()
            assert part.max() < stop


@checked
@given(order=orders(), epoch=st.integers(0, EPOCHS - 1), data=st.data())
def test_order_resumed_at_any_step_is_the_tail_of_the_epoch(order, epoch, data):
    step = data.draw(st.integers(0, order.steps_per_epoch - 1))
    num_steps = data.draw(st.integers(1, order.steps_per_epoch - step))
    lanes = range(data.draw(st.integers(0, order.num_lanes - 1)), order.num_lanes)
    whole = of_epoch(order, epoch, lanes)
    resumed = order.batch_rows(epoch=epoch, step=step, lanes=lanes, num_steps=num_steps)
    assert np.array_equal(resumed, whole[step : step + num_steps].ravel())


@checked
@given(order=orders(), epoch=st.integers(0, 1))
def test_window_form_takes_each_window_whole_before_the_next(order, epoch):
    for lane in range(order.num_lanes):
        start, stop = order.lane_range(lane)
        if start == stop:
            continue
        stream = order.stream(lane, epoch, order.window)
        places = stream.places(0, stream.num_rows)
        windows = [stream.window_of(int(place)) for place in places]
        assert windows == sorted(windows)
        assert max(np.bincount(windows)) <= order.window.rows
        assert sorted(stream.rows(0, stream.num_rows)) == list(range(start, stop))


@checked
@given(order=orders(), epoch=st.integers(0, 1))
def test_window_form_reads_each_piece_of_a_row_group_in_one_go(order, epoch):
    bounds = np.cumsum(order.window.row_groups)
    for lane in range(order.num_lanes):
        stream = order.stream(lane, epoch, order.window)
        as_read = np.argsort(stream.places(0, stream.num_rows))
        rows = stream.rows(0, stream.num_rows)[as_read]
        group = np.searchsorted(bounds, rows, side="right")
        changes = np.count_nonzero(np.diff(group)) + 1
        assert changes == len(np.unique(group)) == len(stream.starts)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31 - 1))
@pytest.mark.parametrize("epochs", [0, 6], ids=["full", "window"])
def test_order_epochs_differ_and_leave_other_rows_out(epochs, seed):
    form = WindowForm(row_groups=(20,) * 5 + (3,), rows=16, epochs=epochs)
    order = Order(num_rows=103, num_lanes=4, global_batch=16, seed=seed, window=form)
    found = [of_epoch(order, epoch).ravel() for epoch in range(6)]
    left_out = [frozenset(range(103)) - frozenset(rows.tolist()) for rows in found]
    assert len({tuple(rows) for rows in found}) == 6
    assert len(set(left_out)) > 4  # 7 of 103 rows: two epochs that agree are rare
    assert len(frozenset.intersection(*left_out)) == 0


def test_order_fewer_rows_than_a_batch_is_refused():
    with pytest.raises(DataError, match=r"has 10 rows, too few for train\.global_batch 64"):
        Order(num_rows=10, num_lanes=16, global_batch=64, seed=0)
