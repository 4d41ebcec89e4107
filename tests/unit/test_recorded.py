"""A run that is named instead of a spec file: what its record gives back, and what it lacks."""

import json

import pytest
import yaml
from tests.e2e.commands import EXAMPLES
from tests.lines import classifier_line, prepared
from tests.sample_datasets import spec_for

from shardline import line
from shardline.cli import main
from shardline.errors import ModelError, NotFoundError
from shardline.model.code import collect_code
from shardline.recorded import RunReference, parse_run, recorded_spec
from shardline.spec import load_spec
from shardline.spec.revision import CodeRevision
from shardline.store import dump_marker, open_store
from shardline.training.run import begin_run, read_run

WATCH = "import keras\nfrom more import MORE\n\nclass Watch(keras.callbacks.Callback):\n    pass\n"


@pytest.fixture
def begun(tmp_path):
    """A run with everything that travels in a spec: own callbacks, weights, gates."""
    spec = classifier_line(
        tmp_path,
        num_rows=60,
        **{
            "train.callbacks": [{"name": "watch:Watch"}, {"name": "EarlyStopping", "patience": 2}],
            "train.class_weight": {"left": 2.0},
            "train.workers": {"min": 1, "max": 2},
            "train.checkpoint": {"keep_every_hours": 6, "monitor": {"metric": "val_loss"}},
            "export": {"alias": "production", "gate": {"accuracy": {"min": 0.5}}},
        },
    )
    (tmp_path / "watch.py").write_text(WATCH)
    (tmp_path / "more.py").write_text("MORE = 1\n")
    spec = spec.located()
    begin_run(open_store(spec.store), spec, dataset=prepared(spec), code=collect_code(spec))
    return spec


def test_record_gives_back_the_spec_and_the_code_that_the_run_was_begun_with(begun, tmp_path):
    for file in tmp_path.glob("*.py"):
        file.unlink()
    with recorded_spec(begun.store, "toy") as spec:
        assert spec.model_dump() == begun.model_dump()
        assert dict(collect_code(spec).files).keys() == {"model.py", "watch.py", "more.py"}
        folder = spec.base
    assert not folder.exists()


def test_record_knows_the_commit_of_the_code_that_it_gives_back(begun):
    store = open_store(begun.store)
    with recorded_spec(begun.store, "toy") as spec:
        assert collect_code(spec).revision is None
    revision = CodeRevision(commit="1f" * 20, dirty=False)
    record = read_run(store, "toy").model_copy(update={"code_revision": revision})
    store.write("runs/toy/run.json", dump_marker(record))
    with recorded_spec(begun.store, "toy") as spec:
        assert collect_code(spec).revision == revision


def test_record_of_a_store_that_was_moved_is_read_where_it_is(begun, tmp_path, monkeypatch):
    (tmp_path / "store").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    with recorded_spec("moved", "toy", overrides=["export.alias=null"]) as spec:
        assert spec.store == f"file://{tmp_path}/moved"
        assert spec.export.alias is None


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*/*.yaml")))
def test_record_of_every_example_gives_back_its_spec(name, tmp_path):
    spec = load_spec(EXAMPLES / name / f"{name}.yaml", overrides=[f"store={tmp_path}/store"])
    record = {
        "run": name,
        "identity": {"model code": collect_code(spec).digest},
        "spec": spec.model_dump(mode="json"),
        "code": dict(collect_code(spec).files),
    }
    open_store(spec.store).write(f"runs/{name}/run.json", json.dumps(record).encode())
    with recorded_spec(spec.store, name) as found:
        assert found.digest == spec.digest


def build(features):
    """The builder of a run that has no file."""


def test_record_without_the_builders_code_says_what_to_do(tmp_path):
    file_spec = classifier_line(tmp_path, num_rows=60).located()
    dataset, store = prepared(file_spec), open_store(file_spec.store)
    spec = spec_for(store, dataset, build)
    begin_run(store, spec, dataset=dataset, code=collect_code(spec))
    sentence = (
        r"run 'toy' was begun with builder '.*:build', whose code its record does not hold: a "
        r"Python function, or .*; call shardline\.export\(spec, step=STEP\) where"
    )
    with pytest.raises(ModelError, match=sentence), recorded_spec(store.uri, "toy"):
        pytest.fail("there is no code")


def test_record_with_code_outside_its_folder_is_refused(begun, tmp_path):
    store = open_store(begun.store)
    record = json.loads(store.read("runs/toy/run.json"))
    record["code"]["../evil.py"] = "raise SystemExit"
    store.write("runs/toy/run.json", json.dumps(record).encode())
    outside = pytest.raises(ModelError, match=r"holds code at '\.\./evil\.py', outside its own")
    with outside, recorded_spec(store.uri, "toy"):
        pytest.fail("it was written")


def test_record_that_is_not_there_says_where_it_looked(tmp_path):
    sentence = rf"store file://{tmp_path} has no record of a run 'toy'; check --store"
    with pytest.raises(NotFoundError, match=sentence), recorded_spec(str(tmp_path), "toy"):
        pytest.fail("there is none")


@pytest.mark.parametrize(
    ("argument", "found"),
    [
        ("digits", RunReference("digits", None)),
        ("digits@200", RunReference("digits", 200)),
        ("exp-1.2@0", RunReference("exp-1.2", 0)),
        ("nowhere.yaml", None),
        ("specs/digits", None),
        ("digits@last", None),
        ("@200", None),
    ],
)
def test_argument_is_a_run_or_a_spec_file(argument, found, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse_run(argument) == found


def test_argument_that_is_a_file_is_a_spec_whatever_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").write_text("{}")
    (tmp_path / "toy").mkdir()
    assert parse_run("digits") is None
    assert parse_run("toy") == RunReference("toy", None)


# The verbs


@pytest.fixture
def called(monkeypatch):
    """What the verbs hand to Python."""
    calls = []

    def note(spec, *, address, step):
        calls.append((spec.run_name, spec.export.alias, step, collect_code(spec).digest))
        raise NotFoundError("enough.")

    monkeypatch.setattr(line, "export", note)
    monkeypatch.setattr(line, "evaluate", note)
    return calls


@pytest.mark.parametrize("verb", ["export", "evaluate"])
def test_verb_takes_a_run_a_step_of_it_or_a_step_of_a_spec(begun, called, tmp_path, verb, capsys):
    code = collect_code(begun).digest
    store = ["--store", str(tmp_path / "store")]
    spec = yaml.safe_load((tmp_path / "toy.yaml").read_text())
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(spec | {"export": {"alias": "staging"}}))
    for arguments in (
        ["toy@12", *store],
        ["toy", *store, "--step", "12", "--set", "export.alias=null"],
        ["toy", *store],
        [str(tmp_path / "other.yaml"), "--step", "12"],
    ):
        assert main([verb, *arguments]) == 2
        assert capsys.readouterr().err.splitlines()[-1] == "enough."
    assert [each[:3] for each in called] == [
        ("toy", "production", 12), ("toy", None, 12), ("toy", "production", None),
        ("toy", "staging", 12),
    ]  # fmt: skip
    assert [each[3] for each in called[:3]] == [code] * 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["toy@3", "--step", "4"], "toy@3 names a step already; leave --step out."),
        (["toy.yaml", "--store", "s"], "a SPEC names its store itself; --set store=URI overrides"),
        (["toy@3", "--store", "s"], "/s has no record of a run 'toy'; check --store and the name"),
        (["toy@x"], "cannot read spec 'toy@x': No such file or directory."),
    ],
)
def test_verb_refuses_what_does_not_fit_together(
    tmp_path, monkeypatch, capsys, arguments, sentence
):
    monkeypatch.chdir(tmp_path)
    assert main(["export", *arguments]) == 2
    assert sentence in capsys.readouterr().err.splitlines()[-1]


def test_run_may_be_looked_up_in_the_store_of_the_environment(begun, called, monkeypatch):
    monkeypatch.setenv("SHARDLINE_STORE", begun.store)
    assert main(["export", "toy@7"]) == 2
    assert called[0][:3] == ("toy", "production", 7)
