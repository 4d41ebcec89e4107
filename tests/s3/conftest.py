"""The servers that the store's contract is held against; each starts once, when first asked for."""

from contextlib import ExitStack

import pytest
from tests.s3_servers import SERVERS


@pytest.fixture(scope="session")
def running():
    """Servers by name, started when first asked for."""
    with ExitStack() as stack:
        started = {}

        def start(name):
            if name not in started:
                started[name] = stack.enter_context(SERVERS[name]())
            return started[name]

        yield start


@pytest.fixture
def s3_server(running):
    """A server that honours conditional writes; the registry's races run on moto, too."""
    return running("rgw")


@pytest.fixture
def rgw(running):
    """Ceph's gateway, which checks who asks."""
    return running("rgw")


@pytest.fixture
def any_s3(s3_server, leading_to):
    """The same, with this process's AWS_* variables leading to it."""
    return leading_to(s3_server)


@pytest.fixture
def rclone(running):
    """A server that only pretends."""
    return running("rclone")


@pytest.fixture
def leading_to(monkeypatch):
    """Point this process's AWS_* variables at a server, and nowhere else."""

    def lead(server):
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
            monkeypatch.delenv(name, raising=False)
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        return server

    return lead
