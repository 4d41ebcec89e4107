"""Whatever a crash, a full disk or a person left of a run, the same command goes on."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.checkpoints import commit, tensors_of
from tests.sample_datasets import spec_for, write_dataset

from shardline import inventory
from shardline.artifacts import checkpoint_reading
from shardline.artifacts.checkpoint import (
    MARKER_NAME,
    Cursor,
    checkpoint_key,
    list_checkpoints,
    read_tensors,
)
from shardline.artifacts.checkpoint_reading import newest_intact, reading
from shardline.data.schema import Column, Label
from shardline.errors import IntegrityError, SpecError
from shardline.model.code import collect_code
from shardline.spec.locations import local_path
from shardline.spec.revision import CodeRevision
from shardline.store import Store, open_store
from shardline.training import run as run_module
from shardline.training.checkpoints.resume import restore_newest
from shardline.training.exchange.peers import Alone
from shardline.training.run import (
    RunManifest,
    begin_run,
    check_continues,
    discard_run,
    read_run,
    run_identity,
)

STEPS = 10
"""Between two checkpoints."""


def build(features):
    """The builder of the run's model; nothing here calls it."""


class Run:
    """What the `train` command and its workers do with the files of a run, without the training."""

    def __init__(self, store, dataset, **sections):
        self.store, self.dataset = store, dataset
        self.spec = spec_for(store, dataset, build, **sections)
        self.code = collect_code(self.spec)
        self.name = self.spec.run_name

    def train(self, *, checkpoints, restart=False):
        """Commit that many more checkpoints; returns the step it continued from."""
        if restart:
            discard_run(self.store, self.name)
        begin_run(self.store, self.spec, dataset=self.dataset, code=self.code)
        newest_intact(self.store, list_checkpoints(self.store, self.name))
        restored = restore_newest(self.store, self.name, Alone())
        start = 0
        if restored:
            start = restored.checkpoint.step
            for name, array in tensors_of(start).items():
                np.testing.assert_array_equal(restored.tensors[name], array)
        identity = run_identity(self.spec, self.dataset, self.code)
        for number in range(1, checkpoints + 1):
            step = start + number * STEPS
            commit(self.store, step, run=self.name, identity=identity, keep=3)
        return start

    def steps(self):
        return [checkpoint.step for checkpoint in list_checkpoints(self.store, self.name)]

    def key(self, step, name):
        """A file of a checkpoint; `tensors` stands for the share."""
        folder = checkpoint_key(self.name, step)
        if name == "tensors":
            found = {c.step: c for c in list_checkpoints(self.store, self.name)}
            (name,) = found[step].files
        return f"{folder}/{name}"


@pytest.fixture
def dataset_of():
    def write(store):
        values = {"x": np.zeros(4, "float32"), "y": np.zeros(4, "float32")}
        features, label = [Column(name="x", dtype="float32")], Label(name="y", dtype="float32")
        return write_dataset(store, features, label, {"train": values})

    return write


@pytest.fixture
def run(tmp_path, dataset_of):
    """Checkpoints at 10, 20 and 30, the last three of 40 steps."""
    store = open_store(f"file://{tmp_path}/store")
    begun = Run(store, dataset_of(store))
    begun.train(checkpoints=3)
    assert begun.steps() == [10, 20, 30]
    return begun


CONTENTS = {"empty": b"", "garbage": b"\x00\xffnot it", "truncated": None}


def tear(run, key, content):
    data = CONTENTS[content]
    run.store.write(key, run.store.read(key)[:-20] if data is None else data)


@pytest.mark.parametrize("content", [*CONTENTS, "missing"])
@pytest.mark.parametrize(
    ("name", "continues_at"),
    [("run.json", 30), ("checkpoint.json", 20), ("tensors", 20), ("progress.json", 30)],
)
def test_torn_file_the_same_command_continues_from_the_newest_intact(
    run, name, continues_at, content
):
    in_checkpoint = name in ("checkpoint.json", "tensors")
    key = run.key(30, name) if in_checkpoint else f"runs/{run.name}/{name}"
    if name == "progress.json":
        run.store.write(key, b'{"step": 30, "logs": {}, "rows_per_s": 1.0}')
    if content == "missing":
        run.store.delete(key)
    else:
        tear(run, key, content)
    assert run.train(checkpoints=1) == continues_at
    assert run.steps()[-1] == continues_at + STEPS
    assert run.train(checkpoints=0) == continues_at + STEPS


@pytest.mark.parametrize("content", CONTENTS)
def test_torn_everything_starts_anew_with_a_warning(run, content, caplog):
    for step in run.steps():
        tear(run, run.key(step, MARKER_NAME), content)
    tear(run, f"runs/{run.name}/run.json", content)
    assert run.train(checkpoints=2) == 0
    assert "beginning the record of run tiny anew: " in caplog.text
    assert "passing over a checkpoint: " in caplog.text
    assert run.steps()[:2] == [10, 20]
    assert run.train(checkpoints=2) == 20
    assert run.steps()[-1] == 40


@pytest.mark.parametrize("content", CONTENTS)
def test_torn_everything_restart_begins_at_step_0(run, content):
    for entry in list(run.store.scan(f"runs/{run.name}/")):
        tear(run, entry.key, content)
    assert run.train(checkpoints=1, restart=True) == 0
    assert run.steps() == [10]


LEFTOVERS = [
    "ray/5ab2/checkpoint_manager_snapshot.json",
    "checkpoints/step-00000040/tensors-0123456789abcdef.safetensors",
    "checkpoints/step-00000040/.partial-12-abcdef",
    "checkpoints/.partial-12-abcdef",
    ".partial-12-abcdef",
    "checkpoints/notes/anything",
    "checkpoints/a-file",
]


@pytest.mark.parametrize("leftover", LEFTOVERS)
@pytest.mark.parametrize("restart", [False, True])
def test_leftovers_are_no_checkpoint_and_in_nobodys_way(run, leftover, restart):
    path = local_path(run.store.uri) / f"runs/{run.name}" / leftover
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"left")
    assert run.train(checkpoints=1, restart=restart) == (0 if restart else 30)
    assert run.steps()[-1] == (10 if restart else 40)


def test_marker_that_was_copied_to_another_step_is_passed_over(run):
    copied = run.store.read(run.key(30, MARKER_NAME))
    run.store.write(f"{checkpoint_key(run.name, 50)}/{MARKER_NAME}", copied)
    assert run.train(checkpoints=1) == 30
    assert run.steps()[-1] == 40


@pytest.mark.parametrize("content", [*CONTENTS, "missing"])
def test_lost_record_other_things_are_still_refused(run, content):
    key = f"runs/{run.name}/run.json"
    if content == "missing":
        run.store.delete(key)
    else:
        tear(run, key, content)
    other = Run(run.store, run.dataset, train={"seed": 5})
    with pytest.raises(SpecError, match=r"begun with another train\.seed; continue it with the"):
        other.train(checkpoints=1)
    assert run.train(checkpoints=1) == 30
    with pytest.raises(SpecError, match=r"begun with another train\.seed"):
        other.train(checkpoints=1)
    assert other.train(checkpoints=1, restart=True) == 0


@pytest.mark.parametrize(
    ("train", "key"),
    [
        ({"cache": {"max_bytes": 0}}, r"train\.cache\.max_bytes"),
        ({"order": "full"}, r"train\.order"),
    ],
)
def test_other_order_names_the_key_that_changed_it(run, train, key):
    other = Run(run.store, run.dataset, train=train)
    with pytest.raises(SpecError, match=rf"begun with another {key}; continue it with the same"):
        other.train(checkpoints=1)


def test_run_from_before_there_were_orders_is_refused_once_it_has_checkpoints(run, monkeypatch):
    def without_order(*arguments):
        identity = run_identity(*arguments)
        del identity["train.order"]
        return identity

    with monkeypatch.context() as before:
        before.setattr(run_module, "run_identity", without_order)
        run.train(checkpoints=0, restart=True)
    assert run.train(checkpoints=1) == 0  # nothing was trained in another order
    old = json.loads(run.store.read(f"runs/{run.name}/run.json"))
    del old["identity"]["train.order"]
    run.store.write(f"runs/{run.name}/run.json", json.dumps(old).encode())
    with pytest.raises(
        SpecError,
        match=r"knew no train\.order, so it would .*; name a new run with --set train\.run",
    ):
        run.train(checkpoints=1)


def test_begin_of_two_commands_at_once_one_is_refused(tmp_path, dataset_of, monkeypatch):
    store = open_store(f"file://{tmp_path}/store")
    dataset = dataset_of(store)
    first, second = Run(store, dataset), Run(store, dataset, train={"seed": 5})
    commits = iter([True])

    def overtaken(store, key, marker):
        if next(commits, False):
            first.train(checkpoints=1)
        return real(store, key, marker)

    real = run_module.commit_marker
    monkeypatch.setattr(run_module, "commit_marker", overtaken)
    with pytest.raises(SpecError, match=r"begun with another train\.seed"):
        second.train(checkpoints=1)


def test_record_holds_what_the_run_was_begun_with(run):
    found = json.loads(run.store.read(f"runs/{run.name}/run.json"))
    assert RunManifest.model_validate(found).identity == run_identity(
        run.spec, run.dataset, run.code
    )
    other = Run(run.store, run.dataset, train={"run": "other"})
    other.code = replace(other.code, revision=CodeRevision(commit="1f" * 20, dirty=True))
    other.train(checkpoints=0)
    assert read_run(run.store, "other").code_revision == other.code.revision
    elsewhere = Run(run.store, run.dataset, train={"run": "other", "epochs": 9})
    elsewhere.code = replace(elsewhere.code, revision=None)
    elsewhere.train(checkpoints=0)
    record = read_run(run.store, "other")
    assert record.spec == elsewhere.spec.model_dump(mode="json")
    assert record.code_revision == other.code.revision


def test_record_follows_what_may_change_while_a_run_is_continued(run):
    policy = {"keep": 3, "keep_best": 2, "monitor": {"metric": "loss"}}
    gate = {"alias": "production", "gate": {"loss": {"max": 0.5}}}
    other = Run(run.store, run.dataset, train={"epochs": 9, "checkpoint": policy}, export=gate)
    assert other.train(checkpoints=1) == 30
    record = read_run(run.store, run.name)
    assert record.spec == other.spec.model_dump(mode="json") != run.spec.model_dump(mode="json")
    assert record.identity == run_identity(run.spec, run.dataset, run.code)
    history = ({"epoch": 0, "loss": 0.1},)
    commit(run.store, 45, run=run.name, history=history, cursor=Cursor(epoch=1, step=0))
    commit(run.store, 55, run=run.name)
    listed = {row["step"]: row["kept"] for row in inventory.checkpoints(run.store.uri, run.name)}
    assert listed == {20: "", 30: "", 40: "last", 45: "last best", 55: "last"}


def test_record_that_another_command_discards_at_that_moment_is_not_missed(run, monkeypatch):
    def discarded(store, key, data, *, version):
        store.delete(key)
        return swap(store, key, data, version=version)

    swap = Store.compare_and_swap
    monkeypatch.setattr(Store, "compare_and_swap", discarded)
    other = Run(run.store, run.dataset, train={"epochs": 9})
    assert other.train(checkpoints=0) == 30


def test_restart_leaves_what_is_being_read_to_its_reader_and_lists_it_no_more(run):
    (checkpoint,) = [c for c in list_checkpoints(run.store, run.name) if c.step == 20]
    with reading(run.store, checkpoint, reader="test"):
        assert run.train(checkpoints=1, restart=True) == 0
        assert run.steps() == [10]
        assert read_tensors(run.store, checkpoint).keys() == tensors_of(20).keys()
    run.train(checkpoints=6)
    folders = run.store.list_folders(f"runs/{run.name}/checkpoints")
    assert folders == ["step-00000050", "step-00000060", "step-00000070"]


def test_checkpoint_of_another_command_under_the_same_name_is_refused():
    check_continues("r", {"seed": "0"}, {"seed": "0"})
    check_continues("r", {}, {"seed": "0"})  # from before it was on record
    with pytest.raises(SpecError) as caught:
        check_continues("r", {"seed": "0", "order": "a"}, {"seed": "1", "order": "a"})
    assert caught.value.message == (
        "another command trains run 'r' with another seed; wait until it has ended, name a new run "
        "with --set train.run=NAME, or discard it with --restart."
    )


def test_transfer_that_went_wrong_once_costs_no_checkpoint(run, monkeypatch):
    run.train(checkpoints=1)
    right, answers = checkpoint_reading.read_verified, []

    def wrong_at_first(*arguments, **options):
        answers.append(arguments)
        if len(answers) == 1:
            raise IntegrityError("bits fell over.")
        return right(*arguments, **options)

    monkeypatch.setattr(checkpoint_reading, "read_verified", wrong_at_first)
    kept = list_checkpoints(run.store, run.name)
    assert newest_intact(run.store, kept) == kept[-1]
    assert len(answers) >= 2
    assert list_checkpoints(run.store, run.name) == kept
