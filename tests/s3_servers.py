"""S3 servers of a test run: each on loopback, with a bucket and one identity.

moto in this process and ministack in one of its own, which check no credentials; Ceph's gateway,
the real one; rclone, which ignores conditions and is there to be refused.
"""

import functools
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from moto.s3.responses import S3Response
from moto.server import ThreadedMotoServer
from tests.ceph_rgw import die_with_parent, end, free_port, listens, running_gateway

ACCESS_KEY = "shardline-tests"
SECRET_KEY = "shardline-tests-secret"


@dataclass(frozen=True)
class S3Server:
    """A server that runs, and a bucket in it."""

    name: str
    endpoint: str
    bucket: str = "shardline"
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead to it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REGION": "us-east-1",
        }

    def client(self) -> Any:
        """A client of its own, to look behind shardline's back."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )


@contextmanager
def moto_server() -> Iterator[S3Server]:
    """moto: conditional writes, no authentication, no checksums."""
    S3Response.put_object = _one_at_a_time(S3Response.put_object)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield _with_bucket(S3Server("moto", f"http://{host}:{port}"))
    finally:
        server.stop()


@contextmanager
def ministack_server() -> Iterator[S3Server]:
    """ministack: conditional writes and checksums, no authentication."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="ministack-") as folder:
        # By itself it listens on all addresses, and on 8883 for another service.
        settings = {
            "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "IOT_MTLS_ENABLED": "0",
            "TMPDIR": folder,
        }  # fmt: skip
        with _started([_program("ministack")], port, settings):
            yield _with_bucket(S3Server("ministack", f"http://127.0.0.1:{port}"))


@contextmanager
def rgw_server() -> Iterator[S3Server]:
    """Ceph RGW: production code, with quirks of its own."""
    with running_gateway(ACCESS_KEY, SECRET_KEY) as endpoint:
        yield _with_bucket(S3Server("rgw", endpoint))


@contextmanager
def rclone_server() -> Iterator[S3Server]:
    """rclone: authenticates, and lets every conditional write through."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="rclone-") as folder:
        command = [
            _program("rclone"), "serve", "s3", "--config=", f"--addr=127.0.0.1:{port}",
            f"--auth-key={ACCESS_KEY},{SECRET_KEY}", folder,
        ]  # fmt: skip
        with _started(command, port):
            yield _with_bucket(S3Server("rclone", f"http://127.0.0.1:{port}"))


SERVERS: dict[str, Callable[[], AbstractContextManager[S3Server]]] = {
    "moto": moto_server,
    "ministack": ministack_server,
    "rgw": rgw_server,
    "rclone": rclone_server,
}


def _program(name: str) -> str:
    program = shutil.which(name, path=str(Path(sys.executable).parent))
    assert program is not None, f"{name} is missing; make setup installs it"
    return program


@contextmanager
def _started(command, port, environment=None):
    process = subprocess.Popen(
        command,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=die_with_parent,
    )
    try:
        assert listens(port, process), f"{command[0]} did not start"
        yield
    finally:
        end(process)


def _one_at_a_time(put):
    """moto looks at the condition and then writes, and lets other threads in between."""
    if hasattr(put, "__wrapped__"):
        return put
    alone = threading.Lock()

    @functools.wraps(put)
    def locked(*args):
        with alone:
            return put(*args)

    return locked


def _with_bucket(server: S3Server) -> S3Server:
    server.client().create_bucket(Bucket=server.bucket)
    return server
