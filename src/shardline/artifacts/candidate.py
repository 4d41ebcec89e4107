"""A checkpoint with everything that its model is rebuilt from: what is evaluated and exported."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from shardline.artifacts.checkpoint import (
    CheckpointManifest,
    find_checkpoint,
    read_tensors,
)
from shardline.artifacts.checkpoint_reading import chosen, reading
from shardline.artifacts.variables import restore_weights
from shardline.data.manifest import DatasetManifest, load_dataset
from shardline.data.schema import Column
from shardline.model.builder import build_model, model_inputs
from shardline.model.code import ModelCode
from shardline.spec import Spec
from shardline.store import Store


@dataclass(frozen=True)
class Candidate:
    """One checkpoint of a run, and the code, spec and dataset that it was trained with."""

    store: Store
    spec: Spec
    code: ModelCode
    dataset: DatasetManifest
    checkpoint: CheckpointManifest

    @property
    def builder_digest(self) -> str:
        """Sha256 of what turns weights into answers and metrics: the code and its parameters."""
        return hashlib.sha256(f"{self.code.digest} {recipe_digest(self.spec)}".encode()).hexdigest()


@dataclass(frozen=True)
class RestoredModel:
    """A model in memory with the weights of a checkpoint."""

    model: Any
    """The user's compiled `keras.Model`."""
    inputs: tuple[Column, ...]
    """The columns it takes."""


def recipe_digest(spec: Spec) -> str:
    """Sha256 of what the spec adds to checkpoint, code and dataset: parameters and dtype policy."""
    return recipe_digest_of(spec.model_dump(mode="json"))


def recipe_digest_of(resolved: Mapping[str, Any]) -> str:
    """The same of a resolved spec as artifacts keep it."""
    section = dict(resolved.get("model", {}))
    mixed_precision = resolved.get("train", {}).get("mixed_precision", "float32")
    if mixed_precision != "float32":
        section["mixed_precision"] = mixed_precision
    return hashlib.sha256(json.dumps(section, sort_keys=True).encode()).hexdigest()


def find_candidate(
    store: Store, spec: Spec, code: ModelCode, *, step: int | None = None
) -> Candidate:
    """The run's checkpoint of a step; left out, its best by `train.checkpoint.monitor`, or last.

    Raises:
        NotFoundError: The run has no such checkpoint.
    """
    monitor = spec.train.checkpoint.monitor
    checkpoint = find_checkpoint(store, spec.run_name, monitor=monitor, step=step)
    dataset = load_dataset(store, checkpoint.dataset, checkpoint.dataset_version)
    return Candidate(store=store, spec=spec, code=code, dataset=dataset, checkpoint=checkpoint)


@contextmanager
def held_candidate(
    store: Store, spec: Spec, code: ModelCode, *, reader: str, step: int | None = None
) -> Iterator[Candidate]:
    """What `find_candidate` finds, held: its files stay until a worker has read them.

    Raises:
        NotFoundError: The run has no such checkpoint.
    """
    found: list[Candidate] = []

    def choose() -> CheckpointManifest:
        found.append(find_candidate(store, spec, code, step=step))
        return found[-1].checkpoint

    with chosen(store, choose, reader=reader):
        yield found[-1]


def restored_model(candidate: Candidate) -> RestoredModel:
    """Build the candidate's model and give it the checkpoint's weights.

    Raises:
        ModelError: The builder fails.
        NotFoundError: The checkpoint was removed meanwhile.
        IntegrityError: It is damaged or belongs to another builder.
    """
    model = build_model(candidate.code, candidate.spec, candidate.dataset)
    with reading(candidate.store, candidate.checkpoint, reader="restore"):
        tensors = read_tensors(candidate.store, candidate.checkpoint)
    restore_weights(model, tensors)
    return RestoredModel(model, model_inputs(model, candidate.dataset))
