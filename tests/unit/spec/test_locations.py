"""Locations as users write them."""

from pathlib import Path

import pytest

from shardline.errors import SpecError
from shardline.spec.locations import absolute


@pytest.mark.parametrize("location", ["s3://KEY:SECRET@bucket/data", "s3://KEY@bucket"])
def test_location_with_credentials_is_refused_without_repeating_them(location):
    with pytest.raises(SpecError) as caught:
        absolute(location, base=Path("/"))
    assert caught.value.message == (
        "an s3:// location holds a user name or password, which would show in logs; write "
        "s3://bucket/prefix, and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
    )
