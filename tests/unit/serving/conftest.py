"""Asynchronous tests run on asyncio alone, through anyio's pytest plugin."""

import pytest


@pytest.fixture
def anyio_backend():
    return "asyncio"
