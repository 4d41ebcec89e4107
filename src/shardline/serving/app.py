"""The Ray Serve deployment: one replica loads one model version, warms it up and answers HTTP."""

import asyncio
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shardline.artifacts.manifest import ModelManifest
from shardline.artifacts.predictor import Predictor, load_predictor
from shardline.errors import ServingError
from shardline.serving.asgi import Limits, ModelApp, largest_body_bytes
from shardline.serving.batcher import Batcher
from shardline.serving.ray_internals import bind_to_node_address
from shardline.spec.output import ServeSpec
from shardline.store import Store

# A model that has not finished one batch in this time is taken for hung and its replica replaced.
_HUNG_AFTER_S = 120.0
REPLICA_CPUS = 1.0
_HAPROXY_CONNECTIONS = 4096

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Serving:
    """What a replica serves and how."""

    store: Store
    model: str
    version: int
    serve: ServeSpec


class ModelReplica:
    """One process with one loaded model; Ray Serve calls the methods."""

    def __init__(self, serving: Serving) -> None:
        bind_to_node_address()
        serve = serving.serve
        # TensorFlow holds everything in memory once it is loaded and warm.
        with tempfile.TemporaryDirectory(prefix="shardline-model-") as folder:
            predictor = load_predictor(
                serving.store, serving.model, serving.version, cache_dir=Path(folder)
            )
            warm_up(predictor, max_batch=serve.max_batch)
        self._manifest = predictor.manifest
        self._batcher = Batcher(
            predictor.predict, max_batch=serve.max_batch, max_queue=serve.max_queue
        )
        self._limits = Limits(
            max_rows=serve.max_batch,
            timeout_s=serve.timeout_ms / 1000,
            max_body_bytes=largest_body_bytes(self._manifest.inputs, max_rows=serve.max_batch),
        )

    def __serve_build_asgi_app__(self) -> ModelApp:
        """Ray Serve's hook for an application that needs the constructor to have run."""
        return ModelApp(self._manifest, self._batcher, self._limits)

    async def check_health(self) -> None:
        """Called by Ray Serve; raising has the replica replaced."""
        busy_s = self._batcher.busy_s(asyncio.get_running_loop().time())
        if busy_s > _HUNG_AFTER_S:
            raise ServingError(
                f"model {self._manifest.name!r} has been on one batch for {busy_s:.0f} s; "
                "the replica is replaced."
            )


def warm_up(predictor: Predictor, *, max_batch: int) -> None:
    """Trace and allocate before the first request: one row, then the largest batch."""
    for num_rows in (1, max_batch):
        try:
            predictor.predict(zero_rows(predictor.manifest, num_rows))
        except Exception:  # boundary: a model may refuse zeros and still answer real rows
            logger.warning(
                "model %s could not answer %d rows of zeros; its first requests will be slower.",
                predictor.manifest.name,
                num_rows,
                exc_info=True,
            )


def zero_rows(manifest: ModelManifest, num_rows: int) -> dict[str, "np.ndarray[Any, Any]"]:
    """Rows of zeros and empty strings in the shape the model takes."""
    return {
        column.name: np.full(
            (num_rows, *(column.shape or (1,))),
            "" if column.dtype == "string" else 0,
            dtype=column.numpy_dtype,
        )
        for column in manifest.inputs
    }


def build_application(serving: Serving) -> Any:
    """The Ray Serve application of one model version."""
    from ray import serve as ray_serve
    from ray.serve.config import BackpressureConfig

    section = serving.serve
    deployment = ray_serve.deployment(ray_serve.ingress()(ModelReplica)).options(
        name=serving.model,
        num_replicas=section.replicas,
        # The batcher's queue is the limit that clients meet, with a JSON answer. Ray's bounds how
        # many bodies are read at once, and how many clients wait for that: HAProxy's own limit.
        max_ongoing_requests=2 * section.max_queue + 64,
        max_queued_requests=_HAPROXY_CONNECTIONS,
        backpressure_config=BackpressureConfig(status_code=503, retry_after_s=1),
        ray_actor_options={"num_cpus": REPLICA_CPUS},
        max_constructor_retry_count=1,
        graceful_shutdown_wait_loop_s=0.5,
    )
    return deployment.bind(serving)
