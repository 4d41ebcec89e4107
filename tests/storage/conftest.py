"""Stores for these tests: a folder, and every kind that there is."""

import pytest

from shardline.store import Store


@pytest.fixture
def local(tmp_path):
    """A store in a folder of its own."""
    return Store(f"file://{tmp_path}/store")


@pytest.fixture(params=["file", "s3"])
def any_store(request):
    """Every test runs once on each kind."""
    return request.getfixturevalue("s3_store" if request.param == "s3" else "local")
