"""One real Ray for all tests that need one, started when the first of them asks for it."""

from collections.abc import Iterator

import pytest

from shardline.cluster.session import Session, session

NUM_CPUS = 4
"""More than a laptop's two: tests hold workers, controllers and replicas at the same time."""


@pytest.fixture(scope="session")
def ray_session() -> Iterator[Session]:
    """This process connected to a private Ray of `NUM_CPUS` logical CPUs on loopback."""
    with session(num_cpus=NUM_CPUS) as started:
        yield started
