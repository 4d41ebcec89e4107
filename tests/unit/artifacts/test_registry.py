"""Versions and aliases: races, gates and sentences, on a folder and on S3, without TensorFlow."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.artifacts.aliases import (
    AliasRecord,
    gate_failures,
    list_aliases,
    move_alias,
    promote,
    read_alias,
)
from shardline.artifacts.manifest import Lineage, ModelManifest
from shardline.artifacts.registry import (
    claim_version,
    find_export,
    list_models,
    publish,
    resolve,
    versions,
)
from shardline.data.schema import Column, Label
from shardline.errors import GateError, IntegrityError, NotFoundError
from shardline.spec.output import Bound
from shardline.store import Store, read_marker

NUM_RACERS = 6


@pytest.fixture(params=["file", "s3"])
def any_store(request, tmp_path):
    if request.param == "s3":
        return request.getfixturevalue("s3_store")
    return Store(f"file://{tmp_path}/registry")


@pytest.fixture
def local(tmp_path):
    return Store(f"file://{tmp_path}/registry")


def lineage(**changes):
    values = {
        "dataset": "tiny",
        "dataset_version": "v1",
        "run": "tiny",
        "step": 3,
        "checkpoint_digest": "c",
        "spec_digest": "s",
        "recipe_digest": "r",
        "code_digest": "k",
        "libraries": {},
    }
    return Lineage(**(values | changes))


def manifest(version, *, name="tiny", metrics=None, **changes):
    return ModelManifest(
        name=name,
        version=version,
        created_unix_s=1.0,
        inputs=(Column(name="x", dtype="float32"),),
        outputs=(Column(name="y", dtype="float32", shape=(1,)),),
        label=Label(name="z", dtype="float32"),
        metrics=metrics or {},
        parity_max_abs_error=0.0,
        lineage=lineage(**changes),
        files={"saved_model.pb": hashlib.sha256(b"graph").hexdigest()},
    )


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"graph")
    return tmp_path


@pytest.fixture
def published(local, folder):
    def make(*numbers, **changes):
        for number in numbers:
            publish(local, manifest(number, **changes), folder)
        return local

    return make


def in_parallel(action, count=NUM_RACERS):
    barrier = threading.Barrier(count)

    def act(number):
        barrier.wait()
        return action(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(act, range(count)))


def test_claim_racing_exporters_get_distinct_versions(any_store):
    assert sorted(in_parallel(lambda _: claim_version(any_store, "tiny"))) == [1, 2, 3, 4, 5, 6]
    assert claim_version(any_store, "tiny") == 7
    assert claim_version(any_store, "other") == 1


def test_publish_writes_the_marker_last_and_never_twice(local, folder):
    publish(local, manifest(1), folder)
    assert read_marker(local, "models/tiny/1/model.json", ModelManifest) == manifest(1)
    with pytest.raises(IntegrityError, match=r"models/tiny/1 exists already"):
        publish(local, manifest(1, metrics={"loss": 1.0}), folder)
    assert resolve(local, "tiny").metrics == {}


def test_publish_whose_own_marker_is_there_already_is_accepted(local, folder, monkeypatch):
    commit = Store.put_if_absent

    def answer_lost(store, key, data):
        assert commit(store, key, data)
        return commit(store, key, data)

    monkeypatch.setattr(Store, "put_if_absent", answer_lost)
    publish(local, manifest(1), folder)
    assert versions(local, "tiny") == [1]


def test_versions_without_marker_do_not_exist(published):
    store = published(2, 10, 9)
    claim_version(store, "tiny")
    store.write("models/tiny/11/saved_model.pb", b"half an export")
    assert versions(store, "tiny") == [2, 9, 10]
    assert resolve(store, "tiny").version == 10


def test_resolve_by_version_and_alias(published):
    store = published(1, 2)
    move_alias(store, manifest(1), "production", why="test", clock=lambda: 1.0)
    assert resolve(store, "tiny", version=1).version == 1
    assert resolve(store, "tiny", alias="production").version == 1
    assert resolve(store, "tiny").version == 2


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ({"model": "tony"}, "has no model 'tony'; it has tiny; run `shardline export` first."),
        ({"model": "tiny", "version": 7}, "model 'tiny' has no version 7; it has 1, 2."),
        (
            {"model": "tiny", "alias": "prod"},
            "model 'tiny' has no alias 'prod'; it has production, staging; "
            "set one with `shardline promote`.",
        ),
    ],
)
def test_resolve_what_is_not_there_lists_what_is(published, wanted, sentence):
    store = published(1, 2)
    for alias in ("staging", "production"):
        move_alias(store, manifest(1), alias, why="test", clock=lambda: 1.0)
    with pytest.raises(NotFoundError) as caught:
        resolve(store, **wanted)
    assert sentence in caught.value.message


def test_resolve_in_an_empty_store_says_so(local):
    with pytest.raises(NotFoundError, match=r"has no model 'tiny'; its registry is empty; run"):
        resolve(local, "tiny")


def test_find_export_same_origin_and_metrics_only(published):
    store = published(1, 2)
    same = {"lineage": lineage(spec_digest="other", step=9), "metrics": {}}
    assert find_export(store, "tiny", **same).version == 2
    assert find_export(store, "tiny", lineage=lineage(), metrics={"loss": 1.0}) is None
    for part in ("checkpoint_digest", "recipe_digest", "code_digest", "dataset_version"):
        changed = lineage(**{part: "other"})
        assert find_export(store, "tiny", lineage=changed, metrics={}) is None


def test_list_models_shows_versions_and_aliases(published, folder):
    store = published(1, 3)
    publish(store, manifest(1, name="other"), folder)
    claim_version(store, "claimed-only")
    move_alias(store, manifest(3), "production", why="test", clock=lambda: 1.0)
    listed = [(m.name, m.versions, m.aliases) for m in list_models(store)]
    assert listed == [("other", (1,), {}), ("tiny", (1, 3), {"production": 3})]


def test_alias_racing_moves_are_all_in_the_history(any_store):
    def move(number):
        move_alias(any_store, manifest(number + 1), "live", why=f"{number}", clock=lambda: number)

    in_parallel(move)
    record = read_alias(any_store, "tiny", "live")
    assert sorted(m.to_version for m in record.history) == [1, 2, 3, 4, 5, 6]
    assert record.version == record.history[-1].to_version
    befores = [m.from_version for m in record.history]
    assert befores == [None, *(m.to_version for m in record.history[:-1])]


def test_alias_moved_to_where_it_is_changes_nothing(local):
    clock = iter((1.0, 2.0, 3.0)).__next__
    move_alias(local, manifest(1), "live", why="first", clock=clock)
    record = move_alias(local, manifest(1), "live", why="again", clock=clock)
    assert [m.why for m in record.history] == ["first"]
    move_alias(local, manifest(2), "live", why="second", clock=clock)
    (stored,) = list_aliases(local, "tiny")
    assert [(m.when_unix_s, m.from_version, m.to_version, m.why) for m in stored.history] == [
        (1.0, None, 1, "first"),
        (2.0, 1, 2, "second"),
    ]


def test_alias_that_was_edited_is_named(local):
    local.write("models/tiny/aliases/live.json", b"{}")
    with pytest.raises(IntegrityError, match=r"models/tiny/aliases/live.json is no"):
        read_alias(local, "tiny", "live")
    with pytest.raises(IntegrityError, match=r"models/tiny/aliases/live.json is no"):
        move_alias(local, manifest(1), "live", why="test", clock=lambda: 1.0)


def test_promote_inside_the_gate_moves_the_alias(local):
    gate = {"accuracy": Bound(min=0.9), "loss": Bound(max=0.5)}
    passed = manifest(4, metrics={"accuracy": 0.9, "loss": 0.5})
    record = promote(local, passed, "live", gate=gate, clock=lambda: 1.0)
    assert isinstance(record, AliasRecord)
    assert read_alias(local, "tiny", "live").version == 4


@pytest.mark.parametrize(
    ("metrics", "reason"),
    [
        ({}, "it was never evaluated; run `shardline evaluate`, then export again"),
        ({"accuracy": 0.89}, "accuracy is 0.89, at least 0.9 is required"),
        ({"accuracy": float("nan")}, "accuracy is nan, at least 0.9 is required"),
        ({"loss": 0.1, "mae": 2.0}, "accuracy is not among its metrics (loss, mae)"),
    ],
)
def test_promote_outside_the_gate_leaves_the_alias(local, metrics, reason):
    move_alias(local, manifest(1), "live", why="before", clock=lambda: 1.0)
    with pytest.raises(GateError) as caught:
        promote(local, manifest(2, metrics=metrics), "live", gate={"accuracy": Bound(min=0.9)})
    assert caught.value.message == (
        f"version 2 of model 'tiny' does not pass the gate: {reason}; alias 'live' was not moved."
    )
    assert read_alias(local, "tiny", "live").version == 1


@given(
    value=st.floats(-10, 10),
    low=st.none() | st.floats(-10, 10),
    high=st.floats(-10, 10),
)
def test_gate_failures_empty_exactly_inside_the_bounds(value, low, high):
    failures = gate_failures({"m": value}, {"m": Bound(min=low, max=high)})
    assert (not failures) == ((low is None or value >= low) and value <= high)


def test_gate_empty_passes_a_version_without_evaluation():
    assert gate_failures({}, {}) == []
