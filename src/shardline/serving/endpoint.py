"""The endpoint as the driver sees it: checked before anything starts, up, answering, closed again.

In a session that shardline started, everything listens on loopback unless the spec names another
host: HAProxy's frontend, its metrics and statistics, the replicas and Serve's own servers. A `host`
that other machines can reach opens the frontend, the replicas' HTTP ports and the fallback proxy,
without authentication or TLS. On a cluster that somebody else started, its own environment decides
whether Serve runs in its fast form and where HAProxy's metrics and statistics listen.
"""

import logging
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from ipaddress import ip_address
from typing import Any, Self

from shardline.cluster.ports import free_port, is_port_free
from shardline.errors import InputError, ResourceError, ServingError
from shardline.serving.app import REPLICA_CPUS, Serving, build_application
from shardline.serving.ray_internals import shut_serve_down
from shardline.spec.output import ServeSpec
from shardline.store import Store

READY_TIMEOUT_S = 180.0
_POLL_S = 0.2
_ANY_HOSTS = ("0.0.0.0", "::")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Endpoint:
    """A model version that answers at `url` until it is closed."""

    url: str
    """`http://HOST:PORT`; predictions are at `/v1/models/MODEL:predict`."""
    model: str
    version: int
    application: str
    """Its name in Ray Serve."""

    def close(self) -> None:
        """Stop answering; other applications in the session's Ray Serve go on."""
        with _quiet_driver():
            _remove(self.application)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def check_endpoint(serve: ServeSpec) -> ServeSpec:
    """The section with its port chosen, for the caller to check before Ray starts.

    Raises:
        InputError: The host is not an address of this machine, or its port is taken.
    """
    try:
        free = free_port(serve.host)
    except OSError as error:
        raise InputError(
            f"serve.host is {serve.host!r}, which is no address of this machine; use 127.0.0.1, "
            "or 0.0.0.0 for every interface."
        ) from error
    if serve.port == 0:
        return serve.model_copy(update={"port": free})
    if not is_port_free(serve.host, serve.port):
        raise InputError(
            f"port {serve.port} of {serve.host} is already in use; stop what listens there, set "
            "another serve.port, or serve.port=0 for a free one."
        )
    return serve


def start_endpoint(
    store: Store,
    serve: ServeSpec,
    *,
    model: str,
    version: int,
    ready_timeout_s: float = READY_TIMEOUT_S,
) -> Endpoint:
    """Serve a model version on the Ray that this process is connected to.

    Args:
        store: Where the registry lives; replicas read it themselves.
        serve: The spec's section.
        model: Registered model.
        version: Its version.
        ready_timeout_s: How long loading and warming up may take.

    Raises:
        InputError: The port is taken, the cluster cannot hold the replicas, or serves already.
        ServingError: The endpoint did not come up; nothing of it is left.
    """
    from ray import serve as ray_serve

    serve = check_endpoint(serve)
    _check_cluster(serve)
    _say_what_is_open(serve)
    deadline_s = time.monotonic() + ready_timeout_s
    target = build_application(Serving(store=store, model=model, version=version, serve=serve))
    # A name of its own: of two that start at once, neither replaces or removes the other's.
    application = f"{model}-{secrets.token_hex(4)}"
    with _quiet_driver(), _removed_on_error(application):
        ray_serve.start(
            http_options={"host": serve.host, "port": serve.port},
            proxy_location="HeadOnly",
            logging_config={"enable_access_log": False},
        )
        _deploy(ray_serve.RunTarget(target=target, name=application, route_prefix="/"))
        _wait_until_running(model, application, deadline_s)
        host = "127.0.0.1" if serve.host in _ANY_HOSTS else serve.host
        _wait_until_ready(host, serve.port, deadline_s)
    return Endpoint(f"http://{host}:{serve.port}", model, version, application)


def _check_cluster(serve: ServeSpec) -> None:
    import ray

    _check_nothing_is_served()
    free_cpus = ray.available_resources().get("CPU", 0.0)
    needed_cpus = serve.replicas * REPLICA_CPUS
    if free_cpus < needed_cpus:
        raise ResourceError(
            f"serve.replicas is {serve.replicas}, which needs {needed_cpus:g} free CPUs; the "
            f"cluster has {free_cpus:g}. Lower serve.replicas or add CPUs."
        )
    addresses = {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    if len(addresses) > 1 and _is_loopback(serve.host):
        raise ResourceError(
            f"serve.host is {serve.host!r}, but the cluster spans {len(addresses)} machines and "
            "replicas on the others could not be reached; set serve.host to 0.0.0.0."
        )


def _check_nothing_is_served() -> None:
    from ray import serve as ray_serve

    if ray_serve.status().applications:
        raise InputError(
            "this Ray session already serves a model; close that endpoint or use another session."
        )


def _deploy(target: Any) -> None:
    from ray import serve as ray_serve
    from ray.serve.exceptions import RayServeException

    try:
        ray_serve.run_many(
            [target],
            wait_for_ingress_deployment_creation=False,
            wait_for_applications_running=False,
        )
    except RayServeException:
        _check_nothing_is_served()  # another endpoint came first, after the first check
        raise


def _say_what_is_open(serve: ServeSpec) -> None:
    if os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") != "1":
        logger.warning(
            "Ray Serve is NOT in its fast form here (HAProxy and direct ingress): this Ray was "
            "started without shardline's settings, or no HAProxy is installed. About six times "
            "fewer requests per second; see shardline.cluster.serve_environment."
        )
    if not _is_loopback(serve.host):
        logger.warning(
            "The endpoint listens on %s:%d WITHOUT authentication or TLS, and so do the replicas' "
            "HTTP ports behind it; put a gateway in front of it.",
            serve.host,
            serve.port,
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _wait_until_running(model: str, application: str, deadline_s: float) -> None:
    """Until every replica has loaded the model."""
    from ray import serve as ray_serve

    while True:
        found = ray_serve.status().applications.get(application)
        status = found.status if found else "not there yet"
        if status == "RUNNING":
            return
        if found and status in ("DEPLOY_FAILED", "UNHEALTHY"):
            raise ServingError(f"model {model!r} did not come up: {_reason(found)}")
        if time.monotonic() > deadline_s:
            reason = f" ({_reason(found)})" if found else ""
            raise ServingError(
                f"model {model!r} was still {status}{reason} at the deadline; look into Ray's "
                "serve logs, or allow it more time."
            )
        time.sleep(_POLL_S)


def _wait_until_ready(host: str, port: int, deadline_s: float) -> None:
    """Until the way through the proxy to a replica is open."""
    answer = "no answer"
    while time.monotonic() < deadline_s:
        connection = HTTPConnection(host, port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            status = connection.getresponse().status
            if status == 200:
                return
            answer = f"status {status}"
        except (OSError, HTTPException) as error:
            answer = str(error)
        finally:
            connection.close()
        time.sleep(_POLL_S)
    raise ServingError(
        f"http://{host}:{port}/readyz did not answer 200 before the deadline ({answer}); look into "
        "Ray's serve logs."
    )


def _reason(application: Any) -> str:
    """The most telling line of Ray's report: the last one of the traceback."""
    messages: list[str] = [found.message for found in application.deployments.values()]
    lines = [line.strip() for text in messages for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line.split(":", 1)[0]]
    return (errors or lines or ["Ray gives no reason"])[-1]


@contextmanager
def _quiet_driver() -> Iterator[None]:
    """Serve's progress lines belong to its log files, not to the user's terminal."""
    ray_logger = logging.getLogger("ray.serve")
    level = ray_logger.level
    ray_logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        ray_logger.setLevel(level)


@contextmanager
def _removed_on_error(application: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        # Interrupted or failed, nothing half started may hold the port.
        _remove(application)
        raise


def _remove(application: str) -> None:
    """Take an application out of Ray Serve; Serve itself goes with the last one."""
    from ray import serve as ray_serve

    if not set(ray_serve.status().applications) - {application}:
        shut_serve_down()
        return
    try:
        ray_serve.delete(application)
    except TimeoutError as error:
        raise ServingError(
            f"Ray Serve did not stop {application!r}; look into Ray's serve logs."
        ) from error
