"""The contract on a folder, and on an S3 server that is always at hand."""

import pytest
from tests.store_contract import *  # noqa: F403

from shardline.store import open_store


@pytest.fixture(params=["file", "s3"])
def store(request, tmp_path_factory):
    if request.param == "s3":
        return request.getfixturevalue("s3_store")
    return open_store(f"file://{tmp_path_factory.mktemp('store')}/root")
