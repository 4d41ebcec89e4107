"""The line's verbs as Python functions: spec in, small frozen result out.

Each can be called alone, in any process, as often as one likes: what is done already is found in
the store and not done again. Inside `with session():` all of them share one Ray.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from shardline.artifacts.aliases import AliasRecord
from shardline.artifacts.author import current_author
from shardline.artifacts.export import ExportResult
from shardline.artifacts.manifest import ModelManifest
from shardline.artifacts.registry import resolve
from shardline.artifacts.release import Gate, Measure, alias_of, export_run, promote_version
from shardline.artifacts.rollback import roll_back
from shardline.cluster.session import session
from shardline.cluster.tasks import run_on_worker
from shardline.data.manifest import load_dataset, make_current
from shardline.data.prepare import PrepareResult, prepare_dataset
from shardline.data.sources import list_source
from shardline.evaluation.driver import EvaluateResult, evaluate_run
from shardline.evaluation.holder import measure_version
from shardline.model.code import collect_code
from shardline.progress import show_progress
from shardline.scoring.driver import ScoreResult, plan_job, run_plan
from shardline.serving.endpoint import Endpoint, check_endpoint, start_endpoint
from shardline.spec import Spec
from shardline.store import Store, open_store
from shardline.training.class_weights import check_class_weight
from shardline.training.driver import TrainResult, train_model
from shardline.training.journal.mlflow_log import check_mlflow
from shardline.training.task import WorkerTask
from shardline.training.warm_start import find_warm_start


@dataclass(frozen=True)
class ValidateResult:
    """A spec that can be run."""

    name: str
    store: str
    source_files: int
    builder: str
    spec_digest: str


@dataclass(frozen=True)
class PromoteResult:
    """Where an alias points now."""

    model: str
    alias: str
    version: int


@dataclass(frozen=True)
class RunResult:
    """The whole line, up to the alias."""

    prepare: PrepareResult
    train: TrainResult
    evaluate: EvaluateResult | None
    """None when the split rule holds no rows out."""
    export: ExportResult


def validate(spec: Spec) -> ValidateResult:
    """Check what can be checked without Ray: the source's files and the builder's code.

    Raises:
        InputError: One of them is missing or malformed.
    """
    spec = spec.located()
    files = list_source(spec.data.source, base=spec.base)
    code = collect_code(spec)
    return ValidateResult(
        name=spec.name,
        store=spec.store,
        source_files=len(files.files),
        builder=code.builder,
        spec_digest=spec.digest,
    )


def prepare(spec: Spec) -> PrepareResult:
    """Turn the raw source into a dataset version, or find the one that it is already.

    Raises:
        DataError: The source cannot become a dataset.
        StoreError: The store cannot be written.
    """
    spec = spec.located()
    store = open_store(spec.store)
    with show_progress("prepare", unit="rows") as progress:
        result = prepare_dataset(spec, store=store, clock=time.time, progress=progress)
    make_current(store, result.dataset, result.version)
    return result


def train(spec: Spec, *, address: str | None = None, restart: bool = False) -> TrainResult:
    """Train on the dataset prepared last, continuing the run if it has checkpoints.

    Args:
        spec: The line.
        address: A running Ray cluster; left out, `RAY_ADDRESS` or a Ray of this process's own.
        restart: Discard the run's checkpoints first, once everything is known to fit.

    Raises:
        InputError: Dataset, builder, spec or cluster do not fit together.
        TrainingError: The workers failed more often than `train.max_failures` allows.
    """
    spec = spec.located()
    store = open_store(spec.store)
    dataset = load_dataset(store, spec.name)
    check_class_weight(spec.train, dataset.columns.label)
    check_mlflow()
    warm_start = find_warm_start(store, spec, restart=restart)
    task = WorkerTask(spec, dataset, collect_code(spec), warm_start)
    with session(address=address), show_progress("train", unit="rows") as progress:
        return train_model(task, store=store, progress=progress, restart=restart)


def evaluate(spec: Spec, *, address: str | None = None, step: int | None = None) -> EvaluateResult:
    """Measure a checkpoint of the run on every row of the held-out split.

    Args:
        spec: The line.
        address: A running Ray cluster; left out, `RAY_ADDRESS` or a Ray of this process's own.
        step: Of the checkpoint; left out, the best by `train.checkpoint.monitor`, or the last.

    Raises:
        NotFoundError: The run has no such checkpoint.
        DataError: No rows are held out.
    """
    spec = spec.located()
    store, code = open_store(spec.store), collect_code(spec)
    return evaluate_run(store, spec, code, run=_on_worker(address), step=step)


def export(spec: Spec, *, address: str | None = None, step: int | None = None) -> ExportResult:
    """Freeze a checkpoint of the run into a model version; move the spec's alias to it.

    Args:
        spec: The line.
        address: A running Ray cluster; left out, `RAY_ADDRESS` or a Ray of this process's own.
        step: Of the checkpoint; left out, the best by `train.checkpoint.monitor`, or the last.

    Raises:
        NotFoundError: The run has no such checkpoint.
        ParityError: The frozen model answers differently; there is no version.
        GateError: The version exists, but does not pass the gate; the alias stays.
    """
    spec = spec.located()
    store, code = open_store(spec.store), collect_code(spec)
    measure = _measure(store, spec, address)
    return export_run(store, spec, code, run=_on_worker(address), step=step, measure=measure)


def promote(
    spec: Spec,
    *,
    version: int | None = None,
    alias: str | None = None,
    why: str = "promoted",
    address: str | None = None,
) -> PromoteResult:
    """Move an alias (the spec's) to a version (the newest) that passes the spec's gate.

    Args:
        spec: The line.
        version: Which version.
        alias: Which alias.
        why: For the alias's history.
        address: A running Ray cluster, should the holder of the alias have to be evaluated.

    Raises:
        NotFoundError: There is no such version.
        GateError: It does not pass, or cannot be compared with the version that holds the alias.
    """
    spec = spec.located()
    store = open_store(spec.store)
    gate = Gate(spec.export.gate, _measure(store, spec, address))
    record = promote_version(store, spec, gate, version=version, alias=alias, why=why)
    return _promoted(record)


def rollback(
    spec: Spec, *, to: int | None = None, alias: str | None = None, why: str = "rolled back"
) -> PromoteResult:
    """Move an alias (the spec's) back to the version that held it before, without a gate.

    What was rolled back is not gone back to: after promotions of 1, 2 and 3, two rollbacks lead
    to 1.

    Args:
        spec: The line.
        to: An earlier holder; left out, the one before the current.
        alias: Which alias.
        why: For the alias's history.

    Raises:
        NotFoundError: The alias has held no such version, or the version is gone.
        ConflictError: Somebody else has moved the alias meanwhile.
    """
    spec = spec.located()
    record = roll_back(
        open_store(spec.store),
        spec.model_name,
        alias_of(spec, alias),
        to=to,
        why=why,
        author=current_author(),
    )
    return _promoted(record)


def score(spec: Spec, *, address: str | None = None) -> ScoreResult:
    """Score files in bulk with the model version behind the spec's alias.

    Raises:
        InputError: There is no such model, the input does not fit it, or more of its rows were
            rejected than `score.max_rejected` allows.
    """
    spec = spec.located()
    store = open_store(spec.store)
    model = resolve(store, spec.model_name, alias=spec.export.alias)
    plan = plan_job(spec, store=store, model=model)
    with ExitStack() as stack:
        if not plan.done:
            stack.enter_context(session(address=address))
        return run_plan(plan, progress=stack.enter_context(show_progress("score", unit="rows")))


def run(spec: Spec, *, address: str | None = None) -> RunResult:
    """The whole line up to the alias: prepare, train, evaluate, export, on one Ray session."""
    spec = spec.located()
    validate(spec)
    open_store(spec.store)
    prepared = prepare(spec)
    with session(address=address):
        trained = train(spec)
        holds_out = any(prepared.splits.get(name) for name in ("test", "validation"))
        evaluated = evaluate(spec) if holds_out else None
        return RunResult(prepared, trained, evaluated, export(spec))


@contextmanager
def serve(spec: Spec, *, address: str | None = None) -> Iterator[Endpoint]:
    """Answer HTTP requests with the model version behind the spec's alias, inside the block.

    Raises:
        InputError: There is no such model, or the port is taken; nothing has started.
        ServingError: The endpoint did not come up.
    """
    spec = spec.located()
    store = open_store(spec.store)
    manifest = resolve(store, spec.model_name, alias=spec.export.alias)
    section = check_endpoint(spec.serve)
    with (
        session(address=address),
        start_endpoint(store, section, model=manifest.name, version=manifest.version) as endpoint,
    ):
        yield endpoint


def wait_for_signal() -> None:
    """Block the main thread until SIGINT or SIGTERM."""
    stop = threading.Event()
    watched = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, lambda *_: stop.set()) for number in watched}
    try:
        stop.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _promoted(record: AliasRecord) -> PromoteResult:
    return PromoteResult(record.model, record.alias, record.history[-1].to_version)


def _measure(store: Store, spec: Spec, address: str | None) -> Measure:
    """Evaluates a version by the spec's metrics, on a worker."""

    def measure(holder: ModelManifest, candidate: ModelManifest) -> Mapping[str, float]:
        code = collect_code(spec)
        return measure_version(store, spec, code, holder, candidate, run=_on_worker(address))

    return measure


def _on_worker(address: str | None) -> Callable[..., Any]:
    """Calls functions on a worker; Ray is started only once it comes to that."""

    def run(function: Callable[..., Any], *arguments: Any) -> Any:
        with session(address=address):
            return run_on_worker(function, *arguments)

    return run
