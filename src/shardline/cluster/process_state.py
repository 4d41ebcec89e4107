"""What a session changes in this process and puts back: variables, Ray's view of them, signals."""

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

LOOPBACK_HOSTS = ("127.0.0.1", "localhost")


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables for this process, Ray inside it, and its children; restore them at the end."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    _reread_by_ray()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        _reread_by_ray()


@contextmanager
def token_access() -> Iterator[None]:
    """Show a running cluster the token, where one is given and nothing else has been said.

    Ray sends `RAY_AUTH_TOKEN`, the file `RAY_AUTH_TOKEN_PATH` or `~/.ray/auth_token` only once
    `RAY_AUTH_MODE` says so.
    """
    from ray._raylet import AuthenticationTokenLoader

    _reread_by_ray()
    given = AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True)
    mode = os.environ.get("RAY_AUTH_MODE", "token" if given else "disabled")
    with environment({"RAY_AUTH_MODE": mode}):
        yield


@contextmanager
def loopback_only() -> Iterator[None]:
    """Let Ray take 127.0.0.1 for what it is.

    Ray replaces loopback addresses by the machine's own, and then listens on every interface,
    unless it believes it runs where it forms no clusters (services.py, `get_node_ip_address`).
    """
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    with environment({ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0"}):
        # Read from the environment at import, which has happened by now.
        ray_constants.ENABLE_RAY_CLUSTER = False
        try:
            yield
        finally:
            ray_constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def sigterm_restored() -> Iterator[None]:
    """Put the caller's SIGTERM handler back, which `ray.init` replaces by its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def unwind_on_sigterm() -> None:
    """Have SIGTERM raise `SystemExit` with the exit code a shell expects, so blocks are left."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _exit)


def _exit(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _reread_by_ray() -> None:
    # Ray's core reads mode and token once per process; a second session has another token.
    from ray._raylet import AuthenticationTokenLoader, Config

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()
