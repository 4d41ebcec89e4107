"""The environment variables that every process of a shardline job starts with."""

import os
from collections.abc import Mapping

_DEFAULTS = {
    "KERAS_BACKEND": "tensorflow",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    # Or the first process on a GPU takes all of its memory.
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    # Freed pages stay with the process: 20 rounds of a 92 MB gradient buffer cost 20,809 page
    # faults and 0.46 s without these three, 1,407 and 0.02 s with them (glibc 2.36, 2 cores).
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
    # The controller's poll: at the default of 2 s a finished or failed group waits to be noticed.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    # Two workers importing TensorFlow on two busy cores need more than the default 60 s at times.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "180",
    # A process per run for notices that training does not act on; a lost node is a restart.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
}

# Not shardline's to choose, but worthless unless driver and workers agree. Where the store is, but
# no credentials: those belong to each machine.
_FORWARDED = (
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
    "CUDA_MODULE_LOADING",
    "TF_ENABLE_ONEDNN_OPTS",
    "TF_XLA_FLAGS",
    "XLA_FLAGS",
)


def worker_environment(given: Mapping[str, str] | None = None) -> dict[str, str]:
    """Variables for the workers; what the user has set already wins.

    Args:
        given: The driver's own environment; `os.environ` when left out.
    """
    given = os.environ if given is None else given
    chosen = {name: given.get(name, value) for name, value in _DEFAULTS.items()}
    return chosen | {name: given[name] for name in _FORWARDED if name in given}
