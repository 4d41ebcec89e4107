"""Versions: how numbers are claimed, published, found and missed, on a folder and on S3."""

import subprocess
import sys

import pytest
from tests.interleavings import Killed, explored, memory_store
from tests.sample_registry import (
    AUTHOR,
    in_parallel,
    lineage,
    manifest,
    point,
    publish_versions,
)

from shardline.artifacts.author import Author
from shardline.artifacts.deletion import delete_version
from shardline.artifacts.manifest import ModelManifest
from shardline.artifacts.registry import (
    claim_version,
    find_export,
    list_models,
    list_versions,
    publish,
    resolve,
    versions,
)
from shardline.errors import FormatError, IntegrityError, NotFoundError
from shardline.store import Store, read_marker

NUM_RACERS = 20


@pytest.fixture
def published(local):
    def make(*numbers, **changes):
        publish_versions(local, *numbers, **changes)
        return local

    return make


def test_claim_racing_exporters_get_distinct_versions_and_hide_no_gap(any_store):
    def export(number):
        version = claim_version(any_store, "tiny", author=Author(f"exporter {number}"))
        if number % 4:
            publish_versions(any_store, version)
        return version  # the others failed

    numbers = in_parallel(export, NUM_RACERS)
    assert sorted(numbers) == list(range(1, NUM_RACERS + 1))
    listed = list_versions(any_store, "tiny")
    assert [entry.version for entry in listed] == sorted(numbers)
    by_version = {entry.version: entry for entry in listed}
    for number, version in enumerate(numbers):
        entry = by_version[version]
        assert entry.status == ("published" if number % 4 else "claimed")
        assert entry.claim.who == f"exporter {number}"
    assert claim_version(any_store, "tiny") == NUM_RACERS + 1
    assert claim_version(any_store, "other") == 1


CLAIM = """
import sys
from shardline.artifacts.registry import claim_version
from shardline.store import Store
sys.stdin.read()
print(claim_version(Store(sys.argv[1]), "tiny"))
"""


def test_claim_racing_processes_get_distinct_versions(local):
    command = [sys.executable, "-c", CLAIM, local.uri]
    racers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for racer in racers:
        racer.stdin.close()
    numbers = [int(racer.stdout.read()) for racer in racers]
    assert [racer.wait() for racer in racers] == [0] * 4
    assert sorted(numbers) == [1, 2, 3, 4]


def test_claim_whose_answer_was_lost_is_its_own(local, monkeypatch):
    commit = Store.put_if_absent

    def answer_lost(store, key, data):
        assert commit(store, key, data)
        return commit(store, key, data)

    monkeypatch.setattr(Store, "put_if_absent", answer_lost)
    assert [claim_version(local, "tiny") for _ in range(3)] == [1, 2, 3]


def test_claim_from_before_they_said_who_is_listed(local):
    local.put_if_absent("models/tiny/claims/1", b"")
    assert claim_version(local, "tiny") == 2
    first, second = list_versions(local, "tiny")
    assert (first.status, first.claim) == ("claimed", None)
    assert second.claim.who


@pytest.mark.parametrize("record", ["claims/7", "7/saved_model.pb", "deleted/7.json"])
def test_claim_never_takes_a_number_that_left_any_trace(local, record):
    local.write(f"models/tiny/{record}", b"")
    assert claim_version(local, "tiny") == 8


def test_publish_writes_the_marker_last_and_never_twice(local, tmp_path):
    publish_versions(local, 1)
    assert read_marker(local, "models/tiny/1/model.json", ModelManifest) == manifest(1)
    (tmp_path / "saved_model.pb").write_bytes(b"graph")
    with pytest.raises(IntegrityError, match=r"models/tiny/1 exists already"):
        publish(local, manifest(1, metrics={"loss": 1.0}), tmp_path)
    assert resolve(local, "tiny").metrics == {}


def test_export_that_dies_at_any_point_is_no_version_or_a_whole_one(monkeypatch):
    store, memory = memory_store(monkeypatch)

    def export():
        publish_versions(store, claim_version(store, "tiny"))

    ends = []
    for life in range(20):
        memory.objects = {}
        (done,) = explored(memory, {"export": export}, lives={"export": life})
        ends.append(isinstance(done.results["export"], Killed))
        for version in versions(store, "tiny"):
            for path in resolve(store, "tiny", version=version).files:
                assert store.read(f"models/tiny/{version}/{path}") == b"graph"
        assert ends[-1] or versions(store, "tiny") == [1]
        export()  # the same command continues, with a number of its own
        assert resolve(store, "tiny").version in (1, 2)
        if not ends[-1]:
            break
    assert ends == [True] * life + [False]
    assert life > 3


def test_publish_whose_own_marker_is_there_already_is_accepted(local, monkeypatch):
    commit = Store.put_if_absent

    def answer_lost(store, key, data):
        assert commit(store, key, data)
        return commit(store, key, data)

    monkeypatch.setattr(Store, "put_if_absent", answer_lost)
    publish_versions(local, 1)
    assert versions(local, "tiny") == [1]


def test_versions_without_marker_do_not_exist(published):
    store = published(2, 10, 9)
    claim_version(store, "tiny")
    store.write("models/tiny/11/saved_model.pb", b"half an export")
    assert versions(store, "tiny") == [2, 9, 10]
    assert resolve(store, "tiny").version == 10


def test_resolve_by_version_and_alias(published):
    store = published(1, 2)
    point(store, 1, "production")
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
        (
            {"model": "tiny", "version": 3},
            "version 3 of model 'tiny' was deleted by first@host on 1970-01-01 00:00:01 UTC (too "
            "old); it has 1, 2.",
        ),
    ],
)
def test_resolve_what_is_not_there_lists_what_is(published, wanted, sentence):
    store = published(1, 2, 3)
    delete_version(store, "tiny", 3, why="too old", author=AUTHOR)
    for alias in ("staging", "production"):
        point(store, 1, alias)
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


def test_list_models_shows_versions_and_aliases(published):
    store = published(1, 3)
    publish_versions(store, 1, name="other")
    claim_version(store, "claimed-only")
    point(store, 3, "production")
    listed = [(m.name, m.versions, m.aliases) for m in list_models(store)]
    assert listed == [("other", (1,), {}), ("tiny", (1, 3), {"production": 3})]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (
            b'"format": 2, "shards": []',
            "has format 2, this version of shardline reads format 1; use the version that wrote "
            "it, or a later one.",
        ),
        (
            b'"format": 1, "shape": []',
            "says more than this version of shardline knows (shape); use the version that wrote "
            "it, or a later one.",
        ),
    ],
    ids=["another format", "a key of a later version"],
)
def test_marker_of_a_later_version_is_refused_and_not_replaced(published, written, said):
    store = published(1)
    key = "models/tiny/1/model.json"
    later = store.read(key).replace(b'"format": 1', written)
    store.write(key, later)
    with pytest.raises(FormatError) as caught:
        resolve(store, "tiny", version=1)
    assert caught.value.message == f"{store.uri_of(key)} {said}"
    assert store.read(key) == later
