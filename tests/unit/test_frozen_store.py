"""A store of format 1 as it was written once: every part is still read through the public doors."""

import json
import re
import shutil
import time
from pathlib import Path

import pytest
from tests.sample_registry import AUTHOR

from shardline import inventory, model_inventory
from shardline.artifacts.aliases import read_alias
from shardline.artifacts.checkpoint import list_checkpoints, read_tensors
from shardline.artifacts.evaluation import EvaluationManifest
from shardline.artifacts.journal import read_journal
from shardline.artifacts.registry import resolve, versions
from shardline.artifacts.rollback import roll_back
from shardline.artifacts.tombstones import find_tombstone
from shardline.cli import main
from shardline.data.manifest import load_dataset
from shardline.data.quarantine_summary import summarise_quarantine
from shardline.data.reading import read_split
from shardline.data.statistics.document import load_statistics
from shardline.errors import FormatError
from shardline.garbage.collect import collect_garbage
from shardline.lineage.reading import read_graph, roots_of
from shardline.lineage.references import RunReference, parse_reference
from shardline.scoring.job import ScoreManifest
from shardline.store import Store, read_marker
from shardline.training.run import RunManifest

FROZEN = Path(__file__).parents[1] / "frozen" / "format-1"
MAX_BYTES = 300_000


@pytest.fixture
def store(tmp_path):
    shutil.copytree(FROZEN, tmp_path / "store")
    return Store(f"file://{tmp_path}/store")


def key(store, pattern):
    """The one key that matches."""
    (found,) = [entry.key for entry in store.scan("") if re.fullmatch(pattern, entry.key)]
    return found


def test_frozen_store_is_small_and_says_its_format():
    files = [path for path in FROZEN.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MAX_BYTES
    markers = [path for path in files if path.name in ("dataset.json", "run.json", "model.json",
               "checkpoint.json", "score.json")]  # fmt: skip
    assert len(markers) >= 11
    assert {json.loads(path.read_text())["format"] for path in markers} == {1}


def test_frozen_dataset_is_read(store):
    dataset = load_dataset(store, "houses")
    counts = dataset.counts
    assert (counts.rows_read, counts.rows_kept, counts.rows_quarantined) == (41, 40, 1)
    rows = {
        name: sum(table.num_rows for table in read_split(store, dataset, name))
        for name in ("train", "validation", "test")
    }
    assert sum(rows.values()) == 40
    assert min(rows.values()) > 0
    assert dataset.source.files.keys() == {"houses.csv"}
    assert {column.name for column in load_statistics(store, dataset).columns} >= {"size", "age"}
    assert [row["rows"] for row in inventory.datasets(store.uri, "houses")] == [40]


def test_frozen_quarantine_is_read_and_nothing_is_garbage(store):
    (reason,) = summarise_quarantine(store, load_dataset(store, "houses"))
    assert (reason.rows, reason.examples[0].file, reason.examples[0].row) == (1, "houses.csv", 41)
    assert collect_garbage(store.uri, clock=lambda: time.time() + 1e9).items == []


def test_frozen_runs_are_read(store):
    for run in ("houses", "second"):
        assert read_marker(store, f"runs/{run}/run.json", RunManifest).code.keys() == {"model.py"}
        checkpoints = list_checkpoints(store, run)
        assert [c.step for c in checkpoints] == [2, 4, 6]
        tensors = read_tensors(store, checkpoints[-1])
        assert any(name.startswith("model/") for name in tensors)
        assert {line.kind for line in read_journal(store, run)} >= {"epoch"}
        assert len(inventory.epochs(store.uri, run)) == 2
        found = key(store, rf"runs/{run}/evaluations/.*")
        evaluation = read_marker(store, found, EvaluationManifest)
        assert evaluation.metrics.keys() == {"loss", "accuracy"}
    assert [row["run"] for row in inventory.runs(store.uri, None)] == ["houses", "second"]


def test_frozen_registry_is_read_and_goes_on(store):
    assert versions(store, "houses") == [1, 2]
    assert resolve(store, "houses", alias="production").metrics.keys() == {"loss", "accuracy"}
    record = read_alias(store, "houses", "production")
    moves = [(move.action, move.from_version, move.to_version) for move in record.history]
    assert moves == [("promote", None, 1), ("promote", 1, 2), ("rollback", 2, 1)]
    assert {(move.who, move.why) for move in record.history[2:]} == {
        ("first@laptop", "answered too slowly")
    }
    listed = model_inventory.versions(store.uri, "houses")
    assert [(row["version"], row["status"], row["aliases"]) for row in listed] == [
        (1, "published", "production"), (2, "published", "staging"),
        (3, "claimed", ""), (4, "deleted", ""),
    ]  # fmt: skip
    assert find_tombstone(store, "houses", 4).why == "of an early step"
    back = roll_back(store, "houses", "production", to=2, why="faster now", author=AUTHOR)
    assert back.version == 2


def test_frozen_scores_are_read_and_lead_back_to_the_files(store):
    scores = read_marker(store, key(store, r"scores/.*/score\.json"), ScoreManifest)
    assert (scores.model_version, scores.rows_rejected) == (1, 0)
    graph = read_graph(store)
    roots = roots_of(store, graph, parse_reference("scores/houses"))
    around = graph.around(roots).nodes.values()
    assert {node.kind for node in around} == {
        "scores", "model", "run", "spec", "code", "dataset", "source",
    }  # fmt: skip
    assert all(node.stored for node in around)
    (source,) = [node for node in around if node.kind == "source"]
    assert source.facts["files"].keys() == {"houses.csv"}
    dataset = roots_of(store, graph, parse_reference("datasets/houses"))
    models = [node for node in graph.around(dataset).nodes.values() if node.kind == "model"]
    assert {(node.label, node.stored) for node in models} == {
        ("houses/1", True), ("houses/2", True), ("houses/4", False),
    }  # fmt: skip


def test_lineage_of_a_run_that_was_removed_is_what_its_models_tell(store):
    store.delete_folder("runs/houses")
    graph = read_graph(store)
    roots = roots_of(store, graph, RunReference("houses"))
    assert {(graph.nodes[root].kind, graph.nodes[root].stored) for root in roots} == {
        ("run", False)
    }
    assert "models/houses/1" in graph.around(roots).nodes


def test_lineage_verb_draws_prints_and_gives_json(store, tmp_path, capfd):
    page = tmp_path / "page.html"
    command = ["lineage", "models/houses@production", "--store", store.uri]
    assert main([*command, "--json", "--html", str(page)]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["roots"] == ["models/houses/1"]
    assert {"scores/houses", "runs/houses"} <= {
        node["id"].rpartition("/v1-")[0] or node["id"] for node in found["nodes"]
    }
    assert page.read_text().count("<rect") == len(found["nodes"])
    assert main(command) == 0
    assert capfd.readouterr().out.startswith("model houses/1 (accuracy=")
    assert main(["lineage", "models/flats", "--store", store.uri]) == 2
    assert "has no models/flats; `shardline datasets`, `runs` and" in capfd.readouterr().err


READERS = {
    r"datasets/houses/[^/]+/dataset\.json": lambda store: load_dataset(store, "houses"),
    r"datasets/houses/current\.json": lambda store: load_dataset(store, "houses"),
    r"runs/houses/run\.json": lambda store: read_graph(store),
    r"runs/houses/checkpoints/step-00000004/checkpoint\.json": (
        lambda store: list_checkpoints(store, "houses")
    ),
    r"runs/second/run\.json": lambda store: inventory.checkpoints(store.uri, "second"),
    r"models/houses/1/model\.json": lambda store: resolve(store, "houses", version=1),
    r"models/houses/aliases/production\.json": lambda s: read_alias(s, "houses", "production"),
    r"models/houses/claims/3": lambda s: model_inventory.versions(s.uri, "houses"),
    r"models/houses/deleted/4\.json": lambda s: resolve(s, "houses", version=4),
    r"scores/houses/[^/]+/score\.json": lambda store: read_graph(store),
}


@pytest.mark.parametrize("pattern", READERS)
def test_document_of_another_format_is_refused_with_a_sentence(store, pattern):
    found = key(store, pattern)
    store.write(found, store.read(found).replace(b'"format": 1', b'"format": 2, "later": {}', 1))
    with pytest.raises(FormatError) as caught:
        READERS[pattern](store)
    assert caught.value.message == (
        f"{store.uri_of(found)} has format 2, this version of shardline reads format 1; use the "
        "version that wrote it, or a later one."
    )
