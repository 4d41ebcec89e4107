"""Hands a run's epochs to MLflow when `MLFLOW_TRACKING_URI` is set, from the driver.

The journal is what is handed over, so MLflow needs no place on the workers, and what it misses
while its server is away it gets later. A server that fails never stops training.
"""

import json
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

import orjson

from shardline.artifacts.journal import JournalLine, read_journal
from shardline.errors import NotFoundError, SpecError
from shardline.store import Store
from shardline.training.task import WorkerTask

URI_VARIABLE = "MLFLOW_TRACKING_URI"
EXPERIMENT_VARIABLE = "MLFLOW_EXPERIMENT_NAME"
SYNC_INTERVAL_S = 5.0
MAX_METRICS_PER_CALL = 1000
MAX_PARAM_CHARACTERS = 500

logger = logging.getLogger(__name__)


def check_mlflow(environment: Mapping[str, str] = os.environ) -> None:
    """Refuse to train without the logs that were asked for.

    Raises:
        SpecError: The tracking URI is set, but MLflow is not installed.
    """
    if environment.get(URI_VARIABLE) and find_spec("mlflow") is None:
        raise SpecError(
            f"{URI_VARIABLE} is set, but mlflow is not installed: pip install 'shardline[mlflow]', "
            f"or unset {URI_VARIABLE} to train without it."
        )


def mlflow_log(store: Store, task: WorkerTask) -> "MlflowLog | None":
    """The log of a run; None when MLflow is not asked for."""
    uri = os.environ.get(URI_VARIABLE)
    return MlflowLog(store, task, uri=uri) if uri else None


class MlflowLog:
    """One MLflow run for one shardline run, over all commands that continue it.

    Args:
        store: Where the run lives.
        task: What is trained on what.
        uri: Of the tracking server, folder or database.
    """

    def __init__(self, store: Store, task: WorkerTask, *, uri: str) -> None:
        self._store, self._task, self._uri = store, task, uri
        self._key = f"runs/{task.spec.run_name}/mlflow.json"
        self._client: Any = None
        self._run_id = ""
        self._epochs_done = 0
        self._looked_s = 0.0
        self._failed = False

    def __call__(self, ended: str | None = None) -> None:
        """Hand over what is new.

        Args:
            ended: MLflow's word for how training ended; None while it goes on.
        """
        if ended is None and time.monotonic() - self._looked_s < SYNC_INTERVAL_S:
            return
        self._looked_s = time.monotonic()
        try:
            self._sync(ended)
        except Exception as error:  # noqa: BLE001  # the boundary: logging never stops training
            if not self._failed:
                logger.warning("MLflow at %s takes no logs: %s", self._uri, error)
            self._failed = True

    def _sync(self, ended: str | None) -> None:
        if self._client is None:
            self._begin()
        lines = read_journal(self._store, self._task.spec.run_name)
        new = [line for line in lines if line.kind == "epoch" and line.epoch >= self._epochs_done]
        metrics = [metric for line in new for metric in _metrics(line)]
        for start in range(0, len(metrics), MAX_METRICS_PER_CALL):
            self._client.log_batch(
                self._run_id, metrics=metrics[start : start + MAX_METRICS_PER_CALL]
            )
        if new:
            self._epochs_done = new[-1].epoch + 1
            self._remember()
        if ended is not None:
            self._client.set_terminated(self._run_id, status=ended)

    def _begin(self) -> None:
        from mlflow.tracking import MlflowClient

        client = MlflowClient(tracking_uri=self._uri)
        spec = self._task.spec
        try:
            known = json.loads(self._store.read(self._key))
        except (NotFoundError, ValueError):
            known = {}
        if known.get("uri") == self._uri:
            self._run_id, self._epochs_done = known["run_id"], known["epochs_done"]
            client.update_run(self._run_id, status="RUNNING")
        else:
            name = os.environ.get(EXPERIMENT_VARIABLE) or spec.name
            found = client.get_experiment_by_name(name)
            experiment = found.experiment_id if found else client.create_experiment(name)
            created = client.create_run(experiment, tags=self._tags(), run_name=spec.run_name)
            self._run_id = created.info.run_id
            self._remember()  # a parameter that is refused must not begin another run
            for key, value in self._params().items():
                client.log_param(self._run_id, _allowed(key), value)
        self._client = client
        self._remember()

    def _remember(self) -> None:
        known = {"uri": self._uri, "run_id": self._run_id, "epochs_done": self._epochs_done}
        self._store.write(self._key, orjson.dumps(known))

    def _tags(self) -> dict[str, str]:
        dataset = self._task.dataset
        return {
            "shardline.run": self._store.uri_of(f"runs/{self._task.spec.run_name}"),
            "shardline.dataset": dataset.name,
            "shardline.dataset_version": dataset.version,
            "shardline.code_digest": self._task.code.digest,
            "shardline.spec_digest": self._task.spec.digest,
        }

    def _params(self) -> dict[str, str]:
        values = self._task.spec.model_dump(mode="json", include={"model", "train"})
        return dict(_flat(values, ""))


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif value not in (None, [], ()):
            yield f"{prefix}{name}", str(value)[:MAX_PARAM_CHARACTERS]


def _allowed(name: str) -> str:
    """MLflow refuses names with other characters."""
    return re.sub(r"[^/\w.\- ]", "_", name)


def _metrics(line: JournalLine) -> Iterator[Any]:
    from mlflow.entities import Metric

    speeds = {name: getattr(line, name) for name in ("learning_rate", "rows_per_s", "data_wait")}
    when_ms = int((line.unix_s or time.time()) * 1000)
    for name, value in {**speeds, **line.logs}.items():
        if value is not None:
            yield Metric(_allowed(name), value, when_ms, line.epoch)
