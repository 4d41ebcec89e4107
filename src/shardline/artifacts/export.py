"""Checkpoint to model version: built, frozen, proven equal and published, in that order."""

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

from shardline.artifacts.answers import Answering, answering, measured_slices
from shardline.artifacts.candidate import Candidate, RestoredModel, restored_model
from shardline.artifacts.card import CARD_FILE, CardFacts, model_card
from shardline.artifacts.clock import Clock, unix_clock
from shardline.artifacts.evaluation import EvaluationManifest, find_evaluation
from shardline.artifacts.example import example_row
from shardline.artifacts.facts import data_facts, lineage_of, seen_values
from shardline.artifacts.golden import TrialRows, golden_rows, read_trial_rows
from shardline.artifacts.manifest import ModelManifest
from shardline.artifacts.own_objects import own_objects
from shardline.artifacts.parity import (
    CleanProcess,
    clean_process,
    compare,
    read_arrays,
    write_arrays,
)
from shardline.artifacts.predictor import KERAS_FILE
from shardline.artifacts.registry import claim_version, find_export, publish
from shardline.artifacts.safety import check_saved_model
from shardline.artifacts.saved_model import SavedSignature, write_saved_model
from shardline.data.schema import Label
from shardline.errors import ModelError, UnsafeModelError
from shardline.store import Store


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


@dataclass(frozen=True)
class _Proven:
    """A model whose frozen form answers as it does."""

    signature: SavedSignature
    answer: Answering
    rows: TrialRows
    parity: float


def export_version(candidate: Candidate, *, clock: Clock = unix_clock) -> ExportResult:
    """Publish a checkpoint as a model version; the same one again if it is there already.

    Raises:
        ModelError: The builder's model cannot be frozen.
        ParityError: The frozen model does not answer as the model in memory does.
    """
    store, name, evaluation = candidate.store, candidate.spec.model_name, _evaluation(candidate)
    metrics = dict(evaluation.metrics) if evaluation else {}
    existing = find_export(store, name, lineage=lineage_of(candidate), metrics=metrics)
    if existing is not None:
        return _result(store, existing, reused=True)
    with clean_process() as process, tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "model")
        proven = _proven(candidate, folder, process)
        described = _description(candidate, proven, evaluation, clock)
        own = own_objects(folder / KERAS_FILE, home=candidate.code.builder.partition(":")[0])
        card = model_card(CardFacts(described, data_facts(store, candidate.dataset), own))
        (folder / CARD_FILE).write_text(card, encoding="utf-8")
        manifest = described.model_copy(update={"files": _digests(folder)})
        publish(store, manifest, folder)
    return _result(store, manifest, reused=False)


def _proven(candidate: Candidate, folder: Path, process: CleanProcess) -> _Proven:
    restored, label = restored_model(candidate), candidate.dataset.columns.label
    signature = freeze_model(restored, folder, label)
    rows = read_trial_rows(candidate.store, candidate.dataset, restored.inputs)
    chosen = golden_rows(rows.columns)
    # Both sides get what the file gives back, so that no difference lies in how rows travel.
    golden = process.folder / "golden.npz"
    write_arrays(golden, {c.name: rows.columns[c.name][chosen] for c in restored.inputs})
    sent = read_arrays(golden)
    answer = answering(restored, label)
    answer(sent)  # what is random begins alike in both processes, and shows from the second call on
    parity = compare(answer(sent), process.answers(folder, sent))
    return _Proven(signature, answer, rows, parity)


def _description(
    candidate: Candidate, proven: _Proven, evaluation: EvaluationManifest | None, clock: Clock
) -> ModelManifest:
    """The version's manifest but for its files; claims a version number."""
    dataset, inputs = candidate.dataset, proven.signature.inputs
    label = dataset.columns.label
    features = {column.name: column for column in dataset.columns.features}
    slices = measured_slices(proven.answer, proven.rows, label, inputs, clock=clock)
    return ModelManifest(
        name=candidate.spec.model_name,
        version=claim_version(candidate.store, candidate.spec.model_name),
        created_unix_s=clock(),
        inputs=inputs,
        outputs=proven.signature.outputs,
        label=label,
        metrics=dict(evaluation.metrics) if evaluation else {},
        evaluated_split=evaluation.split if evaluation else None,
        evaluated_rows=evaluation.rows if evaluation else None,
        parity_max_abs_error=proven.parity,
        lineage=lineage_of(candidate),
        spec=candidate.spec.model_dump(mode="json"),
        seen=seen_values(dataset, inputs),
        slices=slices,
        example=example_row(proven.rows.columns, inputs, features),
        files={},
    )


def freeze_model(restored: RestoredModel, folder: Path, label: Label) -> SavedSignature:
    """Write a model's SavedModel and its `.keras` file into a folder.

    Raises:
        ModelError: It cannot be saved, or would need this process's files or code.
    """
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


def _evaluation(candidate: Candidate) -> EvaluationManifest | None:
    return find_evaluation(
        candidate.store,
        candidate.checkpoint,
        candidate.dataset,
        builder_digest=candidate.builder_digest,
    )


def _digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): _sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _result(store: Store, manifest: ModelManifest, *, reused: bool) -> ExportResult:
    return ExportResult(
        model=manifest.name,
        version=manifest.version,
        uri=store.uri_of(manifest.folder),
        parity=manifest.parity_max_abs_error,
        alias=None,
        reused=reused,
    )
