"""Files that are scored take the same texts, types and lists as those a dataset is made from."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.raw_sources import spec_for, write_csv

from shardline.data.padding import Padding
from shardline.data.reading import column_to_numpy
from shardline.data.schema import Column
from shardline.data.sources import list_source
from shardline.errors import DataError
from shardline.scoring.inputs import FilesInput, Wanted

NOON_US = 1_774_958_400_000_000
WHEN = Column(name="when", dtype="timestamp")
LIST = Column(name="v", dtype="float32", shape=(2,), padding=Padding(value=-1, longer="quarantine"))
WORD = Column(name="word", dtype="string")


def scored(folder, format, name):
    """The columns of the rows that can be scored, and why others cannot."""
    source = spec_for(folder, format, name).data.source
    files = FilesInput.listing(list_source(source, base=folder), source)
    wanted = Wanted(features=(WHEN, LIST, WORD), keep=())
    batches = [b for unit in files.plan("model") for b in files.read(unit, wanted)]
    table = pa.concat_tables([batch.table for batch in batches])
    rejected = [(r.row, r.reason) for batch in batches for r in batch.rejected]
    return {c.name: column_to_numpy(table[c.name], c).tolist() for c in wanted.features}, rejected


@pytest.mark.parametrize("format", ["json", "parquet"])
def test_score_files_pad_lists_and_read_times_as_prepare_does(tmp_path, format, monkeypatch):
    monkeypatch.setattr("shardline.data.rows.GROWN_BYTES", 20)  # pieces of two rows
    times = ["2026-03-31T12:00:00Z", "2026-03-31T14:00+02:00", "noon", "2026-03-31 12:00", None]
    lists = [[], [1.0], [1.0], [1.0, 2.0, 3.0], [1.0, 2.0]]
    words = ["a", "b", "a", "a", "b"]
    if format == "json":
        rows = zip(times, lists, words, strict=True)
        lines = (json.dumps({"when": t, "v": v, "word": w}) + "\n" for t, v, w in rows)
        write_csv(tmp_path / "raw.json", "".join(lines))
    else:
        columns = {"when": times, "v": lists, "word": pa.array(words).dictionary_encode()}
        pq.write_table(pa.table(columns), tmp_path / "raw.parquet", row_group_size=3)
    found, rejected = scored(tmp_path, format, f"raw.{format}")
    assert found == {"when": [NOON_US] * 2, "v": [[-1, -1], [1, -1]], "word": ["a", "b"]}
    assert rejected == [
        (3, "feature 'when' is 'noon', expected an ISO 8601 date or time, as "
            "2026-03-31T12:00:00Z"),
        (4, "feature 'v' has 3 elements, expected at most 2"),
        (5, "feature 'when' is null"),
    ]  # fmt: skip


def test_score_parquet_times_of_another_unit_than_the_dataset_had(tmp_path):
    stamps = pa.array(np.array(["2026-03-31T12:00"], "datetime64[s]"))
    table = pa.table({"when": stamps, "v": [[1.0]], "word": ["a"]})
    pq.write_table(table, tmp_path / "raw.parquet")
    assert scored(tmp_path, "parquet", "raw.parquet")[0]["when"] == [NOON_US]


def test_score_parquet_with_text_that_is_no_utf8_is_refused_by_its_name(tmp_path):
    broken = pa.array([b"\xff"]).view(pa.string())
    stamps = pa.array(np.array(["2026-03-31T12:00"], "datetime64[s]"))
    pq.write_table(
        pa.table({"when": stamps, "v": [[1.0]], "word": broken}), tmp_path / "raw.parquet"
    )
    with pytest.raises(DataError, match=r"^cannot read .*raw\.parquet: .*UTF8"):
        scored(tmp_path, "parquet", "raw.parquet")
