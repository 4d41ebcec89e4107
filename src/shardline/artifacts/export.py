"""Checkpoint to model version: built, frozen, proven equal and published, in that order."""

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any

from shardline.artifacts.candidate import Candidate, RestoredModel, recipe_digest, restored_model
from shardline.artifacts.clock import Clock, unix_clock
from shardline.artifacts.evaluation import HELD_OUT, find_evaluation
from shardline.artifacts.manifest import Lineage, ModelManifest
from shardline.artifacts.parity import (
    CleanProcess,
    clean_process,
    compare,
    decoded,
    read_arrays,
    write_arrays,
)
from shardline.artifacts.predictor import KERAS_FILE
from shardline.artifacts.registry import claim_version, find_export, publish
from shardline.artifacts.safety import check_saved_model
from shardline.artifacts.saved_model import SavedSignature, named_answers, write_saved_model
from shardline.data.batches import read_block
from shardline.data.manifest import DatasetManifest
from shardline.data.schema import Column, Label
from shardline.errors import ModelError, UnsafeModelError
from shardline.store import Store

MAX_GOLDEN_ROWS = 64
LIBRARIES = ("shardline", "keras", "tensorflow", "numpy")


@dataclass(frozen=True)
class ExportResult:
    """What `export` did."""

    model: str
    version: int
    uri: str
    parity: float
    """Largest deviation between the model in memory and the exported one."""
    alias: str | None
    """Alias that points to the version now."""
    reused: bool
    """Whether the version existed already."""


def export_version(candidate: Candidate, *, clock: Clock = unix_clock) -> ExportResult:
    """Publish a checkpoint as a model version; the same one again if it is there already.

    Raises:
        ModelError: The builder's model cannot be frozen.
        ParityError: The frozen model does not answer as the model in memory does.
    """
    name, lineage, metrics = candidate.spec.model_name, _lineage(candidate), _metrics(candidate)
    existing = find_export(candidate.store, name, lineage=lineage, metrics=metrics)
    if existing is not None:
        return _result(candidate.store, existing, reused=True)
    with clean_process() as process, tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "model")
        restored = restored_model(candidate)
        signature = _freeze(restored, folder, candidate.dataset.columns.label)
        parity = _prove_parity(restored, folder, candidate, process)
        manifest = ModelManifest(
            name=name,
            version=claim_version(candidate.store, name),
            created_unix_s=clock(),
            inputs=signature.inputs,
            outputs=signature.outputs,
            label=candidate.dataset.columns.label,
            metrics=metrics,
            parity_max_abs_error=parity,
            lineage=lineage,
            files=_digests(folder),
        )
        publish(candidate.store, manifest, folder)
    return _result(candidate.store, manifest, reused=False)


def golden_columns(
    store: Store, dataset: DatasetManifest, inputs: tuple[Column, ...]
) -> Mapping[str, Any]:
    """Up to 64 rows to compare answers on: held-out ones where there are any."""
    split = next(name for name in (*HELD_OUT, "train") if dataset.split(name).rows)
    num_rows = min(MAX_GOLDEN_ROWS, dataset.split(split).rows)
    return read_block(store, dataset, split, rows=(0, num_rows), columns=inputs).columns


def _freeze(restored: RestoredModel, folder: Path, label: Label) -> SavedSignature:
    try:
        signature = write_saved_model(restored.model, folder, inputs=restored.inputs, label=label)
        restored.model.save(folder / KERAS_FILE)
    except ModelError:
        raise
    except Exception as error:  # the user's layers run here and may raise anything
        raise ModelError(
            f"the model cannot be saved: {type(error).__name__}: {error}; "
            "give its own layers a get_config and keep Python side effects out of call."
        ) from error
    try:
        check_saved_model(folder, called="the model")
    except UnsafeModelError as error:
        raise ModelError(error.message) from error
    return signature


def _prove_parity(
    restored: RestoredModel, folder: Path, candidate: Candidate, process: CleanProcess
) -> float:
    import tensorflow as tf

    # Both sides get what the file gives back, so that no difference lies in how rows travel.
    golden = process.folder / "golden.npz"
    write_arrays(golden, golden_columns(candidate.store, candidate.dataset, restored.inputs))
    rows = read_arrays(golden)
    tensors = {
        column.name: tf.constant(rows[column.name], column.tensor_dtype)
        for column in restored.inputs
    }
    answers = named_answers(restored.model, tensors, candidate.dataset.columns.label)
    expected = {name: decoded(tf.convert_to_tensor(a).numpy()) for name, a in answers.items()}
    return compare(expected, process.answers(folder, rows))


def _lineage(candidate: Candidate) -> Lineage:
    return Lineage(
        dataset=candidate.dataset.name,
        dataset_version=candidate.dataset.version,
        run=candidate.checkpoint.run,
        step=candidate.checkpoint.step,
        checkpoint_digest=candidate.checkpoint.digest,
        spec_digest=candidate.spec.digest,
        recipe_digest=recipe_digest(candidate.spec),
        code_digest=candidate.code.digest,
        libraries={name: library_version(name) for name in LIBRARIES},
    )


def _metrics(candidate: Candidate) -> dict[str, float]:
    found = find_evaluation(
        candidate.store,
        candidate.checkpoint,
        candidate.dataset,
        builder_digest=candidate.builder_digest,
    )
    return dict(found.metrics) if found else {}


def _digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _result(store: Store, manifest: ModelManifest, *, reused: bool) -> ExportResult:
    return ExportResult(
        model=manifest.name,
        version=manifest.version,
        uri=store.uri_of(manifest.folder),
        parity=manifest.parity_max_abs_error,
        alias=None,
        reused=reused,
    )
