"""`model.json` as it was written by earlier releases and is written now."""

import json

import pytest
from pydantic import ValidationError

from shardline.artifacts.manifest import ModelManifest, Seen
from shardline.data.schema import Column
from shardline.store import dump_marker

BEFORE = {
    "format": 1,
    "name": "celsius",
    "version": 1,
    "created_unix_s": 5.0,
    "inputs": [{"name": "celsius", "dtype": "float32", "shape": []}],
    "outputs": [{"name": "dense", "dtype": "float32", "shape": [1]}],
    "label": {"name": "fahrenheit", "dtype": "float32", "shape": [], "vocabulary": None},
    "metrics": {"loss": 0.5},
    "parity_max_abs_error": 0.0,
    "lineage": {
        "dataset": "celsius",
        "dataset_version": "v1",
        "run": "celsius",
        "step": 3,
        "checkpoint_digest": "c",
        "spec_digest": "s",
        "recipe_digest": "r",
        "code_digest": "k",
        "libraries": {"keras": "3.15.1"},
    },
    "files": {"saved_model.pb": "0" * 64},
}


def test_document_of_an_earlier_release_reads_and_knows_less():
    manifest = ModelManifest.model_validate_json(json.dumps(BEFORE))
    assert manifest.metrics == {"loss": 0.5}
    assert (manifest.evaluated_split, manifest.evaluated_rows) == (None, None)
    assert (manifest.spec, manifest.example, manifest.lineage.code_revision) == (None, None, None)
    assert (manifest.seen, manifest.slices) == ({}, ())


def test_document_reads_back_as_it_was_written():
    more = {
        "evaluated_split": "test",
        "evaluated_rows": 7,
        "spec": {"name": "celsius", "train": {"epochs": 3}},
        "seen": {"celsius": {"min": -10.0, "max": 50.0}},
        "slices": [
            {
                "column": None,
                "value": "all",
                "rows": 7,
                "measure": "mean absolute error",
                "measured": 0.5,
            }
        ],
        "example": {"celsius": 21.5, "words": ["a", {"b64": "eA=="}], "gone": None},
    }
    lineage = BEFORE["lineage"] | {"code_revision": {"commit": "1f", "dirty": True}}
    manifest = ModelManifest.model_validate(BEFORE | more | {"lineage": lineage})
    assert manifest.seen["celsius"] == Seen(min=-10, max=50)
    assert manifest.inputs == (Column(name="celsius", dtype="float32"),)
    assert ModelManifest.model_validate_json(dump_marker(manifest)) == manifest


@pytest.mark.parametrize("path", ["../else", "/etc/passwd", "variables/../../else"])
def test_document_with_files_outside_of_the_folder_is_refused(path):
    with pytest.raises(ValidationError, match="lies outside the version's folder"):
        ModelManifest.model_validate(BEFORE | {"files": {path: "0" * 64}})
