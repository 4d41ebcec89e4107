"""Runs a worker group under Ray Train until it is done, however often it must be restarted."""

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.train.v2.api.exceptions import ControllerError, TrainingFailedError, WorkerGroupError

from shardline.cluster.resources import Demand, NodeResources, described, is_own_ray
from shardline.errors import ResourceError, ShardlineError, TrainingError
from shardline.spec import Spec
from shardline.spec.train import TrainSpec, WorkersSpec
from shardline.store import Store
from shardline.training.group.backend import KerasBackendConfig
from shardline.training.group.oversight import Oversight
from shardline.training.group.scaling import FixedHere, FollowNodes, room_for
from shardline.training.stopping.failures import sentence_of, telling
from shardline.training.stopping.requests import STOP_GRACE_S
from shardline.training.task import WorkerTask
from shardline.training.worker import Outcome, train_worker

logger = logging.getLogger(__name__)

# A worker that imports TensorFlow on a busy machine answered nobody for 15 s.
LEAST_SILENCE_S = 120.0
RESIZE_CHECK_INTERVAL_S = 15.0
ELASTIC_START_TIMEOUT_S = 30.0
# Workers of an earlier command are given time to leave before anything is said about waiting.
QUIET_WAIT_S = 3.0
ROOM_TIMEOUT_S = 900.0
ROOM_POLL_S = 0.5
# Beyond the workers' grace: the controller may be in the middle of something.
ABORT_TIMEOUT_S = STOP_GRACE_S + 5.0


def demand(train: TrainSpec, workers: int) -> Demand:
    """What a number of the spec's workers needs."""
    return Demand(workers, train.cpus_per_worker, train.gpus_per_worker)


def wait_for_room(
    wanted: Demand,
    free: Callable[[], Mapping[str, NodeResources]],
    *,
    say: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Wait until workers can start, and say what is waited for.

    Args:
        wanted: The fewest workers that training starts with.
        free: What is not in use, by node id.
        say: Receives one sentence when the wait is more than a moment.
        clock: In seconds.
        sleep: Lets seconds pass.

    Raises:
        ResourceError: Others kept the resources for too long.
    """
    began_s, said = clock(), False
    while (room := room_for(wanted, [*free().values()])) < wanted.workers:
        waited_s = clock() - began_s
        lack = (
            f"train.workers asks for {described(wanted)}, and only {room} "
            f"{'fits' if room == 1 else 'fit'} beside what else runs on the cluster"
        )
        if waited_s >= ROOM_TIMEOUT_S:
            raise ResourceError(
                f"{lack} even after {ROOM_TIMEOUT_S:.0f} s; stop other work, add nodes or lower "
                "train.workers."
            )
        if waited_s >= QUIET_WAIT_S and not said:
            say(f"waiting: {lack}")
            said = True
        sleep(ROOM_POLL_S)


def run_workers(spec: Spec, store: Store, task: WorkerTask) -> Outcome:
    """Train on a worker group; Ray restarts it when a worker fails.

    Raises:
        TrainingError: It failed more often than `train.max_failures` allows.
    """
    # Ray's own snapshot of a run can be torn (ray 2.60 rewrites it in place) and then blocks its
    # name for good, so every attempt gets a name of its own and the truth stays in checkpoints.
    scratch = f"runs/{spec.run_name}/ray"
    trainer = _trainer(spec, store, scratch, task)
    try:
        outcome: Outcome = trainer.fit().return_value
    except TrainingFailedError as error:
        raise TrainingError(
            f"run {spec.run_name!r} failed {spec.train.max_failures + 1} times, last with: "
            f"{_told(error)}; its checkpoints are intact, the same command continues it."
        ) from error
    except (KeyboardInterrupt, SystemExit):
        trainer.abort()
        raise
    finally:
        _tidy_up(store, scratch)
    return outcome


def _tidy_up(store: Store, scratch: str) -> None:
    """Remove what Ray wrote; a store that is down must not hide how training ended."""
    try:
        store.delete_folder(scratch)
    except ShardlineError as error:
        logger.warning("Ray's notes in %s could not be removed: %s", scratch, error)


class _Trainer(DataParallelTrainer):  # type: ignore[misc]  # ray ships no types
    """Ray's trainer, with shardline's elastic policy and without Ray's answer to Ctrl-C.

    That ends the process with code 1 and stays in place after the run (ray 2.60,
    data_parallel_trainer.py); Python's own unwinds to the session, which ends the workers.
    """

    controller: Any = None

    def abort(self) -> None:
        """Let the workers commit their last step, and end them."""
        if self.controller is not None:
            ray.wait([self.controller.abort.remote()], timeout=ABORT_TIMEOUT_S)

    def _initialize_and_run_controller(self, **options: Any) -> Any:
        if self.scaling_config.elasticity_enabled:
            train = self.train_loop_config["task"].spec.train
            wanted = demand(train, train.max_workers)
            options["scaling_policy"] = FollowNodes(self.scaling_config, wanted)
        elif is_own_ray():
            options["scaling_policy"] = FixedHere(self.scaling_config)
        return super()._initialize_and_run_controller(**options)

    def _register_sigint_handler(self, controller: Any) -> None:
        self.controller = controller


def _trainer(spec: Spec, store: Store, scratch: str, task: WorkerTask) -> _Trainer:
    train = spec.train
    filesystem, root = store.filesystem()
    elastic = isinstance(train.workers, WorkersSpec)
    return _Trainer(
        train_worker,
        train_loop_config={"task": task},
        backend_config=KerasBackendConfig(),
        scaling_config=ScalingConfig(
            num_workers=(train.min_workers, train.max_workers) if elastic else train.workers,
            elastic_resize_monitor_interval_s=RESIZE_CHECK_INTERVAL_S,
            use_gpu=train.gpus_per_worker > 0,
            resources_per_worker={"CPU": train.cpus_per_worker}
            | ({"GPU": train.gpus_per_worker} if train.gpus_per_worker else {}),
        ),
        run_config=RunConfig(
            name=uuid.uuid4().hex,
            storage_path=f"{root}/{scratch}",
            storage_filesystem=filesystem,
            callbacks=[Oversight(spec.store, spec.run_name, _controller_settings(train))],
            failure_config=FailureConfig(
                max_failures=train.max_failures,
                # Without a limit, workers that find no free CPU are waited for again and again.
                controller_failure_limit=train.max_failures,
            ),
        ),
    )


def _controller_settings(train: TrainSpec) -> dict[str, str]:
    # Several workers notice each other's silence, a lone one's is noticed by Ray.
    silence_s = max(train.stall_timeout_s, LEAST_SILENCE_S)
    settings = {"RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": str(silence_s)}
    if isinstance(train.workers, WorkersSpec):
        # Another number of workers is tried rather than waiting for one that does not fit.
        settings["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = str(ELASTIC_START_TIMEOUT_S)
    return settings


def _told(error: TrainingFailedError) -> str:
    if isinstance(error, WorkerGroupError) and error.worker_failures:
        return sentence_of(telling(error.worker_failures)).rstrip(".")
    if isinstance(error, ControllerError):
        return sentence_of(error.controller_failure).rstrip(".")
    return sentence_of(error).rstrip(".")
