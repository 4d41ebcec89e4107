"""The servers that the store's contract is held against; each starts once, when first asked for."""

import pytest
from tests.s3_servers import SERVERS

HONEST = ("moto", "rgw")


@pytest.fixture(scope="session", params=HONEST)
def s3_server(request):
    """A server that honours conditional writes; every test runs once on each."""
    with SERVERS[request.param]() as server:
        yield server


@pytest.fixture
def any_s3(s3_server, leading_to):
    """The same, with this process's AWS_* variables leading to it."""
    return leading_to(s3_server)


@pytest.fixture(scope="session")
def rclone():
    """A server that only pretends."""
    with SERVERS["rclone"]() as server:
        yield server


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
