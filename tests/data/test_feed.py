"""What a worker is fed is what the order says, from wherever its rows come."""

import os
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.data.cached_rows import assert_fed, dataset_in, fed, feed_of, train_spec
from tests.fault_proxy import Fault, FaultProxy

from shardline.data.feed import reading_threads
from shardline.data.streaming import window_capacity
from shardline.data.window_buffer import WindowBuffer
from shardline.errors import IntegrityError, SpecError


@pytest.fixture
def dataset(tmp_path):
    return dataset_in(tmp_path)


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    """By the rows of a row group."""
    folder = tmp_path_factory.mktemp("feeds")
    sizes = (1, 3, 8, 40, 230)
    return folder, {n: dataset_in(folder, rows_per_group=n, name=f"by{n}") for n in sizes}


@pytest.mark.parametrize("form", ["auto", "window", "full"])
def test_feed_is_what_the_order_says(dataset, tmp_path, form):
    assert_fed(feed_of(dataset, train_spec(tmp_path, order=form)))


@pytest.mark.parametrize("ordered_rows", [1, 50, 10_000])
@pytest.mark.parametrize(
    "train", [{"order": "full"}, {"order": "auto"}, {"max_bytes": 100}], ids=str
)
def test_feed_does_not_depend_on_how_much_is_ordered_at_once(
    dataset, tmp_path, monkeypatch, train, ordered_rows
):
    monkeypatch.setattr("shardline.data.worker_lanes.ORDERED_ROWS", ordered_rows)
    monkeypatch.setattr("shardline.data.worker_lanes.MAX_STEPS_AT_ONCE", 3)
    for step in (0, 2):
        assert_fed(feed_of(dataset, train_spec(tmp_path, **train)), step=step)


def test_feed_of_a_split_beyond_the_bound_streams_every_epoch_and_keeps_nothing(dataset, tmp_path):
    feed = feed_of(dataset, train_spec(tmp_path, max_bytes=100))
    assert feed.order.window_form(1000)
    assert_fed(feed)
    assert not (tmp_path / "cache").exists()


def test_feed_in_full_order_of_a_split_beyond_the_bound_is_refused(dataset, tmp_path):
    with pytest.raises(SpecError, match=r"order: full needs all 10245 bytes of the train split"):
        feed_of(dataset, train_spec(tmp_path, order="full", max_bytes=100))


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows_per_group=st.sampled_from([1, 3, 8, 40, 230]),
    lanes=st.sampled_from([1, 2, 3, 4, 6, 12, 24]),
    order=st.sampled_from(["auto", "window"]),
    data=st.data(),
)
def test_feed_resumed_anywhere_on_any_number_of_workers_is_the_tail(
    datasets, rows_per_group, lanes, order, data
):
    folder, by_size = datasets
    train = train_spec(folder, lanes=lanes, order=order)
    world_size = data.draw(st.sampled_from([n for n in (1, 2, 3, 4) if lanes % n == 0]))
    share = data.draw(st.integers(0, world_size - 1)), world_size
    feed = feed_of(by_size[rows_per_group], train, share=share)
    step = data.draw(st.integers(0, feed.order.steps_per_epoch - 1))
    assert_fed(feed, data.draw(st.integers(0, 1)), step)


def test_feed_of_the_window_form_needs_memory_for_lanes_times_windows(dataset, tmp_path):
    feed = feed_of(dataset, train_spec(tmp_path, order="window"))
    form = feed.order.window
    assert form.rows == 16  # two row groups
    at_once = feed.steps_at_once * feed.order.rows_per_lane_step
    assert window_capacity(feed, form) == 2 * (form.rows + at_once) + 8
    for num_lanes in (2, 4):
        tracemalloc.start()
        buffer = WindowBuffer(feed.groups.layout, num_lanes=num_lanes, capacity=1000)
        allocated, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        rows = num_lanes * buffer.capacity
        assert rows * feed.groups.layout.row_bytes == pytest.approx(allocated, rel=0.05)


def test_feed_hands_over_no_more_steps_than_an_epoch_has(dataset, tmp_path):
    feed = feed_of(dataset, train_spec(tmp_path))
    sizes = [len(rows[0]) for rows in feed.rows(0, 0, stop_epoch=2)]
    assert sizes == [feed.steps_at_once * feed.local_batch] * 2
    assert feed.steps_at_once == feed.order.steps_per_epoch


def test_feed_of_large_row_groups_names_them(dataset, tmp_path, monkeypatch, caplog):
    feed_of(dataset, train_spec(tmp_path))
    assert not caplog.text  # what `prepare` writes is no matter
    monkeypatch.setattr("shardline.data.row_groups.LARGE_GROUP_BYTES", 200)
    feed_of(dataset, train_spec(tmp_path))
    assert "row groups of the train split have up to 0 MB, and a worker holds some" in caplog.text


def test_feed_reads_a_bounded_number_of_row_groups_ahead(dataset, tmp_path, monkeypatch):
    feed = feed_of(dataset, train_spec(tmp_path, order="window", global_batch=4))
    read = []
    groups = type(feed.groups)
    original = groups.read
    monkeypatch.setattr(groups, "read", lambda *at: read.append(at) or original(*at))
    rows = feed.rows(0, 0, stop_epoch=3)
    next(rows)
    rows.close()
    # Four lanes' rings, each of whole row groups and the parts at its ends.
    assert 0 < len(read) <= 4 * (window_capacity(feed, feed.order.window) // 8 + 2)


@pytest.mark.parametrize(
    ("cpus", "bound", "local", "remote"), [(1, 8, 1, 4), (3, 8, 3, 4), (8, 8, 4, 4), (8, 2, 2, 4)]
)
def test_feed_is_read_by_no_more_threads_than_the_worker_has_cpus(
    monkeypatch, cpus, bound, local, remote
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(bound)))
    assert reading_threads(cpus, is_local=True) == local
    assert reading_threads(cpus, is_local=False) == remote


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing"])
def test_feed_of_a_damaged_shard_names_it(dataset, tmp_path, damage):
    store, manifest = dataset
    shard = manifest.split("train").shards[3]
    key = f"{manifest.folder}/{shard.key}"
    data = bytearray(store.read(key))
    data[len(data) // 3] ^= 0xFF
    if damage == "missing":
        store.delete(key)
    else:
        store.write(key, bytes(data) if damage == "flipped" else bytes(data[: len(data) // 2]))
    what = "is missing though its dataset" if damage == "missing" else "is damaged"
    with pytest.raises(IntegrityError, match=rf"train/part-00003\.parquet {what}"):
        fed(feed_of(dataset, train_spec(tmp_path)))


def test_feed_from_s3_that_fails_at_times_is_the_same_in_few_requests(
    tmp_path, s3_store, s3_environment, monkeypatch
):
    dataset = dataset_in(tmp_path, store=s3_store)
    faults = ("error", "reset", "truncated")

    def at_times(request):
        number = request.number
        return Fault(faults[number // 9 % 3]) if number % 9 == 0 else None

    with FaultProxy(s3_environment).running() as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        feed = feed_of(dataset, train_spec(tmp_path, global_batch=4))
        proxy.follow(at_times)
        assert_fed(feed, 0, 0, 2)
        shards, groups = 15, 29
        # Of each shard size and footer, of each row group one range with its numbers and one that
        # Arrow reads; and what failed, again.
        assert shards + 2 * groups < len(proxy.requests) < 1.3 * (3 * shards + 2 * groups)
