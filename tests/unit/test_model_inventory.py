"""What `shardline models` and `shardline delete` say: every number, its fate, who and why."""

import json

import pytest
from tests.sample_registry import AUTHOR, point, publish_versions

from shardline.artifacts.author import Author
from shardline.artifacts.deletion import delete_version
from shardline.artifacts.registry import claim_version
from shardline.artifacts.rollback import roll_back
from shardline.cli import main
from shardline.model_inventory import history, models, versions
from shardline.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(f"file://{tmp_path}/store")


@pytest.fixture
def shardline(store, capfd):
    def call(*arguments):
        code = main([*arguments, "--store", store.uri])
        said = capfd.readouterr()
        return code, said.out, said.err

    return call


def test_models_one_that_goes_while_it_is_read_is_not_listed(store, monkeypatch):
    for name in ("going", "staying"):
        publish_versions(store, 1, name=name)
        point(store, 1, model=name)
    read = Store.read

    def removed_first(store, key):
        if key == "models/going/aliases/live.json":
            store.delete(key)
        return read(store, key)

    monkeypatch.setattr(Store, "read", removed_first)
    listed = models(store.uri)
    assert [(row["model"], row["aliases"]) for row in listed] == [("staying", "live=1")]


def test_versions_show_every_number_and_what_became_of_it(store):
    for number in (1, 2, 3):
        assert claim_version(store, "tiny", author=Author("first@host", lambda: 5.0)) == number
    publish_versions(store, 1, 3, metrics={"loss": 0.25})
    delete_version(store, "tiny", 3, why="biased", author=Author("second@host", lambda: 60.0))
    for alias in ("production", "staging"):
        point(store, 1, alias)
    kept, failed, gone = versions(store.uri, "tiny")
    assert kept == {
        "model": "tiny",
        "version": 1,
        "status": "published",
        "aliases": "production staging",
        "when": "1970-01-01 00:00:01 UTC",
        "who": "first@host",
        "why": "",
        "metrics": "loss=0.25",
        "run": "tiny@3",
        "dataset": "tiny/v1",
        "size_bytes": kept["size_bytes"],
        "uri": store.uri_of("models/tiny/1"),
    }
    assert 500 < kept["size_bytes"] < 5000
    assert (failed["status"], failed["who"], failed["when"], failed["size_bytes"]) == (
        "claimed", "first@host", "1970-01-01 00:00:05 UTC", 0,
    )  # fmt: skip
    assert (gone["status"], gone["who"], gone["when"], gone["why"], gone["size_bytes"]) == (
        "deleted", "second@host", "1970-01-01 00:01:00 UTC", "biased", 0,
    )  # fmt: skip


def test_history_has_every_move(store):
    publish_versions(store, 1, 2)
    point(store, 1, why="first")
    point(store, 2, why="better")
    roll_back(store, "tiny", "live", to=None, why="worse after all", author=AUTHOR)
    rows = history(store.uri, "tiny")
    assert [(row["action"], row["from"], row["to"], row["why"]) for row in rows] == [
        ("promote", None, 1, "first"),
        ("promote", 1, 2, "better"),
        ("rollback", 2, 1, "worse after all"),
    ]
    assert {(row["alias"], row["who"], row["when"]) for row in rows} == {
        ("live", "first@host", "1970-01-01 00:00:01 UTC")
    }


def test_models_verb_as_table_and_json(store, shardline):
    publish_versions(store, 1)
    point(store, 1)
    code, out, _ = shardline("models", "tiny", "--history", "--json")
    listed = json.loads(out)
    assert (code, listed.keys()) == (0, {"models", "history"})
    _, table, _ = shardline("models", "tiny", "--history")
    for rows in listed.values():
        assert all(str(value) in table for row in rows for value in row.values() if value)
    code, _, err = shardline("models", "--history")
    assert (code, err.splitlines()[-1]) == (2, "Error: --history needs the NAME of a model.")


def test_delete_verb_says_who_and_why_and_refuses(store, shardline, monkeypatch):
    monkeypatch.setenv("SHARDLINE_USER", "first")
    publish_versions(store, 1, 2)
    point(store, 1)
    code, out, _ = shardline("delete", "models/tiny/2", "--why", "old", "--json")
    assert (code, json.loads(out)) == (
        0, {"model": "tiny", "version": 2, "who": "first", "why": "old"},
    )  # fmt: skip
    code, _, err = shardline("delete", "models/tiny/1")
    assert (code, "is what live points to; move the alias" in err) == (2, True)
    for reference in ("models/tiny", "models/tiny@live", "datasets/tiny/v1"):
        code, _, err = shardline("delete", reference)
        assert (code, "names no model version; write models/NAME/VERSION" in err) == (2, True)
    code, _, err = shardline("delete", "tiny")
    assert (code, "'tiny' names no artifact; write models/NAME, models/NAME/V" in err) == (2, True)


SPEC = """
name: tiny
store: store
data: {source: {format: csv, path: raw.csv}, label: {name: y}}
model: {builder: "model:build"}
export: {alias: live, gate: {accuracy: {min: 0.5, max_regression: 0.1}}}
"""


def test_promote_and_rollback_verbs_leave_who_and_why(store, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("SHARDLINE_USER", "first")
    spec = tmp_path / "tiny.yaml"
    spec.write_text(SPEC)
    for number, accuracy in ((1, 0.9), (2, 0.85), (3, 0.7)):
        publish_versions(store, number, metrics={"accuracy": accuracy})

    def said(*arguments):
        code = main([*arguments[:1], str(spec), *arguments[1:], "--json"])
        return code, json.loads(capfd.readouterr().out)

    def pointing(version):
        return 0, {"model": "tiny", "alias": "live", "version": version}

    assert said("promote", "--version", "1") == pointing(1)
    assert said("promote", "--version", "2", "--why", "half the size") == pointing(2)
    code, refusal = said("promote")
    assert (code, refusal["kind"]) == (1, "GateError")
    assert "accuracy is 0.7, version 2 has 0.85 on the same rows; at most 0.1" in refusal["error"]
    assert said("rollback", "--why", "wrong about cats") == pointing(1)
    assert said("rollback", "--to", "2") == pointing(2)
    moves = [(row["who"], row["from"], row["to"], row["why"]) for row in history(store.uri, "tiny")]
    assert moves == [
        ("first", None, 1, "promoted"),
        ("first", 1, 2, "half the size"),
        ("first", 2, 1, "wrong about cats"),
        ("first", 1, 2, "rolled back"),
    ]
