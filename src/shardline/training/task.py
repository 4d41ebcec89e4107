"""What a training is about: all that a worker needs to know."""

from dataclasses import dataclass

from shardline.data.manifest import DatasetManifest
from shardline.model.code import ModelCode
from shardline.spec import Spec
from shardline.training.warm_start import WarmStart


@dataclass(frozen=True)
class WorkerTask:
    """The same on all workers."""

    spec: Spec
    dataset: DatasetManifest
    code: ModelCode
    warm_start: WarmStart | None = None
    """First weights of a run that has no checkpoint yet."""
