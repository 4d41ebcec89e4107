"""S3 servers of a test run: each on loopback, with a bucket and one identity.

moto in this process, which checks no credentials; Ceph's gateway, the real one; rclone, which
ignores conditions and is there to be refused.
"""

import functools
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
def rgw_server() -> Iterator[S3Server]:
    """Ceph RGW: production code, with quirks of its own."""
    with running_gateway(ACCESS_KEY, SECRET_KEY) as endpoint:
        yield _with_bucket(S3Server("rgw", endpoint))


@contextmanager
def rclone_server() -> Iterator[S3Server]:
    """rclone: authenticates, and lets every conditional write through."""
    program = shutil.which("rclone", path=str(Path(sys.executable).parent))
    assert program is not None, "rclone is missing; make setup installs it"
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="rclone-") as folder:
        process = subprocess.Popen(
            [program, "serve", "s3", "--config=", f"--addr=127.0.0.1:{port}",
             f"--auth-key={ACCESS_KEY},{SECRET_KEY}", folder],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent,
        )  # fmt: skip
        try:
            assert listens(port, process), "rclone did not start"
            yield _with_bucket(S3Server("rclone", f"http://127.0.0.1:{port}"))
        finally:
            end(process)


SERVERS: dict[str, Callable[[], AbstractContextManager[S3Server]]] = {
    "moto": moto_server,
    "rgw": rgw_server,
    "rclone": rclone_server,
}


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
