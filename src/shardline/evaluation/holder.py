"""A registered version on the rows that another was evaluated on, so that a gate can compare them.

The version's SavedModel answers, as it does for its callers, and the metrics are those that the
spec's builder compiles now: both versions are measured by the same loss and metrics. Nothing of the
version is built anew, so its run, its checkpoints and its code need not be there any more.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from shardline.artifacts.candidate import recipe_digest
from shardline.artifacts.clock import Clock, unix_clock
from shardline.artifacts.evaluation import held_out_split
from shardline.artifacts.figures import figures
from shardline.artifacts.gate import rows_in_words
from shardline.artifacts.manifest import MODELS_FOLDER, ModelManifest
from shardline.artifacts.predictor import Predictor, load_predictor
from shardline.artifacts.saved_model import answers_by_name
from shardline.cluster.tasks import run_on_worker
from shardline.data.manifest import DatasetManifest, load_dataset
from shardline.errors import GateError, NotFoundError
from shardline.evaluation.worker import Batch, split_batches
from shardline.model.builder import build_model, model_arguments
from shardline.model.code import ModelCode
from shardline.spec import Spec
from shardline.spec.data import SplitName
from shardline.store import Marker, Store, dump_marker, read_marker

Arrange = Callable[[Mapping[str, Any]], Any]
RunMeasuring = Callable[..., "VersionEvaluation"]
"""Calls its first argument with the others where TensorFlow may be imported."""


class VersionEvaluation(Marker):
    """Metrics of a registered version over every row of a split that it was not exported with."""

    model: str
    version: int
    dataset: str
    dataset_version: str
    split: SplitName
    rows: int
    code_digest: str
    """The builder's code, which compiles the metrics."""
    metrics: dict[str, float]
    created_unix_s: float


def measure_version(
    store: Store,
    spec: Spec,
    code: ModelCode,
    holder: ModelManifest,
    candidate: ModelManifest,
    *,
    run: RunMeasuring = run_on_worker,
) -> Mapping[str, float]:
    """Metrics of `holder` on the rows that `candidate` was evaluated on.

    Raises:
        GateError: They cannot be compared: other code, other classes, other columns.
    """
    lineage = candidate.lineage
    dataset = load_dataset(store, lineage.dataset, lineage.dataset_version)
    split = candidate.evaluated_split or held_out_split(dataset)
    if split is None or not candidate.metrics:
        raise GateError(f"there is nothing to compare with: {rows_in_words(candidate)}.")
    if code.digest != lineage.code_digest or recipe_digest(spec) != lineage.recipe_digest:
        raise GateError(
            f"version {candidate.version} of model {candidate.name!r} was made with other model "
            "code or model.params than the spec's now, so its metrics may mean something else; "
            "promote it with the spec and code that made it."
        )
    _check_comparable(holder, dataset)
    key = _key(holder, dataset, split, code, spec)
    try:
        return read_marker(store, key, VersionEvaluation).metrics
    except NotFoundError:
        return run(evaluate_version, store, spec, code, holder, (dataset, split)).metrics


def evaluate_version(
    store: Store,
    spec: Spec,
    code: ModelCode,
    holder: ModelManifest,
    rows: tuple[DatasetManifest, SplitName],
    *,
    clock: Clock = unix_clock,
) -> VersionEvaluation:
    """Measure a version on every row of a split and keep the result beside the model.

    Raises:
        GateError: The builder's metrics cannot be taken of another model's answers.
    """
    dataset, split = rows
    model = build_model(code, spec, dataset)
    _check_measurable(model)
    with tempfile.TemporaryDirectory() as cache:
        predictor = load_predictor(store, holder.name, holder.version, cache_dir=Path(cache))
        columns = {column.name: column for column in dataset.columns.features}
        wanted = [*columns.values(), dataset.columns.label]
        batches = split_batches(store, dataset, split, wanted, batch_rows=spec.score.batch)
        logs = _measured(model, predictor, batches, dataset.columns.label.name)
    evaluation = VersionEvaluation(
        model=holder.name,
        version=holder.version,
        dataset=dataset.name,
        dataset_version=dataset.version,
        split=split,
        rows=dataset.split(split).rows,
        code_digest=code.digest,
        metrics=figures(logs),
        created_unix_s=clock(),
    )
    store.write(_key(holder, dataset, split, code, spec), dump_marker(evaluation))
    return evaluation


def _measured(
    model: Any, predictor: Predictor, batches: Iterable[Batch], label: str
) -> dict[str, Any]:
    """The model's loss and metrics of the predictor's answers, over all rows.

    Without the loss where the model adds losses of its own (regularizers, `add_loss`): those are of
    its own weights and answers, and evaluations of such models have them in the loss.
    """
    import keras

    model.reset_metrics()
    mean_loss = keras.metrics.Mean()
    arranged: Arrange | None = None
    logs: dict[str, Any] = {}
    for batch in batches:
        y = keras.ops.convert_to_tensor(batch.pop(label))
        x = model_arguments(model, _tensors(batch))
        if arranged is None:
            arranged = _arrangement(model, model(x, training=False), predictor.manifest)
        answers = arranged(predictor.predict(batch))
        of_batch = model.compute_loss(x=x, y=y, y_pred=answers, training=False)
        mean_loss.update_state(of_batch, sample_weight=len(y))
        logs = model.compute_metrics(x, y, answers, None)
    # Asked last: some layers add losses only once they are called.
    loss = {} if model.losses else {"loss": float(mean_loss.result())}
    return {name: value for name, value in logs.items() if name != "loss"} | loss


def _tensors(batch: Batch) -> dict[str, Any]:
    import tensorflow as tf

    return {
        name: tf.constant(array.tolist() if array.dtype == object else array)
        for name, array in batch.items()
    }


def _arrangement(model: Any, own: Any, held: ModelManifest) -> Arrange:
    """How answers by name become what the metrics are taken of, the form of the model's own."""
    import keras

    there = [column.name for column in held.outputs]
    names = list(answers_by_name(model, own))
    if len(names) == 1 and names[0] not in there:
        names = there[:1]  # layers may be called otherwise; a class's name comes second
    missing = [name for name in names if name not in there]
    if missing:
        raise GateError(
            f"version {held.version} of model {held.name!r} has no output {missing[0]!r}, which "
            f"the spec's metrics are taken of; it has {', '.join(there)}."
        )

    def arranged(answers: Mapping[str, Any]) -> Any:
        tensors = [keras.ops.convert_to_tensor(answers[name]) for name in names]
        if isinstance(own, dict):
            return dict(zip(names, tensors, strict=True))
        return tensors if isinstance(own, list | tuple) else tensors[0]

    return arranged


def _check_comparable(holder: ModelManifest, dataset: DatasetManifest) -> None:
    label = dataset.columns.label
    if (holder.label.name, holder.label.vocabulary) != (label.name, label.vocabulary):
        raise GateError(
            f"version {holder.version} of model {holder.name!r}, which holds the alias, learned "
            f"other classes than {dataset.name}/{dataset.version} has, so no metric compares them; "
            "leave max_regression out for this promotion."
        )
    features = {column.name: column for column in dataset.columns.features}
    for wanted in holder.inputs:
        found = features.get(wanted.name)
        if found is None or (found.dtype, found.shape) != (wanted.dtype, wanted.shape):
            raise GateError(
                f"version {holder.version} of model {holder.name!r}, which holds the alias, takes "
                f"{wanted.name!r} as {wanted.dtype}{list(wanted.shape)}, which "
                f"{dataset.name}/{dataset.version} does not have; leave max_regression out for "
                "this promotion."
            )


def _check_measurable(model: Any) -> None:
    import keras

    if type(model).test_step is not keras.Model.test_step:
        raise GateError(
            "the model has a test_step of its own, so its metrics cannot be taken of another "
            "model's answers; evaluate both versions on one dataset version and with one code and "
            "model.params, or leave max_regression out."
        )


def _key(
    holder: ModelManifest, dataset: DatasetManifest, split: SplitName, code: ModelCode, spec: Spec
) -> str:
    measured_by = hashlib.sha256(f"{code.digest} {recipe_digest(spec)}".encode()).hexdigest()[:12]
    rows = f"{dataset.name}-{dataset.version}-{split}"
    return (
        f"{MODELS_FOLDER}/{holder.name}/evaluations/{holder.version}-on-{rows}-{measured_by}.json"
    )
