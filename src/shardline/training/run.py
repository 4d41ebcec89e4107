"""Runs: what a run name stands for, and why it may not be continued with something else."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from shardline.artifacts.checkpoint import list_checkpoints
from shardline.artifacts.checkpoint_removal import unmark_and_remove
from shardline.artifacts.clock import Clock, unix_clock
from shardline.data.forms import order_in_words
from shardline.data.manifest import DatasetManifest
from shardline.errors import IntegrityError, NotFoundError, SpecError
from shardline.model.code import ModelCode
from shardline.spec import Spec
from shardline.spec.revision import CodeRevision
from shardline.store import Marker, Store, commit_marker, dump_marker, parse_marker, read_marker

MARKER_NAME = "run.json"
NEW_RUN = "name a new run with --set train.run=NAME, or discard it with --restart."

logger = logging.getLogger(__name__)


class RunManifest(Marker):
    """Begins a run: everything that its checkpoints depend on."""

    run: str
    identity: dict[str, str]
    spec: dict[str, object]
    """The resolved spec of the command that trained the run last."""
    code: dict[str, str]
    """The builder's source files."""
    code_revision: CodeRevision | None = None
    """The git commit that they come from; None if they lay outside of git."""


def begin_run(store: Store, spec: Spec, *, dataset: DatasetManifest, code: ModelCode) -> None:
    """Begin a run, or make sure that the one of this name was begun with the same things.

    What it was begun with is in `run.json`, and, should that be lost, in its newest checkpoint.
    What may change while it is continued (epochs, which checkpoints are kept, gates) is there as
    the last command has it.

    Raises:
        SpecError: It was begun with another dataset, model or order of data, or by a version of
            shardline that had no such order.
    """
    manifest = RunManifest(
        run=spec.run_name,
        identity=run_identity(spec, dataset, code),
        spec=spec.model_dump(mode="json"),
        code=dict(code.files),
        code_revision=code.revision,
    )
    checkpoints = list_checkpoints(store, spec.run_name)
    begun, stamp = _begun(store, spec.run_name)
    identity = begun.identity if begun else checkpoints[-1].identity if checkpoints else {}
    changed = differences(identity, manifest.identity)
    if changed and checkpoints:
        known = [name for name in changed if name in identity]
        if len(known) < len(changed):
            raise SpecError(_too_old(spec.run_name, sorted({*changed} - {*known})))
        named = " and ".join(_in_the_spec(name, begun, spec) for name in known)
        raise SpecError(
            f"run {spec.run_name!r} was begun with another {named}; continue it with the same, "
            f"{NEW_RUN}"
        )
    if begun and not changed:
        if begun.spec != manifest.spec:
            _go_on_with(store, manifest, begun, stamp)
        return
    if begun:
        store.delete(_key(spec.run_name))  # nothing was trained under the old identity
    if not commit_marker(store, _key(spec.run_name), manifest):
        begin_run(store, spec, dataset=dataset, code=code)  # another command was faster


def _go_on_with(store: Store, manifest: RunManifest, begun: RunManifest, stamp: str) -> None:
    """Put this command's spec on record; of two commands at once, either one's may stay."""
    revision = manifest.code_revision or begun.code_revision  # a copy of the code may know none
    record = manifest.model_copy(update={"code_revision": revision})
    with suppress(NotFoundError):  # another command is discarding the run
        store.compare_and_swap(_key(record.run), dump_marker(record), version=stamp)


def check_continues(run: str, begun: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """Refuse a checkpoint that another command has committed under the run's name meanwhile.

    Raises:
        SpecError: What it was begun with differs.
    """
    changed = differences(begun, wanted)
    if changed:
        raise SpecError(
            f"another command trains run {run!r} with another {' and '.join(changed)}; wait until "
            f"it has ended, {NEW_RUN}"
        )


def discard_run(store: Store, run: str, *, clock: Clock = unix_clock) -> None:
    """Remove a run and its checkpoints; registered models stay.

    Files of a checkpoint that somebody reads stay for the next run's retention, without a marker.
    """
    folder = f"runs/{run}/checkpoints"
    folders = [f"{folder}/{name}" for name in store.list_folders(folder)]
    read = [
        f"{each}/" for each in folders if not unmark_and_remove(store, each, now_unix_s=clock())
    ]
    if not read:
        store.delete_folder(f"runs/{run}")
    for entry in store.scan(f"runs/{run}/") if read else ():
        if not entry.key.startswith(tuple(read)):
            store.delete(entry.key)


def read_run(store: Store, run: str) -> RunManifest:
    """What a run was begun with.

    Raises:
        NotFoundError: There is no record of it.
        IntegrityError: Nobody can read it.
    """
    return read_marker(store, _key(run), RunManifest)


def differences(begun: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """What of a run's identity has changed, or was not known when it was begun.

    Nothing has where nothing is on record.
    """
    names = {**begun, **wanted} if begun else {}
    return [name for name in names if begun.get(name) != wanted.get(name)]


def _too_old(run: str, unknown: Sequence[str]) -> str:
    return (
        f"run {run!r} was begun by a version of shardline that knew no {' and '.join(unknown)}, so "
        f"it would go on with other rows than it was begun with; {NEW_RUN}"
    )


def _in_the_spec(name: str, begun: RunManifest | None, spec: Spec) -> str:
    """The key that makes a part of the identity another."""
    train: Any = begun.spec.get("train", {}) if begun else {}
    if name == "train.order" and train.get("order") == spec.train.order:
        return "train.cache.max_bytes"  # `auto` is another order for a split that does not fit
    return name


def _begun(store: Store, run: str) -> tuple[RunManifest | None, str]:
    """What is on record, and its version in the store; None if nothing is.

    What nobody can read is removed.
    """
    key = _key(run)
    try:
        data, stamp = store.read_versioned(key)
        return parse_marker(store, key, data, RunManifest), stamp
    except NotFoundError:
        return None, ""
    except IntegrityError as error:
        logger.warning("beginning the record of run %s anew: %s", run, error)
        store.delete(key)
        return None, ""


def _key(run: str) -> str:
    return f"runs/{run}/{MARKER_NAME}"


def run_identity(spec: Spec, dataset: DatasetManifest, code: ModelCode) -> dict[str, str]:
    """Everything that a run's checkpoints depend on, in words for the user."""
    return {
        "dataset": f"{dataset.name}/{dataset.version}",
        "model code": code.digest,
        "model.params": str(sorted(spec.model.model_dump(mode="json")["params"].items())),
        "train.seed": str(spec.train.seed),
        "train.global_batch": str(spec.train.global_batch),
        "train.lanes": str(spec.train.num_lanes),
        "train.order": order_in_words(dataset, spec.train),
        "train.mixed_precision": spec.train.mixed_precision,
        "train.class_weight": str(spec.train.class_weight),
        "train.warm_start": str(spec.train.warm_start),
        "train.callbacks": str([c.model_dump(mode="json") for c in spec.train.callbacks]),
    }
