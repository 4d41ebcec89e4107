"""Bad input as a stranger meets it: exit code 2, one sentence last on stderr, nothing lost."""

import json
import re
import time
from pathlib import Path

import pytest
from tests.e2e.commands import artifacts, refused, run_process
from tests.lines import classifier_line
from tests.raw_sources import write_images

from shardline.cli import main

HEADER = "id,a,b,kind\n"
ADDRESS_DEADLINE_S = 45
"""Ray alone tries a dead address for minutes."""
IMAGES_SPEC = """
name: pictures
store: store
data:
  source: {format: images, path: raw}
  features: {image: {dtype: uint8, shape: [4, 5, 1]}}
  label: {name: class}
model: {builder: model:build}
"""


@pytest.fixture
def toy(tmp_path):
    """The spec file of a small table that nothing was done with yet."""
    classifier_line(tmp_path, num_rows=60)
    return tmp_path / "toy.yaml"


@pytest.fixture
def pictures(tmp_path):
    """The spec file of eighteen images in three classes."""
    write_images(tmp_path / "raw")
    file = tmp_path / "pictures.yaml"
    file.write_text(IMAGES_SPEC)
    return file


# The spec


def test_unknown_key_names_the_nearest(shardline, toy):
    toy.write_text(toy.read_text().replace("epochs:", "epoch:"))
    for verb in ("validate", "prepare", "train", "run"):
        refused(
            shardline(verb, toy),
            r".*toy\.yaml: unknown key 'train\.epoch', did you mean 'epochs'\?",
        )
    assert not (toy.parent / "store").exists()
    toy.write_text(toy.read_text().replace("epoch:", "epochs:"))
    assert shardline("prepare", toy).code == 0


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        ("epochs", r"--set 'epochs' is not an assignment; write --set train\.epochs=5\."),
        ("train.epochs=[", r"--set 'train\.epochs=\[': '\[' is not a YAML value\."),
        ("name.first=toy", r"--set 'name\.first=toy': name is a value, not a section\."),
        ("train.epochs=many", r".*: train\.epochs: input should be a valid integer, got 'many'\."),
    ],
)  # fmt: skip
def test_set_nonsense_is_refused_by_its_words(shardline, toy, assignment, sentence):
    refused(shardline("prepare", toy, "--set", assignment), sentence)


def test_missing_spec_file_is_named(shardline, tmp_path):
    refused(
        shardline("train", tmp_path / "toy.yaml"),
        r"cannot read spec '.*/toy\.yaml': No such file or directory\.",
    )


def test_spec_that_is_no_text_is_refused(shardline, tmp_path):
    file = tmp_path / "toy.yaml"
    file.write_bytes(b"name: \xfc\n")
    refused(shardline("validate", file), r"cannot read spec '.*/toy\.yaml': it is not UTF-8 text\.")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["validte"], r"Error: No such command 'validte'\. \(Did you mean .*'validate'\?\)"),
        (["train"], r"Error: Missing argument 'SPEC'\."),
        (["validate"], r"Error: name a SPEC file, or ask for --schema\."),
        (["train", "toy.yaml", "--jsn"], r"Error: No such option '--jsn'\. \(Did you mean .*"),
        (["promote", "toy.yaml", "--version", "one"], r"Error: .* 'one' is not a valid integer\."),
    ],
)
def test_wrong_arguments_are_refused(shardline, arguments, sentence):
    refused(shardline(*arguments), sentence)


# The source


def test_missing_source_is_refused_and_the_mended_spec_prepares(shardline, toy):
    away = toy.with_name("away.csv")
    toy.with_name("rows.csv").rename(away)
    for verb in ("validate", "prepare", "run"):
        refused(
            shardline(verb, toy),
            r"data\.source\.path .*/rows\.csv does not exist; check `data\.source\.path`\.",
        )
    assert artifacts(toy, "datasets") == []
    done = shardline("prepare", toy, "--set", "data.source.path=away.csv", "--json")
    assert (done.code, done.json["rows_kept"]) == (0, 60)


def test_unreadable_source_is_refused_by_its_name(shardline, toy):
    toy.with_name("rows.parquet").write_bytes(b"PAR1 torn off")
    refused(
        shardline("prepare", toy, "--set", "data.source={format: parquet, path: rows.parquet}"),
        r"cannot read .*/rows\.parquet: .*; mend or remove the file\.",
    )


def test_control_characters_of_a_source_stay_out_of_the_sentence(shardline, toy):
    toy.with_name("rows.csv").write_bytes(HEADER.encode() + b"r,\x1b[2J\x00\x08,2,left\n" * 9)
    done = shardline("prepare", toy, "--set", "data.features.a.dtype=float32")
    refused(done, r"9 of 9 rows cannot be used, .* rows\.csv row 1: feature 'a' is .*")
    assert done.sentence.isprintable()


def test_source_without_rows_is_refused_and_rows_mend_it(shardline, toy):
    rows = toy.with_name("rows.csv")
    text = rows.read_text()
    rows.write_text(HEADER)
    refused(
        shardline("prepare", toy),
        r"data\.source\.path .*/rows\.csv holds no rows; check that it is complete\.",
    )
    assert artifacts(toy, "datasets") == []
    rows.write_text(text)
    assert shardline("prepare", toy).code == 0


def test_missing_label_column_names_what_is_there(shardline, toy):
    refused(
        shardline("prepare", toy, "--set", "data.label.name=kinds"),
        r"rows\.csv has no label 'kinds'; its columns are id, a, b, kind, did you mean 'kind'\?",
    )
    assert artifacts(toy, "datasets") == []
    assert shardline("prepare", toy).code == 0


def test_label_null_throughout_is_refused(shardline, toy):
    toy.with_name("rows.csv").write_text(HEADER + "r,1,2,\n" * 5)
    refused(
        shardline("prepare", toy),
        r"label column 'kind' is null in all 5 rows; "
        r"name the column to learn in data\.label\.name\.",
    )


def test_labels_null_here_and_there_are_quarantined_up_to_the_limit(shardline, toy):
    rows = toy.with_name("rows.csv")
    rows.write_text(rows.read_text() + "r,1,2,\n")
    done = shardline("prepare", toy, "--json")
    assert done.code == 0, done.err
    assert (done.json["rows_read"], done.json["rows_quarantined"]) == (61, 1)
    rows.write_text(rows.read_text() + "r,1,2,\n" * 9)
    refused(
        shardline("prepare", toy),
        r"10 of 70 rows cannot be used, more than data\.max_quarantined = 0\.05 allows; the first: "
        r"rows\.csv row 61: label 'kind' is null; .*Mend the source or the spec, or raise "
        r"data\.max_quarantined\.",
    )


def test_undecodable_image_is_quarantined_counted_and_named(shardline, pictures):
    torn = pictures.parent / "raw/cat/torn.png"
    torn.write_bytes(b"\x89PNG torn off")
    done = shardline("prepare", pictures, "--json", "--set", "data.max_quarantined=0.1")
    assert done.code == 0, done.err
    counts = [done.json[f"rows_{name}"] for name in ("read", "kept", "quarantined")]
    assert counts == [19, 18, 1]
    (line,) = Path(done.json["quarantine"].removeprefix("file://")).read_text().splitlines()
    assert json.loads(line)["file"] == "cat/torn.png"
    assert "does not decode" in json.loads(line)["reason"]


def test_undecodable_images_above_the_limit_are_refused_by_name(shardline, pictures):
    torn = pictures.parent / "raw/cat/torn.png"
    torn.write_bytes(b"\x89PNG torn off")
    refused(
        shardline("prepare", pictures),
        r"1 of 19 rows cannot be used, more than data\.max_quarantined = 0\.05 allows; the first: "
        r"cat/torn\.png row 1: image does not decode \(.*\)\. Mend the source .*",
    )
    assert artifacts(pictures, "datasets") == []
    torn.unlink()
    assert shardline("prepare", pictures, "--json").json["rows_quarantined"] == 0


def test_images_of_another_shape_are_refused_by_both_shapes(shardline, pictures):
    write_images(pictures.parent / "raw", shape=(8, 8), classes=("elk",))
    refused(
        shardline("prepare", pictures),
        r"6 of 24 rows cannot be used, .* elk/0\.png row 1: image has shape \[8, 8, 1\], "
        r"expected \[4, 5, 1\]; .*",
    )


def test_lists_of_another_length_are_refused_by_both_shapes(shardline, toy):
    lines = [json.dumps({"x": [1.0, 2.0], "y": 1})] * 5 + [json.dumps({"x": [1.0], "y": 0})] * 5
    toy.with_name("rows.jsonl").write_text("\n".join(lines) + "\n")
    data = {
        "source": {"format": "json", "path": "rows.jsonl"},
        "features": {"x": {"dtype": "float32", "shape": [2]}},
        "label": {"name": "y"},
    }
    refused(
        shardline("prepare", toy, "--set", f"data={json.dumps(data)}"),
        r"5 of 10 rows cannot be used, .* rows\.jsonl row 6: feature 'x' .*\[1\].*\[2\].*",
    )


# The store


def test_store_below_a_file_is_refused_before_anything_is_read(shardline, toy):
    for verb in ("prepare", "train", "run"):
        refused(
            shardline(verb, toy, "--set", "store=rows.csv/store"),
            r"cannot write .*/rows\.csv/store/\.shardline/probes/.*-pointer: Not a directory; "
            r"set store to a folder that this user may write\.",
        )
    assert shardline("prepare", toy).code == 0


def test_store_in_a_bucket_that_does_not_exist_is_refused(shardline, toy, s3_environment):
    for verb in ("prepare", "score"):
        refused(
            shardline(verb, toy, "--set", "store=s3://no-such-bucket/root"),
            r"bucket 'no-such-bucket' does not exist at http://127\.0\.0\.1:.*; create it or fix "
            r"`store` \(s3://no-such-bucket/root/.*\)\.",
        )


def test_store_that_does_not_answer_is_failed_work(shardline, toy, s3_environment, monkeypatch):
    monkeypatch.setattr("shardline.store.retrying.MAX_ATTEMPTS", 2)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    done = shardline("prepare", toy, "--set", "store=s3://bucket/root")
    assert done.code == 1
    assert re.fullmatch(
        r"s3://bucket/root/.* did not answer at http://127\.0\.0\.1:1: .*", done.sentence
    )


def test_store_of_an_unknown_scheme_is_refused(shardline, toy):
    refused(
        shardline("prepare", toy, "--set", "store=gs://bucket/root"),
        r"'gs://bucket/root' has scheme 'gs'; use a path, file:// or s3://\.",
    )


# Verbs before their time


@pytest.mark.parametrize(
    ("verb", "sentence"),
    [
        ("train", r"store .*/store has no dataset 'toy'; run `shardline prepare` first\."),
        ("evaluate", r"run 'toy' has no checkpoint in .*/store; run `shardline train` first\."),
        ("export", r"run 'toy' has no checkpoint in .*/store; run `shardline train` first\."),
        ("promote", r"store .*/store has no model 'toy'; .*run `shardline export` first\."),
        ("score", r"store .*/store has no model 'toy'; .*run `shardline export` first\."),
        ("serve", r"store .*/store has no model 'toy'; .*run `shardline export` first\."),
    ],
)
def test_verb_before_its_time_says_what_to_run_first(shardline, toy, verb, sentence):
    began_s = time.monotonic()
    refused(shardline(verb, toy, "--set", "export.alias=production"), sentence)
    assert time.monotonic() - began_s < 3, "Ray was started to find out"


# The cluster's address


def test_unreachable_address_is_refused_quickly_and_nothing_is_begun(toy):
    assert main(["prepare", str(toy)]) == 0
    began_s = time.monotonic()
    done = run_process("train", toy, "--address", "127.0.0.1:1")
    assert time.monotonic() - began_s < ADDRESS_DEADLINE_S
    refused(
        done,
        r"no Ray cluster answers at 127\.0\.0\.1:1; check the address and that the cluster is up\.",
    )
    assert artifacts(toy, "runs") == []
