"""The README's code blocks do what the page says, from top to bottom, in a copy of the examples."""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson
import pytest
import yaml
from tests.data.preparing import manifest_of, prepare, quarantined, rows_of
from tests.e2e.commands import EXAMPLES, ROOT, environment
from tests.raw_sources import write_csv

import shardline
from shardline.artifacts.registry import resolve
from shardline.data.manifest import load_dataset
from shardline.data.prepare import prepare_dataset
from shardline.model.builder import build_model
from shardline.model.code import collect_code
from shardline.progress import SilentProgress
from shardline.spec import load_spec
from shardline.store import Store, open_store

DEADLINE_S = 280
PATIENTS, VISITS = 20, 3
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def all_blocks():
    """Language and text of every code block."""
    return BLOCK.findall((ROOT / "README.md").read_text())


def blocks(language):
    """The page's code blocks in one language."""
    return [text for name, text in all_blocks() if name == language]


def defines_builder(block):
    """Whether a Python block is a `model.py`."""
    return any(isinstance(node, ast.FunctionDef) for node in ast.parse(block).body)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A folder with the examples as they are in the repository, on a port that is free."""
    folder = tmp_path_factory.mktemp("readme")
    skipped = shutil.ignore_patterns("store", "raw", "__*")
    shutil.copytree(EXAMPLES, folder / "examples", ignore=skipped)
    for spec in folder.glob("examples/*/*.yaml"):
        spec.write_text(spec.read_text().replace("port: 8000", "port: 0"))
    return folder


def run(command, folder):
    """A command in the copy, with the commands of this Python first on PATH."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(PATH=path),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def test_readme_has_no_block_that_no_test_looks_at():
    assert {name for name, _ in all_blocks()} <= {"", "sh", "python", "yaml"}
    assert len(blocks("sh")) >= 2
    assert len(blocks("yaml")) == 4
    assert {defines_builder(block) for block in blocks("python")} == {True, False}


@pytest.mark.timeout(2 * DEADLINE_S)
def test_readme_python_and_commands_run_from_top_to_bottom(copy):
    (program,) = [block for block in blocks("python") if not defines_builder(block)]
    printed = ast.literal_eval(run([sys.executable, "-c", program], copy))
    assert printed["predictions"][0][0] == pytest.approx(212, abs=1)

    lines = [line for block in blocks("sh") for line in block.splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines]
    assert {command[0] for command in commands} == {"make", "shardline"}
    for command in commands:
        # `make test` is this very run, and `make quickstart` has a test of its own.
        run(
            [*command, "-n"] if command[0] == "make" else command,
            ROOT if command[0] == "make" else copy,
        )
    store = Store(f"file://{copy}/examples/celsius/store")
    assert resolve(store, "celsius", alias="production").version >= 1


def test_readme_spec_and_builder_make_a_model_of_the_digits(copy):
    text, *_ = blocks("yaml")
    (builder,) = [block for block in blocks("python") if defines_builder(block)]
    folder = copy / "page"
    folder.mkdir()
    (folder / "page.yaml").write_text(text)
    (folder / "model.py").write_text(builder)
    run([sys.executable, "examples/digits/make_raw.py", "page/raw"], copy)
    spec = load_spec(folder / "page.yaml")
    assert yaml.safe_load(text)["name"] == spec.name == "digits"
    store = open_store(spec.store)
    result = prepare_dataset(spec, store=store, clock=lambda: 0.0, progress=SilentProgress())
    assert result.rows_kept == 1797
    dataset = load_dataset(store, result.dataset, result.version)
    model = build_model(collect_code(spec), spec, dataset)
    assert model.compiled
    assert model.output_shape == (None, 10)


def test_readme_further_training_keys_are_keys(copy):
    text, further, *_ = blocks("yaml")
    (builder,) = [block for block in blocks("python") if defines_builder(block)]
    folder = copy / "further"
    folder.mkdir()
    watch = "\n\nclass Watch(keras.callbacks.Callback):\n    pass\n"
    (folder / "model.py").write_text(builder + watch)
    values = yaml.safe_load(text) | yaml.safe_load(further)
    (folder / "further.yaml").write_text(yaml.safe_dump(values))
    spec = load_spec(folder / "further.yaml")
    assert [callback.name for callback in spec.train.callbacks] == ["EarlyStopping", "model:Watch"]
    assert dict(collect_code(spec).files).keys() == {"model.py"}


def patients_csv():
    """Three visits of every patient, and one of each thing that the page cleans or sets aside."""
    cities, kinds = (" Oslo", "OSLO ", "\uff2fslo"), ("cat", "dog")
    rows = [
        [20.5 + i, cities[i % 3], kinds[i % 2], f"v{i}", f"p{i // VISITS}", i % 2]
        for i in range(PATIENTS * VISITS)
    ]
    rows[4][0] = ""
    rows[10][0] = 999
    rows[16][1] = ""
    rows[22][2] = "axolotl"
    rows.append(rows[28])
    lines = [",".join(map(str, row)) for row in rows]
    return "\n".join(["age,city,species,id,patient,label", *lines])


def test_readme_cleaning_and_division_do_what_the_page_says(tmp_path):
    _, _, cleaning, _ = blocks("yaml")
    write_csv(tmp_path / "raw.csv", patients_csv())
    named = {"source": {"format": "csv", "path": "raw.csv"}, "label": {"name": "label"}}
    values = {"name": "sample", "store": "store", "model": {"builder": "model:build"}}
    values["data"] = named | yaml.safe_load(cleaning)["data"]
    (tmp_path / "cleaning.yaml").write_text(yaml.safe_dump(values))
    spec = load_spec(tmp_path / "cleaning.yaml")
    result = prepare(spec)

    assert (result.rows_read, result.rows_kept, result.rows_quarantined) == (61, 59, 2)
    assert {(row["rule"], row["row"], row["reason"]) for row in quarantined(spec, result)} == {
        ("unmapped", 23, "'species' is 'axolotl', which its map does not name"),
        ("duplicate", 61, "repeats the key id of another row, which is kept"),
    }
    manifest = manifest_of(spec, result)
    names = [column.name for column in manifest.columns.features]
    assert names == ["age", "age_missing", "city", "species"]

    train, test = (rows_of(spec, result, splits=[side]).to_pylist() for side in ("train", "test"))
    rows = {row["id"]: row for row in train + test}
    assert [key for key, row in rows.items() if row["age_missing"]] == ["v4"]
    known = [row["age"] for row in train if not row["age_missing"]]
    assert manifest.cleaning["age"].fitted_on == len(known)
    assert rows["v4"]["age"] == manifest.cleaning["age"].treatment.fill == np.median(known)
    assert 79.5 < rows["v10"]["age"] == manifest.cleaning["age"].treatment.high < 999
    assert {key: row["city"] for key, row in rows.items() if row["city"] != "oslo"} == {
        "v16": "none"
    }
    assert {row["species"] for row in rows.values()} == {"pet"}

    in_train, in_test = ({row["patient"] for row in side} for side in (train, test))
    assert len(in_train) + len(in_test) == len(in_train | in_test) == PATIENTS
    assert in_test


def test_readme_kinds_of_features_do_what_the_page_says(tmp_path):
    *_, kinds = blocks("yaml")
    rows = [
        {"age": i, "seen": f"2026-01-0{1 + i % 9}T12:00", "clicks": [7] * i, "label": i % 2}
        for i in range(40)
    ]
    rows[5]["seen"] = "2026-02-30"
    rows[6]["clicks"] = None
    (tmp_path / "raw.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    named = {"source": {"format": "json", "path": "raw.jsonl"}, "label": {"name": "label"}}
    values = {"name": "sample", "store": "store", "model": {"builder": "model:build"}}
    values["data"] = named | yaml.safe_load(kinds)["data"] | {"max_quarantined": 0.1}
    (tmp_path / "kinds.yaml").write_text(yaml.safe_dump(values))
    spec = load_spec(tmp_path / "kinds.yaml")
    result = prepare(spec)

    assert {row["row"] for row in quarantined(spec, result)} == {6, 7}
    place = {"store": spec.store, "version": result.version}
    (batch,) = shardline.batches("sample", **place, batch=38)
    found = {int(age): row for row, age in enumerate(batch["age"][:, 0])}
    noon_us = int(datetime(2026, 1, 4, 12, tzinfo=UTC).timestamp() * 1_000_000)
    assert batch["seen"][found[3]].tolist() == [noon_us]
    assert batch["clicks"][found[3]].tolist() == [7, 7, 7] + [0] * 29
    assert batch["clicks"][found[39]].tolist() == [7] * 32
