"""Spec files: what is accepted, and the sentence for what is not."""

from pathlib import Path

import pytest
import yaml

from shardline.errors import SpecError
from shardline.spec import Spec, check_spec, json_schema, load_spec

MINIMAL = {
    "name": "toy",
    "store": "file://./store",
    "data": {
        "source": {"format": "csv", "path": "rows.csv"},
        "label": {"name": "y", "dtype": "float32"},
    },
    "model": {"builder": "model:build"},
}


@pytest.fixture
def spec_file(tmp_path):
    file = tmp_path / "toy.yaml"
    file.write_text(yaml.safe_dump(MINIMAL))
    return file


def test_load_minimal_spec_fills_defaults_and_makes_locations_absolute(spec_file):
    spec = load_spec(spec_file)
    assert spec.store == f"file://{spec_file.parent}/store"
    assert spec.data.source.path == f"file://{spec_file.parent}/rows.csv"
    assert (spec.run_name, spec.model_name) == ("toy", "toy")
    assert spec.train.num_lanes == 16
    assert spec.serve.host == "127.0.0.1"
    assert spec.base == spec_file.parent


def test_load_override_wins_and_is_typed_as_yaml(spec_file):
    spec = load_spec(
        spec_file, overrides=["train.workers=2", "model.params.filters=8", "store=s3://b/p"]
    )
    assert spec.train.workers == 2
    assert spec.model.params == {"filters": 8}
    assert spec.store == "s3://b/p"


def test_load_elastic_workers_need_not_divide_the_lanes(spec_file):
    train = load_spec(spec_file, overrides=["train.workers={max: 3}"]).train
    assert (train.min_workers, train.max_workers) == (1, 3)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("train.worker=2", "unknown key 'train.worker', did you mean 'workers'?"),
        ("trian={}", "unknown key 'trian', did you mean 'train'?"),
        ("data.source.pth=x", "unknown key 'data.source.pth', did you mean 'path'?"),
        ("data.source.format=jpg", "data.source.format: expected one of 'images', 'csv', "),
        ("data.source={path: rows.csv}", "'data.source.format' is missing."),
        ("data.source={format: csv}", "'data.source.path' is missing."),
        ("data.source=rows.csv", "data.source: expected a section with keys of its own, got 'rows"),
        ("data.label=y", "data.label: expected a section with keys of its own, got 'y'."),
        ("model.builder=5", "model.builder: input should be a valid string, got 5"),
        ("score.keep=id", "score.keep: input should be a list, got 'id'."),
        ("data.split.fractions={val: 1.0}", "fractions.val: input should be 'train', 'validation'"),
        ("train.epochs=abc", "train.epochs: input should be a valid integer, got 'abc'"),
        ("train.epochs=0", "train.epochs: input should be greater than 0, got 0"),
        ("train.epochs='5'", "train.epochs: input should be a valid integer, got '5'"),
        ("train.workers=3", "workers (3) must divide the 16 lanes; use 2 or 4 workers"),
        ("train.workers=0", "train.workers: input should be greater than 0, got 0"),
        ("train.workers={min: 3, max: 2}", "train.workers: min (3) must not exceed max (2)"),
        ("train.workers={max: 32}", "workers.max (32) must not exceed the 16 lanes; lower it"),
        ("train.workers={mx: 4}", "unknown key 'train.workers.mx', did you mean 'max'?"),
        ("train.stall_timeout_s=0", "train.stall_timeout_s: input should be greater than 0"),
        ("train.lanes=5", "lanes (5) must divide global_batch (64); use 4 or 8"),
        ("model.builder=build", "expected module:function, got 'build'"),
        ("name=a/b", "name: string should match pattern"),
        ("data.split.fractions={train: 0.5}", "fractions must add up to 1, got 0.5"),
        ("data.split.fractions={test: 1.0}", "fractions must name `train`"),
        ("data.features={y: {dtype: int8}}", "label 'y' is also listed as a feature"),
        ("export.gate.accuracy={}", "a bound needs min, max or max_regression"),
        ("store=gs://bucket", "has scheme 'gs'; use a path, file:// or s3://"),
        ("store=s3://", "names no bucket"),
        ("model", "is not an assignment; write --set train.epochs=5"),
        ("name.x=1", "name is a value, not a section"),
    ],
)
def test_load_wrong_value_is_refused_with_a_sentence(spec_file, override, sentence):
    with pytest.raises(SpecError) as caught:
        load_spec(spec_file, overrides=[override])
    assert sentence in caught.value.message
    assert caught.value.exit_code == 2


def test_load_missing_keys_are_all_named(tmp_path):
    with pytest.raises(SpecError, match=r"'data' is missing; 'model' is missing"):
        check_spec({"name": "toy", "store": "x"}, where="toy.yaml")


def test_load_missing_file_is_named(tmp_path):
    with pytest.raises(SpecError, match=r"cannot read spec '.*nowhere.yaml': No such file"):
        load_spec(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("text", ["a: [", "- a\n- b\n", ""])
def test_load_malformed_yaml_is_refused(tmp_path, text):
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(SpecError, match=r"is not valid YAML|must hold a mapping"):
        load_spec(file)


def test_spec_builder_given_as_function_is_taken():
    def build(features):
        return None

    spec = check_spec({**MINIMAL, "model": build}, where="notebook")
    assert spec.model.builder is build
    assert Spec.model_validate(spec.model_dump() | {"model": build}).name == "toy"


def test_spec_digest_follows_every_value(spec_file):
    spec = load_spec(spec_file)
    assert spec.digest == load_spec(spec_file).digest
    assert spec.digest != load_spec(spec_file, overrides=["train.seed=1"]).digest


def test_schema_describes_every_section():
    schema = json_schema()
    assert set(schema["properties"]) >= {"name", "store", "data", "model", "train", "serve"}
    assert schema["additionalProperties"] is False


def test_shipped_examples_load():
    examples = Path(__file__).parents[3] / "examples"
    names = {load_spec(file).name for file in examples.glob("*/*.yaml")}
    assert names == {"digits", "celsius"}
