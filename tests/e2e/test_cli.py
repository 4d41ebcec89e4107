"""The contract of the command line: JSON, exit codes, what is loaded, and what a store holds."""

import shutil
import sys
import time

import jsonschema
import pytest
import yaml
from tests.e2e.commands import EXAMPLES, run_process
from tests.lines import classifier_line

from shardline import line
from shardline.garbage.collect import collect_garbage

EXAMPLE_SPECS = sorted(EXAMPLES.glob("*/*.yaml"))


@pytest.fixture
def toy(tmp_path):
    """The spec file of a small table that nothing was done with yet."""
    classifier_line(tmp_path, num_rows=60)
    return tmp_path / "toy.yaml"


# JSON


def test_prepare_json_has_the_promised_keys_and_nothing_else_is_said(shardline, toy):
    done = shardline("prepare", toy, "--json")
    assert (done.code, done.err) == (0, "")
    report = done.json
    assert {"dataset", "version", "uri", "reused", "quarantine"} <= report.keys()
    assert report["rows_read"] == report["rows_kept"] + report["rows_quarantined"] == 60
    assert sum(report["splits"].values()) == 60
    again = shardline("prepare", toy, "--json").json
    assert again == report | {"reused": True}


def test_train_json_has_the_history_of_every_epoch(shardline, toy_line):
    done = shardline("train", toy_line, "--json")
    assert (done.code, done.err) == (0, "")
    report = done.json
    assert report.keys() == {"run", "uri", "history", "metrics", "checkpoint"}
    assert [entry["epoch"] for entry in report["history"]] == [0, 1, 2]
    last = report["history"][-1]
    assert last.keys() == {"epoch", "loss", "accuracy", "val_loss", "val_accuracy"}
    assert report["metrics"] == {name: last[name] for name in last if name != "epoch"}
    assert report["checkpoint"].startswith(report["uri"])


def test_evaluate_and_export_json_have_the_promised_keys(shardline, toy_line):
    evaluated = shardline("evaluate", toy_line, "--json")
    assert (evaluated.code, evaluated.err) == (0, "")
    assert {"metrics", "rows", "split", "checkpoint"} <= evaluated.json.keys()
    assert evaluated.json["metrics"].keys() == {"loss", "accuracy"}
    exported = shardline("export", toy_line, "--json")
    assert (exported.code, exported.err) == (0, "")
    assert {"model", "version", "uri", "parity"} <= exported.json.keys()
    assert (exported.json["model"], exported.json["version"]) == ("toy", 1)


def test_any_checkpoint_is_evaluated_and_exported_from_a_copy_of_the_store_alone(
    shardline, toy_line, tmp_path
):
    """With neither spec file nor builder; the gate sees the evaluation of that very step."""
    shutil.copytree(toy_line.parent / "store", tmp_path / "store")
    store = ("--store", tmp_path / "store")
    listed = shardline("runs", "toy", "--checkpoints", *store, "--json").json["checkpoints"]
    first, *_, last = listed
    assert (first["step"], first["kept"], last["best"]) == (13, "last", True)
    reference = f"toy@{first['step']}"
    # The run has the settings of the command that trained it last, whichever test that was.
    gated = ("--set", "export.gate={loss: {max: 99}}", "--set", "export.alias=production")
    evaluated = shardline("evaluate", reference, *store, "--json").json
    assert evaluated["checkpoint"] == first["uri"]
    exported = shardline("export", reference, *store, *gated, "--json")
    assert (exported.code, exported.err) == (0, "")
    assert exported.json["alias"] == "production"
    versions = shardline("models", "toy", *store, "--json").json["models"]
    assert versions[-1]["run"] == reference
    assert versions[-1]["version"] == exported.json["version"] > versions[0]["version"]
    wrong = shardline("export", "toy@7", *store)
    assert wrong.code == 2
    assert wrong.sentence.endswith("it has those of steps 13, 26, 39.")


def test_score_json_counts_every_row(shardline, toy_line, tmp_path):
    done = shardline("score", toy_line, "--set", f"score.output={tmp_path}/scores", "--json")
    assert (done.code, done.err) == (0, "")
    assert {"rows_read", "rows_scored", "rows_rejected", "output", "seconds"} <= done.json.keys()
    assert done.json["rows_read"] == done.json["rows_scored"] == 300


def test_run_json_nests_the_reports_of_its_verbs(shardline, toy_line):
    done = shardline("run", toy_line, "--json")
    assert (done.code, done.err) == (0, "")
    assert done.json.keys() == {"prepare", "train", "evaluate", "export"}
    assert done.json["prepare"]["reused"] is True
    assert done.json["export"]["version"] == 1
    table = shardline("run", toy_line).out
    for verb, report in done.json.items():
        assert f"run: {verb}" in table
        assert all(name in table for name in report)


def test_promote_json_says_where_the_alias_points(shardline, toy_line):
    done = shardline("promote", toy_line, "--alias", "production", "--json")
    assert done.json == {"model": "toy", "alias": "production", "version": 1}


def test_table_shows_the_keys_of_the_json_and_cuts_no_uri(shardline, toy):
    done = shardline("prepare", toy)
    report = shardline("prepare", toy, "--json").json
    assert all(name in done.out for name in report)
    assert report["uri"] in done.out


@pytest.mark.parametrize(
    ("arguments", "kind", "sentence"),
    [
        (("train", "nowhere.yaml"), "SpecError", "cannot read spec 'nowhere.yaml': No such file "),
        (("serve", "nowhere.yaml"), "SpecError", "cannot read spec 'nowhere.yaml': No such file "),
        (("validate", "nowhere.yaml"), "SpecError", "cannot read spec 'nowhere.yaml': No such "),
        (("models", "toy", "--store", "nowhere"), "NotFoundError", "store file:///"),
        (("train",), "MissingParameter", "Missing argument 'SPEC'."),
        (("trian",), "NoSuchCommand", "No such command 'trian'."),
    ],
)
def test_error_json_holds_the_sentence_and_its_kind(shardline, arguments, kind, sentence):
    done = shardline(*arguments, "--json")
    assert done.code == 2
    assert done.json.keys() == {"error", "kind"}
    assert done.json["kind"] == kind
    assert done.json["error"].startswith(sentence)
    assert done.sentence.endswith(done.json["error"])


def test_unexpected_error_is_exit_code_1_with_its_traceback(shardline, toy, monkeypatch):
    def fail(spec):
        raise RuntimeError("of two\nlines")

    monkeypatch.setattr(line, "validate", fail)
    done = shardline("validate", toy, "--json")
    assert done.code == 1
    assert "in fail" in done.err
    assert done.sentence == "unexpected RuntimeError: of two lines; this is a bug."
    assert done.json == {"error": done.sentence, "kind": "RuntimeError"}


# Without Ray


def test_validate_loads_neither_ray_nor_tensorflow(tmp_path):
    code = (
        "import sys; from shardline.cli import main; code = main(sys.argv[1:]);"
        "print(sorted({'ray', 'tensorflow', 'keras'} & set(sys.modules)), file=sys.stderr);"
        "sys.exit(code)"
    )
    for spec in (EXAMPLES / "celsius/celsius.yaml", tmp_path / "toy.yaml"):
        classifier_line(tmp_path)
        done = run_process("validate", spec, "--json", command=(sys.executable, "-c", code))
        assert (done.code, done.sentence) == (0, "[]")
        assert done.json["source_files"] == 1
        assert done.json["builder"] == "model:build"


def test_validate_schema_is_a_schema_that_takes_the_examples(shardline):
    done = shardline("validate", "--schema")
    assert (done.code, done.err) == (0, "")
    validator = jsonschema.Draft202012Validator(done.json)
    validator.check_schema(done.json)
    assert len(EXAMPLE_SPECS) >= 2
    for file in EXAMPLE_SPECS:
        spec = yaml.safe_load(file.read_text())
        validator.validate(spec)
        for wrong in ({"epoch": 3}, {"epochs": "three"}):
            assert not validator.is_valid(spec | {"train": wrong})


# What a store holds


def test_listings_show_what_a_finished_line_left(shardline, toy_line):
    store = ("--store", toy_line.parent / "store")
    (dataset,) = shardline("datasets", *store, "--json").json["datasets"]
    assert (dataset["dataset"], dataset["rows"], dataset["quarantined"]) == ("toy", 300, 0)
    assert shardline("datasets", "toy", *store, "--json").json["datasets"] == [dataset]
    (run,) = shardline("runs", *store, "--json").json["runs"]
    assert (run["run"], run["epochs"]) == ("toy", 3)
    rows = shardline("runs", "toy", *store, "--json").json["runs"]
    assert any(run.items() <= row.items() for row in rows)
    (model,) = shardline("models", *store, "--json").json["models"]
    assert (model["model"], model["versions"]) == ("toy", 1)
    (version,) = shardline("models", "toy", *store, "--json").json["models"]
    assert (version["version"], version["run"]) == (1, f"toy@{run['step']}")
    for kind, row in (("datasets", dataset), ("runs", run), ("models", model)):
        done = shardline(kind, *store)
        assert (done.code, done.err) == (0, "")
        assert all(str(value) in done.out for value in row.values())


def test_gc_finds_nothing_in_what_a_finished_line_left(toy_line):
    in_a_week = time.time() + 7 * 86400
    found = collect_garbage(str(toy_line.parent / "store"), clock=lambda: in_a_week)
    assert found.items == []


@pytest.mark.parametrize(
    ("kind", "one"), [("datasets", "dataset"), ("runs", "run"), ("models", "model")]
)
def test_listing_of_an_unknown_name_and_of_an_empty_store_say_where_they_looked(
    shardline, tmp_path, kind, one
):
    done = shardline(kind, "digits", "--store", tmp_path)
    assert (done.code, done.out) == (2, "")
    assert done.sentence == (
        f"store file://{tmp_path} has no {kind[:-1]} 'digits'; check --store, or leave the name "
        "out to list all."
    )
    assert shardline(kind, "--store", tmp_path).out == f"no {kind} in {tmp_path}\n"
    assert shardline(kind, "--store", tmp_path, "--json").json == {kind: []}


def test_listings_take_the_store_from_the_environment(shardline, toy_line, monkeypatch):
    monkeypatch.setenv("SHARDLINE_STORE", str(toy_line.parent / "store"))
    assert "toy" in shardline("models").out


def test_help_names_every_verb(shardline):
    done = shardline("--help")
    assert (done.code, done.err) == (0, "")
    for verb in ("validate", "prepare", "train", "evaluate", "export", "promote", "score", "serve"):
        assert f"\n  {verb} " in done.out
        assert shardline(verb, "--help").code == 0
