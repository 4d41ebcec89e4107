"""Fixtures for all tests: one real Ray, and an S3 server that honours conditional writes."""

import itertools
import signal
from collections.abc import Iterator

import boto3
import pytest
from tests.s3_servers import moto_server

from shardline.cluster.session import Session, session
from shardline.store import open_store

NUM_CPUS = 4
"""More than a laptop's two: tests hold workers, controllers and replicas at the same time."""

_buckets = itertools.count()


def pytest_configure():
    """Have SIGINT interrupt: background jobs of a shell ignore it, and so do all their children."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def user_cache(tmp_path_factory):
    """Rows that training keeps are gone with the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def s3_endpoint():
    """A real HTTP server on loopback that speaks S3."""
    with moto_server() as server:
        yield server.endpoint


@pytest.fixture
def s3_environment(s3_endpoint, monkeypatch):
    """The AWS_* variables that lead to the test server."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return s3_endpoint


@pytest.fixture
def s3_store(s3_environment):
    """A store in a bucket of its own."""
    bucket = f"bucket-{next(_buckets)}"
    boto3.client("s3", endpoint_url=s3_environment).create_bucket(Bucket=bucket)
    return open_store(f"s3://{bucket}/root")


@pytest.fixture(scope="session")
def ray_session() -> Iterator[Session]:
    """This process connected to a private Ray of `NUM_CPUS` logical CPUs on loopback."""
    with session(num_cpus=NUM_CPUS) as started:
        yield started
