"""The data order: a permutation, the same on every cluster, resumable anywhere."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.data.order import Order, permuted, round_keys
from shardline.errors import DataError


def divisors(number):
    return [d for d in range(1, number + 1) if number % d == 0]


@st.composite
def orders(draw):
    global_batch = draw(st.integers(1, 48))
    lanes = draw(st.sampled_from(divisors(global_batch)))
    num_rows = draw(st.integers(global_batch, 400))
    return Order(
        num_rows=max(num_rows, lanes * (global_batch // lanes)),
        num_lanes=lanes,
        global_batch=global_batch,
        seed=draw(st.integers(0, 2**31 - 1)),
    )


@given(size=st.integers(1, 3000), seed=st.integers(0, 2**31))
def test_permuted_any_size_is_a_bijection(size, seed):
    positions = np.arange(size, dtype=np.uint64)
    values = permuted(positions, size=size, keys=round_keys(seed))
    assert sorted(values.tolist()) == list(range(size))


@given(order=orders(), epoch=st.integers(0, 5))
def test_order_whole_epoch_uses_no_row_twice(order, epoch):
    lanes = range(order.num_lanes)
    steps = [
        order.batch_rows(epoch=epoch, step=step, lanes=lanes)
        for step in range(order.steps_per_epoch)
    ]
    rows = np.concatenate(steps)
    assert all(len(step) == order.global_batch for step in steps)
    assert len(set(rows.tolist())) == len(rows)
    assert rows.min() >= 0
    assert rows.max() < order.num_rows
    assert order.num_rows - len(rows) < order.global_batch + order.num_lanes


@given(order=orders(), epoch=st.integers(0, 3), data=st.data())
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


def test_order_epochs_differ_and_leave_other_rows_out():
    order = Order(num_rows=103, num_lanes=4, global_batch=16, seed=3)
    epochs = [
        np.concatenate(
            [
                order.batch_rows(epoch=epoch, step=step, lanes=range(4))
                for step in range(order.steps_per_epoch)
            ]
        )
        for epoch in range(6)
    ]
    left_out = {frozenset(range(103)) - frozenset(rows.tolist()) for rows in epochs}
    assert len({tuple(rows) for rows in epochs}) == 6
    assert len(left_out) == 6


def test_order_shuffle_is_about_as_good_as_a_full_one():
    order = Order(num_rows=20_000, num_lanes=1, global_batch=100, seed=1)
    rows = np.concatenate(
        [
            order.batch_rows(epoch=0, step=step, lanes=range(1))
            for step in range(order.steps_per_epoch)
        ]
    )
    correlation = np.corrcoef(rows, np.arange(len(rows)))[0, 1]
    # A uniform permutation of n values has a deviation of about 1 / sqrt(n) = 0.007.
    assert abs(correlation) < 0.03


def test_order_fewer_rows_than_a_batch_is_refused():
    with pytest.raises(DataError, match=r"has 10 rows, too few for train\.global_batch 64"):
        Order(num_rows=10, num_lanes=16, global_batch=64, seed=0)
