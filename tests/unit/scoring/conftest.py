"""A store with a dataset to score."""

import pytest
from tests.sample_scoring import model_manifest, write_tiny

from shardline.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(f"file://{tmp_path}/store")


@pytest.fixture
def model():
    return model_manifest()


@pytest.fixture
def dataset(store):
    return write_tiny(store)
