"""Parts of a scoring job: the first of several writers is kept, and what is no part is named."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shardline.errors import IntegrityError, NotFoundError
from shardline.scoring.commit import PartCounts, commit_part, committed_parts, read_counts
from shardline.scoring.job import part_key
from shardline.store import Store

ROWS = pa.table({"x": [1, 2, 3]})


def parquet(table):
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


@pytest.fixture
def output(tmp_path):
    return Store(f"file://{tmp_path}/scores")


def test_part_of_two_writers_is_the_first_ones(output):
    first = PartCounts("part-1", rows_scored=3, rows_rejected=1)
    assert commit_part(output, ROWS, first) == first
    assert commit_part(output, ROWS, PartCounts("part-1", 2, 2)) == first
    assert committed_parts(output) == {"part-1"}


@pytest.mark.parametrize(
    "content",
    [b"", b"no Parquet at all", parquet(ROWS), parquet(ROWS)[:-9] + bytes(1) + b"\x08\0\0\0PAR1"],
    ids=["empty", "garbage", "another's", "torn footer"],
)
def test_what_is_no_part_is_named(output, content):
    output.write(part_key("part-1"), content)
    with pytest.raises(IntegrityError, match=r"part-1\.parquet is no part of a scoring job; delet"):
        read_counts(output, "part-1")


def test_part_that_is_gone_is_not_found(output):
    with pytest.raises(NotFoundError, match=r"there is no .*part-1\.parquet; check `store` and th"):
        read_counts(output, "part-1")
