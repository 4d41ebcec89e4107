"""A verb as a job on a remote cluster: sent through the Jobs API, followed, its exit code ours.

The cluster has shardline installed and access of its own to the store. Only the spec and the code
beside it travel; no credentials do.
"""

import asyncio
import json
import os
import secrets
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shardline.cluster.jobs_api import connected_client
from shardline.cluster.packing import copy_files, files_to_pack
from shardline.cluster.worker_environment import worker_environment
from shardline.errors import ResourceError
from shardline.spec import Spec, is_dataset_reference, load_spec
from shardline.spec.locations import local_path

STOP_TIMEOUT_S = 30.0
POLL_S = 0.5
INTERRUPTED = 130


def submit(
    verb: str, spec_path: str | Path, *, address: str, extra_args: Sequence[str] = ()
) -> int:
    """Run a verb as a job and follow it to its end.

    The job's output appears on stdout as it comes. Ctrl-C stops the job.

    Args:
        verb: A verb of the command line.
        spec_path: The spec file; locations in it are made absolute before it travels.
        address: The cluster's dashboard, such as `http://10.0.0.1:8265`.
        extra_args: Further arguments of the verb, `--set` pairs among them.

    Returns:
        The job's exit code; 130 if it was stopped.

    Raises:
        SpecError: The spec is wrong; nothing was sent.
        ResourceError: The cluster does not answer or refuses the token, or too much would travel.
    """
    file = Path(spec_path)
    spec = load_spec(file, overrides=overrides_in(extra_args))
    with connected_client(address) as client:
        job = client.submit_job(
            entrypoint=entrypoint(verb, file.name, [*extra_args, *located_arguments(spec)]),
            submission_id=f"shardline-{verb}-{spec.name}-{secrets.token_hex(4)}",
            runtime_env=...,
        )
