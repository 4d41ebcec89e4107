"""`shardline gc` on real stores, in a folder and on S3: a dry run, a removal, and nothing left."""

import json
import os
import time
from dataclasses import replace

import boto3
import numpy as np
import pytest
from tests.checkpoints import commit, manifest
from tests.sample_datasets import write_dataset

from shardline.artifacts.checkpoint import find_checkpoint, list_checkpoints, read_tensors
from shardline.artifacts.checkpoint_reading import reading
from shardline.artifacts.registry import claim_version
from shardline.cli import main
from shardline.data.manifest import dataset_versions, load_dataset, make_current
from shardline.data.schema import Column, Label
from shardline.garbage import collect
from shardline.garbage.collect import collect_garbage, remove
from shardline.garbage.contents import look
from shardline.garbage.plan import removals
from shardline.spec.locations import local_path
from shardline.store import open_store

DAY_S = 86400.0
OLD_VERSION = "0123456789ab"
KEPT, GONE = "0" * 32, "1" * 32


@pytest.fixture
def store(any_store):
    return any_store


@pytest.fixture
def used(store):
    """A store with everything in use and everything that calls of verbs leave when they die."""
    dataset = write_small_dataset(store)
    for step in (3, 5):
        commit(store, step, dataset=dataset.name, dataset_version=dataset.version)
    store.write("runs/r/run.json", b"{}")
    store.write(f"models/m/{claim_version(store, 'm')}/model.json", b"{}")
    store.write("scores/s/v1-aa/score.json", b"{}")
    store.write("pieces/tiny/index.json", json.dumps({"pieces": [f"{KEPT}.arrow"]}).encode())
    store.write(f"pieces/tiny/{KEPT}.arrow", b"rows")
    for key in ("notes/mine.txt", "datasets/raw/2026/rows.csv", "models/bought/1/saved_model.pb"):
        store.write(key, b"a person's own")
    kept = {entry.key for entry in store.scan("")}

    store.write(f"models/m/{claim_version(store, 'm')}/saved_model.pb", b"half")
    kept.add("models/m/claims/2")
    for key in (
        f"{manifest(4).key}/tensors-0123456789abcdef.safetensors",
        f"{manifest(5).key}/readers/1-ab.json",
        f"datasets/tiny/{OLD_VERSION}/dataset.json",
        f"datasets/tiny/{OLD_VERSION}/train/part-00000.parquet",
        "datasets/other/00000000000a/train/part-00000.parquet",
        "scores/s/v1-0123456789ab/predictions/part-1.parquet",
        "scratch/tiny-0123456789abcdef/rows",
        f"pieces/tiny/{GONE}.arrow",
        f"pieces/tiny/{GONE}.json",
        "runs/r/ray/ab/snapshot.json",
    ):
        store.write(key, b"left behind")
    leave_a_write(store)
    return kept


def write_small_dataset(store):
    x, y = Column(name="x", dtype="float32"), Label(name="y", dtype="float32")
    values = {name: np.zeros(2, "float32") for name in "xy"}
    return write_dataset(store, [x], y, {"train": values})


def leave_a_write(store):
    if store.uri.startswith("file://"):
        (local_path(store.uri) / "models/m/.partial-1-ab").write_bytes(b"left behind")
        return
    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    bucket = store.uri.removeprefix("s3://").split("/")[0]
    place = {"Bucket": bucket, "Key": "root/models/m/9/big"}
    upload = client.create_multipart_upload(**place)
    client.upload_part(**place, UploadId=upload["UploadId"], PartNumber=1, Body=b"left behind")


def in_days(days):
    return lambda: time.time() + days * DAY_S


def test_gc_lists_first_then_removes_and_then_finds_nothing(store, used):
    before = {entry.key for entry in store.scan("")}
    dry = collect_garbage(store.uri, clock=in_days(2))
    assert {entry.key for entry in store.scan("")} == before
    assert sorted(item["kind"] for item in dry.items) == sorted(
        ["checkpoint", "lease", "dataset version", "dataset version", "model version", "scores",
         "parked rows", "pieces", "ray notes",
         "upload" if store.uri.startswith("s3") else "partial file"]
    )  # fmt: skip
    assert (dry.deleted, dry.objects) == (False, len(before - used) + 1)
    assert dry.size_bytes == 11 * (dry.objects - 1) + 4
    removed = collect_garbage(store.uri, clock=in_days(2), delete=True)
    assert [item["key"] for item in removed.items] == [item["key"] for item in dry.items]
    assert {entry.key for entry in store.scan("")} == used
    assert collect_garbage(store.uri, clock=in_days(2)).items == []
    # All that was in use still is.
    assert [c.step for c in list_checkpoints(store, "r")] == [3, 5]
    read_tensors(store, find_checkpoint(store, "r"))
    assert dataset_versions(store, "tiny") == ["v1"]
    assert claim_version(store, "m") == 3


def test_gc_spares_the_young(store, used):
    assert collect_garbage(store.uri, delete=True, clock=in_days(0.9)).items == []


def test_gc_of_an_empty_store_finds_nothing(store):
    assert collect_garbage(store.uri, clock=in_days(2)).items == []


@pytest.fixture
def folder_store(tmp_path):
    return open_store(f"file://{tmp_path}/store")


def test_gc_leaves_what_has_changed_since_it_was_planned(folder_store):
    """Somebody commits, reads or prepares between the plan and a removal's turn."""
    store = folder_store
    folder = manifest(5).key
    store.write(f"{folder}/tensors-0.safetensors", b"half")
    store.write(f"datasets/tiny/{OLD_VERSION}/dataset.json", b"{}")
    store.write(f"pieces/tiny/{GONE}.arrow", b"rows")
    claim_version(store, "m")
    leave_a_write(store)
    plan = removals(look(store), now_unix_s=in_days(2)(), grace_s=DAY_S)
    assert len(plan) == 4
    commit(store, 5)
    make_current(store, "tiny", OLD_VERSION)
    index = {"pieces": [f"{GONE}.arrow"]}
    store.write("pieces/tiny/index.json", json.dumps(index).encode())
    (local_path(store.uri) / "models/m/.partial-1-ab").write_bytes(b"being written")
    before = {entry.key for entry in store.scan("")}
    assert [remove(store, removal) for removal in plan] == [False] * 4
    assert {entry.key for entry in store.scan("")} == before


def test_gc_leaves_files_that_are_read_though_their_marker_is_gone(folder_store):
    store = folder_store
    commit(store, 5)
    with reading(store, find_checkpoint(store, "r"), reader="test", clock=in_days(2)):
        store.delete(f"{manifest(5).key}/checkpoint.json")
        assert collect_garbage(store.uri, delete=True, clock=in_days(2)).items == []
        assert len(list(store.scan(f"{manifest(5).key}/"))) == 2
    (item,) = collect_garbage(store.uri, delete=True, clock=in_days(2)).items
    assert item["key"] == f"{manifest(5).key}/"


def test_gc_puts_a_dataset_back_that_is_made_current_at_that_moment(folder_store, monkeypatch):
    store = folder_store
    write_small_dataset(store)
    other = load_dataset(store, "tiny").model_copy(update={"version": OLD_VERSION})
    store.write(f"datasets/tiny/{OLD_VERSION}/dataset.json", other.model_dump_json().encode())
    read = collect.read_references

    def late(store, keys):
        make_current(store, "tiny", OLD_VERSION)
        return read(store, keys)

    monkeypatch.setattr(collect, "read_references", late)
    assert collect_garbage(store.uri, delete=True, clock=in_days(2)).items == []
    assert load_dataset(store, "tiny").version == OLD_VERSION


def test_gc_leaves_all_pieces_beside_an_index_that_is_torn(folder_store):
    store = folder_store
    store.write(f"pieces/tiny/{GONE}.arrow", b"rows")
    store.write("pieces/tiny/index.json", b'{"pieces": [')
    assert collect_garbage(store.uri, clock=in_days(2)).items == []
    store.write("pieces/tiny/index.json", b'{"pieces": []}')
    (item,) = collect_garbage(store.uri, clock=in_days(2)).items
    assert (item["kind"], item["objects"]) == ("pieces", 1)


def test_gc_of_a_broken_off_removal_takes_the_rest(folder_store):
    store = folder_store
    for step in (3, 5):
        commit(store, step)
    store.delete(f"{manifest(3).key}/checkpoint.json")
    (item,) = collect_garbage(store.uri, delete=True, clock=in_days(2)).items
    assert item["reason"] == "was never committed, or is superseded and no longer read"
    assert store.list_folders("runs/r/checkpoints") == ["step-00000005"]


# The verb


def aged(store, days):
    for path in local_path(store.uri).rglob("*"):
        os.utime(path, (time.time() - days * DAY_S,) * 2)


def test_verb_says_what_would_go_and_removes_it_when_told(folder_store, capsys):
    store = folder_store
    store.write(f"models/m/{claim_version(store, 'm')}/saved_model.pb", b"half")
    arguments = ["gc", "--store", store.uri]
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"no garbage in {store.uri}\n"
    aged(store, 3)
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "models/m/1/" in said
    assert "was never published; its number stays taken" in said
    assert said.endswith("1 objects of 4 bytes would go; --delete removes them.\n")
    assert main([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    (item,) = report.pop("items")
    assert report == {"store": store.uri, "deleted": False, "objects": 1, "size_bytes": 4}
    assert item == {
        "kind": "model version", "key": "models/m/1/", "objects": 1, "size_bytes": 4,
        "age_hours": 72.0, "reason": "was never published; its number stays taken",
    }  # fmt: skip
    assert main([*arguments, "--grace-hours", "100", "--delete"]) == 0
    assert store.exists("models/m/1/saved_model.pb")
    capsys.readouterr()
    assert main([*arguments, "--delete"]) == 0
    assert capsys.readouterr().out.endswith("removed 1 objects of 4 bytes.\n")
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["items"] == []


def test_verb_takes_no_grace_that_would_hit_what_is_being_written(folder_store, capsys):
    assert main(["gc", "--store", folder_store.uri, "--grace-hours", "0.5"]) == 2
    assert "0.5 is not in the range x>=1" in capsys.readouterr().err


def test_gc_leaves_what_was_written_again_with_the_same_bytes(store):
    """A prepare takes up what another one left: shards come out the same, and so do ETags."""
    key = "datasets/tiny/0123456789ab/train/part-00000.parquet"
    store.write(key, b"rows")
    two_days_on = in_days(2)()
    (removal,) = removals(look(store), now_unix_s=two_days_on, grace_s=DAY_S)
    (shard,) = removal.objects
    before = replace(shard, modified_unix_s=shard.modified_unix_s - DAY_S)  # and was written since
    assert not remove(store, replace(removal, objects=(before,)))
    assert store.read(key) == b"rows"
    assert remove(store, removal)
