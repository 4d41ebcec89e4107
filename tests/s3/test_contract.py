"""The contract on Ceph; tests/storage/store holds it against a folder and moto."""

import itertools

import pytest
from tests.store_contract import *  # noqa: F403

from shardline.store import open_store

_roots = itertools.count()


@pytest.fixture
def store(rgw, leading_to):
    leading_to(rgw)
    return open_store(f"s3://{rgw.bucket}/contract-{next(_roots)}")
