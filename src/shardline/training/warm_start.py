"""Warm start: a new run's first weights, from a registered model, a `.keras` file or another run.

Found and checked before Ray starts; read by every worker, and only when the run has no checkpoint.
"""

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shardline.artifacts.checkpoint import CheckpointManifest, list_checkpoints, read_tensors
from shardline.artifacts.checkpoint_reading import reading
from shardline.artifacts.predictor import KERAS_FILE
from shardline.artifacts.registry import resolve
from shardline.artifacts.variables import MODEL_PREFIX
from shardline.artifacts.weights import Taken, take_keras_weights
from shardline.errors import DataError, ModelError, NotFoundError
from shardline.spec import Spec
from shardline.spec.warm_start import RegisteredModel, RunCheckpoint, parse_weight_source
from shardline.store import Store, read_verified

MAX_NAMED = 8

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WarmStart:
    """Where the weights are, down to the version."""

    described: str
    """For people: `version 3 of model 'digits'`."""
    store: Store
    key: str = ""
    sha256: str | None = None
    """None for a file outside the registry."""
    checkpoint: CheckpointManifest | None = None


def find_warm_start(store: Store, spec: Spec, *, restart: bool = False) -> WarmStart | None:
    """What the spec's `train.warm_start` names; None without one, or when the run has begun.

    Args:
        store: The spec's store.
        spec: With absolute locations.
        restart: Whether the run's checkpoints are about to be discarded.

    Raises:
        NotFoundError: There is no such model, run or file.
    """
    text = spec.train.warm_start
    if text is None or (not restart and list_checkpoints(store, spec.run_name)):
        return None
    source = parse_weight_source(text)
    if isinstance(source, RegisteredModel):
        manifest = resolve(store, source.name, version=source.version, alias=source.alias)
        described = f"version {manifest.version} of model {manifest.name!r}"
        key = f"{manifest.folder}/{KERAS_FILE}"
        return WarmStart(described, store, key, manifest.files.get(KERAS_FILE))
    if isinstance(source, RunCheckpoint):
        return _checkpoint_of(store, source, own_run=spec.run_name)
    folder, _, name = source.location.rpartition("/")
    found = WarmStart(source.location, Store(folder), name)
    if not found.store.exists(name):
        raise NotFoundError(
            f"train.warm_start: there is no file {source.location}; check its path."
        )
    return found


def apply_warm_start(model: Any, warm: WarmStart) -> str:
    """Give a built model the weights whose name and shape it shares; the others stay as they are.

    Returns:
        One sentence that says what was taken and what was not.

    Raises:
        ModelError: Not one fits.
        DataError: The file is no `.keras` file.
        IntegrityError: It is not the one that was committed.
        NotFoundError: The checkpoint was removed meanwhile.
    """
    if warm.checkpoint is not None:
        with reading(warm.store, warm.checkpoint, reader="warm start"):
            tensors = read_tensors(warm.store, warm.checkpoint)
        taken = _take_checkpoint(model, tensors)
    else:
        taken = _take_keras_file(model, warm)
    if not taken.taken:
        raise ModelError(
            f"train.warm_start: no variable of {warm.described} has a name and shape that the "
            f"builder's model has ({_named(taken.missing or taken.other_shape)}); name the layers "
            "alike, or leave warm_start out."
        )
    return _sentence(warm, taken)


@contextmanager
def held(warm: WarmStart | None) -> Iterator[None]:
    """Hold the checkpoint of another run until this one's workers have read it, for an hour.

    That run may still be training, and remove what is no longer one of its last.

    Raises:
        NotFoundError: It was removed already.
    """
    if warm is None or warm.checkpoint is None:
        yield
        return
    with reading(warm.store, warm.checkpoint, reader="warm start"):
        yield


def _checkpoint_of(store: Store, source: RunCheckpoint, *, own_run: str) -> WarmStart:
    if source.run == own_run:
        raise DataError(
            f"train.warm_start: run {source.run!r} is this run itself, which continues anyway; "
            "name a new run with --set train.run=NAME."
        )
    checkpoints = list_checkpoints(store, source.run)
    found = [c for c in checkpoints if source.step in (None, c.step)]
    if not found:
        steps = ", ".join(str(c.step) for c in checkpoints)
        have = f"it has those of steps {steps}" if steps else "it has none"
        at = "" if source.step is None else f" of step {source.step}"
        raise NotFoundError(
            f"train.warm_start: run {source.run!r} has no checkpoint{at} in {store.uri}; {have}."
        )
    described = f"step {found[-1].step} of run {source.run!r}"
    return WarmStart(described, store, checkpoint=found[-1])


def _take_keras_file(model: Any, warm: WarmStart) -> Taken:
    if warm.sha256 is None:
        data = warm.store.read(warm.key)
    else:
        data = read_verified(warm.store, warm.key, sha256=warm.sha256)
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder, "own.weights.h5")
        model.save_weights(own)
        taken = take_keras_weights(data, own, where=warm.store.uri_of(warm.key))
        model.load_weights(own)
    return taken


def _take_checkpoint(model: Any, tensors: dict[str, Any]) -> Taken:
    """By path; of several variables of one path, the first takes the first."""
    saved: dict[str, list[Any]] = {}
    for name in sorted(tensors):
        if name.startswith(MODEL_PREFIX):
            path = name.removeprefix(MODEL_PREFIX).partition("/")[2]
            saved.setdefault(path, []).append(tensors[name])
    taken, missing, other_shape = [], [], []
    for variable in model.variables:
        found = saved.get(variable.path)
        if not found:
            missing.append(variable.path)
            continue
        array = found.pop(0)
        if tuple(array.shape) == tuple(variable.shape):
            variable.assign(array)
            taken.append(variable.path)
        else:
            other_shape.append(variable.path)
    return Taken(tuple(taken), tuple(missing), tuple(other_shape))


def _sentence(warm: WarmStart, taken: Taken) -> str:
    total = len(taken.taken) + len(taken.missing) + len(taken.other_shape)
    parts = [f"warm start: {len(taken.taken)} of {total} variables from {warm.described}"]
    if taken.missing:
        parts.append(f"not in it: {_named(taken.missing)}")
    if taken.other_shape:
        parts.append(f"of another shape there: {_named(taken.other_shape)}")
    return "; ".join(parts)


def _named(names: Sequence[str]) -> str:
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
