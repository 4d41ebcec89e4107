"""The plan of `gc` as laws over any store: what is reachable stays, what is not goes, once."""

import json

from hypothesis import given
from hypothesis import strategies as st

from shardline.artifacts.leases import CLOCK_SKEW_S
from shardline.garbage.contents import Contents
from shardline.garbage.plan import LIVE_S, removals
from shardline.store.leftovers import Stored

NOW_S = 1e9
GRACE_S = 24 * 3600.0
OLD_S = NOW_S - 10 * GRACE_S
OLD, NEW = "0" * 32, "1" * 32
MARKERS = ("checkpoint.json", "dataset.json", "model.json", "score.json")


def stored(key, *, age_s=None, upload_id=""):
    modified = OLD_S if age_s is None else NOW_S - age_s
    return Stored(key, 10, modified, "f", upload_id)


def planned(contents):
    return removals(contents, now_unix_s=NOW_S, grace_s=GRACE_S)


def keys_of(plan):
    return {each.key for removal in plan for each in removal.objects}


def lease(folder, *, expires_in_s):
    return f"{folder}/readers/{int(NOW_S + expires_in_s)}-ab.json"


AGES = st.sampled_from([None, None, 0.0, LIVE_S + 1, GRACE_S - 1, GRACE_S + 1])
NAMES = st.sampled_from(["a", "b"])
FOLDERS = st.one_of(
    st.builds("runs/{}/checkpoints/step-0000000{}".format, NAMES, st.integers(1, 3)),
    st.builds("models/{}/{}".format, NAMES, st.integers(1, 3)),
    st.builds("datasets/{}/aaaaaaaaaaa{}".format, NAMES, st.integers(1, 3)),
    st.builds("scores/{}/v1-bbbbbbbbbbb{}".format, NAMES, st.integers(1, 3)),
    st.builds("scratch/{}-ccccccccccccccc{}".format, NAMES, st.integers(1, 3)),
    st.builds("pieces/{}".format, NAMES),
)
FILES = st.sampled_from(
    [
        "data.bin",
        "sub/more.bin",
        f"{'d' * 32}.arrow",
        *MARKERS,
        "readers/{live}-ab.json",
        "readers/{dead}-cd.json",
    ]
)


@st.composite
def contents(draw):
    """Anything, in folders of all kinds."""
    objects = {}
    names = {"live": int(NOW_S + 10), "dead": int(NOW_S - CLOCK_SKEW_S - 10)}
    for folder, file in draw(st.lists(st.tuples(FOLDERS, FILES), max_size=25)):
        key = f"{folder}/{file.format(**names)}"
        objects[key] = stored(key, age_s=draw(AGES))
    for key in draw(
        st.sets(
            st.sampled_from(
                ["runs/a/run.json", "runs/a/progress.json", "models/a/claims/1", "notes.txt",
                 "models/b/claims/2", "datasets/raw/2026/rows.csv", "models/b/latest/model.h5",
                 "models/a/aliases/live.json", "datasets/a/current.json", "pieces/a/index.json"]
            )
        )
    ):  # fmt: skip
        objects[key] = stored(key, age_s=draw(AGES))
    broken = [
        stored(f"runs/a/.partial-{n}", age_s=draw(AGES)) for n in range(draw(st.integers(0, 2)))
    ]
    versions = draw(st.sets(st.sampled_from([f"aaaaaaaaaaa{n}" for n in (1, 2, 3)])))
    pieces = draw(st.sets(st.sampled_from([f"pieces/{name}/{'d' * 32}.arrow" for name in "ab"])))
    return Contents(
        objects=tuple(objects.values()),
        broken_off=tuple(broken),
        references=tuple(json.dumps({"dataset_version": version}) for version in versions),
        pieces=frozenset(pieces | {"pieces/a/index.json"}),
    )


@given(contents())
def test_nothing_reachable_is_ever_removed(found):
    """Whatever has its marker, is mentioned, listed, read, named by a person, or a number taken."""
    removed = keys_of(planned(found))
    keys = {each.key for each in found.objects}
    for key in removed & keys:
        top, name, *rest = key.split("/")
        folder = "/".join([top, name, *rest[: 2 if top == "runs" else 1]])
        is_lease = "/readers/" in key and not key.endswith("-ab.json")
        if top == "runs" and not is_lease:
            assert f"{folder}/checkpoint.json" not in keys
            assert not any(each.startswith(f"{folder}/readers/{int(NOW_S + 10)}") for each in keys)
        if top == "models":
            assert f"models/{name}/claims/{rest[0]}" in keys
            assert f"{folder}/model.json" not in keys
        if top == "scores":
            assert f"{folder}/score.json" not in keys
        if top == "datasets" and f"{folder}/dataset.json" in keys:
            assert not any(rest[0] in text for text in found.references)
        if top == "pieces":
            assert key not in found.pieces
        assert top in ("runs", "models", "scores", "datasets", "pieces", "scratch")


@given(contents())
def test_nothing_young_and_nothing_of_a_live_run_is_ever_removed(found):
    live = {
        each.key.split("/")[1]
        for each in found.objects
        if each.key.startswith("runs/") and NOW_S - each.modified_unix_s < LIVE_S
    }
    for removal in planned(found):
        assert all(NOW_S - each.modified_unix_s >= GRACE_S for each in removal.objects)
        if removal.key.startswith("runs/"):
            assert removal.key.split("/")[1] not in live


@given(contents())
def test_every_object_goes_once_and_nothing_is_left_for_a_second_time(found):
    plan = planned(found)
    gone = [each for removal in plan for each in removal.objects]
    assert len(gone) == len(set(gone))
    rest = Contents(
        objects=tuple(each for each in found.objects if each not in gone),
        broken_off=tuple(each for each in found.broken_off if each not in gone),
        references=found.references,
        pieces=found.pieces,
    )
    assert planned(rest) == []


def test_plan_says_what_why_and_how_old():
    step = "runs/a/checkpoints/step-00000001"
    found = Contents(
        objects=(
            stored(f"{step}/tensors-1.safetensors"),
            stored(lease("runs/a/checkpoints/step-00000002", expires_in_s=-1000)),
            stored("runs/a/checkpoints/step-00000002/checkpoint.json"),
            stored("runs/b/ray/x/snapshot.json"),
            stored("models/m/1/saved_model.pb"),
            stored("models/m/claims/1"),
            stored("datasets/d/111111111111/dataset.json"),
            stored("datasets/d/222222222222/dataset.json"),
            stored("datasets/d/333333333333/train/part-00000.parquet"),
            stored("scores/s/v1-0123456789ab/predictions/part-1.parquet"),
            stored("scratch/d-0123456789abcdef/rows"),
            stored(f"pieces/d/{OLD}.arrow"),
            stored(f"pieces/d/{NEW}.arrow"),
        ),
        broken_off=(stored("models/m/.partial-1"), stored("models/m/2/big", upload_id="u")),
        references=('{"version": "222222222222"}',),
        pieces=frozenset({f"pieces/d/{NEW}.arrow"}),
    )
    assert [(each.kind, each.key) for each in planned(found)] == [
        ("dataset version", "datasets/d/111111111111/"),
        ("dataset version", "datasets/d/333333333333/"),
        ("partial file", "models/m/.partial-1"),
        ("model version", "models/m/1/"),
        ("upload", "models/m/2/big"),
        ("pieces", "pieces/d/"),
        ("checkpoint", f"{step}/"),
        ("lease", lease("runs/a/checkpoints/step-00000002", expires_in_s=-1000)),
        ("ray notes", "runs/b/ray/"),
        ("scores", "scores/s/v1-0123456789ab/"),
        ("parked rows", "scratch/d-0123456789abcdef/"),
    ]
    assert all(each.reason and each.size_bytes == 10 for each in planned(found))
    (pieces,) = (each for each in planned(found) if each.kind == "pieces")
    assert [each.key for each in pieces.objects] == [f"pieces/d/{OLD}.arrow"]


def test_uploads_of_other_applications_in_the_bucket_are_none_of_ours():
    theirs = stored("backups/disk.img", upload_id="1")
    ours = stored("runs/r/checkpoints/step-00000001/tensors", upload_id="2")
    found = planned(Contents(objects=(), broken_off=(theirs, ours)))
    assert keys_of(found) == {ours.key}
