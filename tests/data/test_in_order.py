"""A split that is read once in order comes whole, in bounded memory, and from the cache again."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.data.cached_rows import (
    COLUMNS,
    FEATURES,
    LABEL,
    ROWS,
    dataset_in,
    train_spec,
    values,
)
from tests.sample_datasets import write_dataset

from shardline.data.batches import open_validation, worker_share
from shardline.data.in_order import InOrder
from shardline.data.packed_shards import PackedShards
from shardline.data.row_groups import RowGroups
from shardline.store import open_store


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    """By the rows of a row group."""
    folder = tmp_path_factory.mktemp("in-order")
    return {n: dataset_in(folder, rows_per_group=n, name=f"by{n}") for n in (1, 8, 230)}


@pytest.fixture
def both_splits(tmp_path):
    """A dataset whose validation split has the rows of its train split."""
    store = open_store(f"file://{tmp_path}/store")
    splits = {"train": values(), "validation": values()}
    return store, write_dataset(store, FEATURES, LABEL, splits)


def by_row(layout, packed):
    """Columns by name, as `Layout.unpack` has them, of rows that are packed by column."""
    pairs = zip(layout.blocks, packed, strict=True)
    return layout.unpack([array.T if block.is_table else array for block, array in pairs])


def read_all(found):
    """Every column, and the rows of each part that is handed over."""
    parts = [by_row(found.groups.layout, packed) for packed in found.rows()]
    sizes = [len(part["label"]) for part in parts]
    names = [column.name for column in COLUMNS] if parts else []
    return {name: np.concatenate([part[name] for part in parts]) for name in names}, sizes


def validation_of(dataset, train):
    store, manifest = dataset
    return open_validation(store, manifest, columns=COLUMNS, train=train, share=(0, 1))


def assert_rows(found, start, stop):
    for name, array in values().items():
        expected = array[start:stop].reshape(stop - start, *(array.shape[1:] or (1,)))
        assert found[name].dtype == expected.dtype
        np.testing.assert_array_equal(found[name], expected, err_msg=name)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows_per_group=st.sampled_from([1, 8, 230]),
    batch_rows=st.integers(1, 300),
    world_size=st.sampled_from([1, 2, 3, 400]),
    threads=st.integers(1, 3),
    data=st.data(),
)
def test_rows_in_order_are_the_share_once_in_whole_batches(
    datasets, rows_per_group, batch_rows, world_size, threads, data
):
    store, manifest = datasets[rows_per_group]
    rank = data.draw(st.integers(0, world_size - 1))
    start, stop = worker_share(ROWS, rank=rank, world_size=world_size)
    groups = RowGroups(store, manifest, "train", COLUMNS)
    reading = InOrder(groups, start, stop, batch_rows, threads)
    found, sizes = read_all(reading)
    assert sum(sizes) == stop - start
    assert all(size % batch_rows == 0 for size in sizes[:-1])
    assert max(sizes, default=0) <= reading.batches_at_once * batch_rows
    assert reading.num_batches == sum(-(-size // batch_rows) for size in sizes)
    if sizes:
        assert_rows(found, start, stop)


def test_rows_in_order_hand_over_a_bounded_part_of_a_large_row_group(datasets, monkeypatch):
    monkeypatch.setattr("shardline.data.in_order.MAX_BYTES_AT_ONCE", 500)
    store, manifest = datasets[230]
    groups = RowGroups(store, manifest, "train", COLUMNS)
    _, sizes = read_all(InOrder(groups, 0, ROWS, 5, 1))
    assert max(sizes) == 500 // (5 * groups.layout.row_bytes) * 5


def test_rows_in_order_hand_over_no_more_batches_than_a_row_group_ends(datasets):
    store, manifest = datasets[8]
    groups = RowGroups(store, manifest, "train", COLUMNS)
    found = [InOrder(groups, 0, ROWS, batch_rows, 1).batches_at_once for batch_rows in (4, 5, 30)]
    assert found == [2, 2, 1]


def test_rows_in_order_are_read_no_further_ahead_than_by_the_threads(datasets, monkeypatch):
    store, manifest = datasets[8]
    read = []
    original = RowGroups.read
    monkeypatch.setattr(RowGroups, "read", lambda self, g: read.append(g) or original(self, g))
    rows = InOrder(RowGroups(store, manifest, "train", COLUMNS), 0, ROWS, 4, 2).rows()
    for taken in range(1, 6):
        next(rows)
        assert len(read) <= taken + 2
    rows.close()


def test_validation_is_kept_and_read_from_the_store_once(both_splits, tmp_path, monkeypatch):
    found = validation_of(both_splits, train_spec(tmp_path))
    read_all(found)
    monkeypatch.setattr(PackedShards, "row_group", None)
    assert_rows(read_all(found)[0], 0, ROWS)
    assert_rows(read_all(validation_of(both_splits, train_spec(tmp_path)))[0], 0, ROWS)


@pytest.mark.parametrize(("max_bytes", "kept"), [(10245, False), (20489, False), (20490, True)])
def test_validation_is_kept_where_it_fits_beside_the_train_split(
    both_splits, tmp_path, max_bytes, kept
):
    found = validation_of(both_splits, train_spec(tmp_path, max_bytes=max_bytes))
    assert (found.groups.cache is not None) == kept
    assert_rows(read_all(found)[0], 0, ROWS)
