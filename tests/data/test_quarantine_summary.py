"""Reasons of quarantined rows, without the values that differ from row to row."""

import numpy as np
import pytest
from tests.sample_datasets import write_dataset

from shardline.data.quarantine import QUARANTINE_KEY, Rejected, dump_rejected
from shardline.data.quarantine_summary import reason_kind, summarise_quarantine
from shardline.data.schema import Column, Label
from shardline.store import Store


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("feature 'a' is 'x, y', expected float32", "feature 'a' is …, expected float32"),
        ("feature 'a' is 7000.0, above the bound 120", "feature 'a' is …, above the bound 120"),
        ("has 9 cells, expected 4", "has …, expected 4"),
        ("image has shape [3, 4], expected [2, 2, 1]", "image has shape …, expected [2, 2, 1]"),
        ("is not valid JSON (line 3: oops)", "is not valid JSON"),
        ("label 'y' is null", "label 'y' is null"),
    ],
)
def test_reason_kind_leaves_the_value_out(reason, kind):
    assert reason_kind(reason) == kind


def test_summary_counts_kinds_over_all_parts_with_examples(tmp_path):
    store = Store(f"file://{tmp_path}")
    x, y = Column(name="x", dtype="float32"), Label(name="y", dtype="int64")
    rows = {"x": np.arange(4, dtype=np.float32), "y": np.arange(4)}
    manifest = write_dataset(store, [x], y, {"train": rows})
    assert summarise_quarantine(store, manifest) == ()
    rejected = [Rejected(f"feature 'x' is 'v{i}', expected float32", "a.csv", i) for i in range(5)]
    rejected.append(Rejected("has 3 cells, expected 2", "b.csv", 9))
    store.write(f"{manifest.folder}/{QUARANTINE_KEY}", dump_rejected(rejected[:2]))
    store.write(f"{manifest.folder}/quarantine/rows-1.jsonl", dump_rejected(rejected[2:]))
    counts = manifest.counts.model_copy(update={"rows_quarantined": 6})
    found = summarise_quarantine(store, manifest.model_copy(update={"counts": counts}))
    assert [(each.reason, each.rows) for each in found] == [
        ("feature 'x' is …, expected float32", 5), ("has …, expected 2", 1),
    ]  # fmt: skip
    assert [example.row for example in found[0].examples] == [2, 3, 4]
    assert found[1].examples == (rejected[-1],)
