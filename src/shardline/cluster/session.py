"""A connection to Ray for as long as a `with` block lasts: the one place that calls `ray.init`.

Without an address, Ray is started on this machine for this process alone: every port on loopback,
a random token that only this session knows, and a private folder; nothing is left behind. With an
address (or `RAY_ADDRESS`, as inside a Ray job) the running cluster is used.
"""

import json
import logging
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shardline.cluster.answering import check_answers, running_address
from shardline.cluster.process_state import (
    LOOPBACK_HOSTS,
    environment,
    loopback_only,
    sigterm_restored,
    token_access,
    unwind_on_sigterm,
)
from shardline.cluster.serve_environment import serve_environment
from shardline.cluster.worker_environment import worker_environment
from shardline.errors import ResourceError

CONNECT_TIMEOUT_S = 10.0
OBJECT_STORE_BYTES = 512 << 20
OBJECT_STORE_SHARE = 0.2
NUM_ACTOR_PROCESSES = 8

# Unix socket paths hold 107 characters, and Serve appends up to 71 of them to this folder.
_MAX_FOLDER_CHARACTERS = 36


@dataclass(frozen=True, slots=True)
class Session:
    """What this process is connected to."""

    address: str
    """`host:port` of the cluster's control service."""
    local: bool
    """Whether this session started Ray, for this process alone."""


@contextmanager
def session(*, address: str | None = None, num_cpus: int | None = None) -> Iterator[Session]:
    """Be connected to Ray inside the block; reuse the connection if there is one.

    Enter it in the main thread: on Linux a Ray started here ends with the thread that started it.

    Args:
        address: `host:port` of a running cluster, or `auto`; left out, `RAY_ADDRESS` decides, and
            without it Ray is started on this machine.
        num_cpus: CPUs of a Ray started here; all when left out. A running cluster keeps its own.

    Raises:
        ResourceError: The cluster does not answer or cannot be joined from this machine, or this
            process is connected to another one.
    """
    import ray

    if address and ray.is_initialized():
        _check_same(address, str(ray.get_runtime_context().gcs_address))
    address = address or os.environ.get("RAY_ADDRESS") or None
    with ExitStack() as stack:
        if ray.is_initialized():
            local = False
        elif address is None:
            stack.enter_context(_started(num_cpus))
            local = True
        else:
            stack.enter_context(_joined(address))
            local = False
        yield Session(address=str(ray.get_runtime_context().gcs_address), local=local)


def _check_same(address: str, connected: str) -> None:
    """Refuse an address that the session around this one would make without effect."""
    if address == "auto" or _resolved(address) == _resolved(connected):
        return
    raise ResourceError(
        f"this process is connected to the Ray at {connected}, not to {address}; leave the address "
        "out inside a session, or end that session first."
    )


def _resolved(address: str) -> str:
    """The same address with the host's number."""
    host, _, port = address.rpartition(":")
    try:
        return f"{socket.gethostbyname(host)}:{port}"
    except OSError:
        return address


@contextmanager
def _started(num_cpus: int | None) -> Iterator[None]:
    own = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        # Processes beyond the limit (by default the number of CPUs) are ended when idle. With room
        # for actors beside them, those that ran tasks stay, with TensorFlow imported: a second
        # task starts at once instead of after 5 s. Actors never take them over.
        "RAY_num_workers_soft_limit": str((num_cpus or os.cpu_count() or 1) + NUM_ACTOR_PROCESSES),
    }
    with ExitStack() as stack:
        folder = stack.enter_context(_private_folder())
        variables = worker_environment() | serve_environment(folder) | own
        stack.enter_context(environment(variables))
        stack.enter_context(loopback_only())
        stack.callback(_end_processes_of, folder)
        # 4.2 s on 2 idle cores, of which 2.1 s are Ray's dashboard process (it starts even
        # unasked) and 2.0 s the agents of the node. Tried without gain beyond the noise: metrics
        # off, worker prestart off, task events off, no preloaded modules.
        stack.enter_context(
            _initialized(
                address="local",
                num_cpus=num_cpus,
                include_dashboard=False,
                object_store_memory=_object_store_bytes(),
                _node_ip_address=LOOPBACK_HOSTS[0],
                _temp_dir=str(folder),
            )
        )
        yield


@contextmanager
def _joined(address: str) -> Iterator[None]:
    with ExitStack() as stack:
        address = running_address(address)
        if address.rpartition(":")[0] in LOOPBACK_HOSTS:
            stack.enter_context(loopback_only())
        stack.enter_context(token_access())
        check_answers(address, timeout_s=CONNECT_TIMEOUT_S)
        # Ray Train hands its settings from the driver's environment to its own processes.
        stack.enter_context(environment(worker_environment()))
        try:
            stack.enter_context(
                _initialized(address=address, runtime_env={"env_vars": _variables_beyond_job()})
            )
        except Exception as error:
            # Declared boundary: Ray has no one class for "could not connect".
            raise ResourceError(
                f"cannot join the Ray cluster at {address} ({_first_line(error)}); run this on one "
                "of its nodes with RAY_AUTH_TOKEN set to its token, or use `shardline submit`."
            ) from error
        yield


@contextmanager
def _initialized(**options: Any) -> Iterator[None]:
    import ray

    with sigterm_restored():
        try:
            ray.init(log_to_driver=False, logging_level=logging.WARNING, **options)
            unwind_on_sigterm()
            yield
        finally:
            ray.shutdown(wait_for_processes=True)


def _variables_beyond_job() -> dict[str, str]:
    """The worker environment less what the surrounding Ray job sets already, which Ray refuses."""
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    given = (job.get("runtime_env") or {}).get("env_vars") or {}
    return {name: value for name, value in worker_environment().items() if name not in given}


@contextmanager
def _private_folder() -> Iterator[Path]:
    parent = tempfile.gettempdir()
    if len(parent) + len("/shl-12345678") > _MAX_FOLDER_CHARACTERS:
        parent = "/tmp"
    folder = Path(tempfile.mkdtemp(prefix="shl-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _end_processes_of(folder: Path) -> None:
    """End what a start broken off half-way has left running; Ray has no handle on it by then."""
    import psutil  # comes inside Ray

    leftover = []
    for child in psutil.Process().children(recursive=True):
        try:
            if str(folder) in " ".join(child.cmdline()):
                child.kill()
                leftover.append(child)
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(leftover, timeout=5)


def _object_store_bytes() -> int:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(OBJECT_STORE_BYTES, int(memory * OBJECT_STORE_SHARE))


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
