"""Scoring without Ray: exactly-once parts, counts that add up, bad input named."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.sample_scoring import Doubler, X, model_manifest

from shardline.data.schema import Column
from shardline.errors import DataError, IntegrityError, NotFoundError
from shardline.progress import SilentProgress
from shardline.scoring.commit import committed_parts
from shardline.scoring.driver import plan_job, run_plan
from shardline.scoring.job import ScoreManifest
from shardline.scoring.worker import score_unit
from shardline.spec.locations import local_path
from shardline.store import read_marker


@pytest.fixture
def predictor():
    return Doubler()


@pytest.fixture
def run_here(predictor):
    def run(job, units):
        for unit in units:
            yield score_unit(job, unit, predictor)

    return run


@pytest.fixture
def spec(store, dataset):
    def make(source=None, **score):
        spec = spec_of(store, {"keep": ["path"], "batch": 4, **score})
        if source is None:
            return spec
        data = spec.data.model_copy(update={"source": spec_source(source)})
        return spec.model_copy(update={"data": data})

    return make


def spec_of(store, score):
    from shardline.spec import check_spec

    values = {
        "name": "tiny",
        "store": store.uri,
        "data": {
            "source": {"format": "parquet", "path": "file:///raw"},
            "label": {"name": "side"},
        },
        "model": {"builder": "model:build"},
        "score": score,
    }
    return check_spec(values, where="test")


def spec_source(values):
    from pydantic import TypeAdapter

    from shardline.spec.data import Source

    return TypeAdapter(Source).validate_python({"path": "file:///raw", **values})


def score(spec, store, model, run):
    plan = plan_job(spec, store=store, model=model)
    return run_plan(plan, progress=SilentProgress(), run=run)


def output_of(result):
    return pq.read_table(local_path(result.output)).sort_by("double")


def rejects_of(result):
    folder = local_path(result.output).parent / "_rejects"
    lines = [line for file in sorted(folder.glob("*.jsonl")) for line in file.open()]
    return [json.loads(line) for line in lines]


def test_score_dataset_answers_every_row_once_with_kept_columns(store, spec, model, run_here):
    result = score(spec(keep=["path", "side"]), store, model, run_here)
    assert (result.rows_read, result.rows_scored, result.rows_rejected) == (48, 48, 0)
    assert result.reused == 0
    table = output_of(result)
    assert table.column_names == ["path", "side", "double", "grid_out", "text", "model_version"]
    assert table["path"].to_pylist() == [f"file-{i}" for i in range(48)]
    assert table["side"].to_pylist() == [i % 2 for i in range(48)]
    assert table["double"].to_pylist() == [2.0 * i for i in range(48)]
    assert table["text"].to_pylist() == [f"x={i}" for i in range(48)]
    assert table["grid_out"].type == pa.fixed_shape_tensor(pa.float32(), (2, 2))
    grids = table["grid_out"].combine_chunks().to_numpy_ndarray()
    np.testing.assert_array_equal(grids[:, 1, 1], np.arange(48.0))
    assert set(table["model_version"].to_pylist()) == {3}


def test_score_one_split_reads_that_split_alone(store, spec, model, run_here):
    result = score(spec(input="dataset/test"), store, model, run_here)
    assert output_of(result)["path"].to_pylist() == [f"file-{i}" for i in range(37, 48)]


def test_score_predicts_in_batches_of_the_spec(store, spec, model, run_here, predictor):
    score(spec(input="dataset/test"), store, model, run_here)
    assert sorted(predictor.batches, reverse=True) == [4, 4, 1, 1, 1]  # row groups of 5, 5 and 1


def test_score_completed_job_reads_nothing_again(store, spec, model, run_here, predictor):
    first = score(spec(), store, model, run_here)
    calls = len(predictor.batches)
    for entry in list(store.scan("datasets/tiny/v1/train/")):
        store.delete(entry.key)
    again = score(spec(), store, model, run_here)
    assert len(predictor.batches) == calls
    assert (again.rows_read, again.output) == (first.rows_read, first.output)
    assert again.reused == len(list(local_path(first.output).iterdir()))


def test_score_interrupted_job_does_only_the_rest(store, spec, model, predictor):
    plan = plan_job(spec(), store=store, model=model)
    assert len(plan.units) == 6  # shards of 10 rows: four of train, two of test

    def killed(job, units):
        for unit in units[:2]:
            yield score_unit(job, unit, predictor)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_plan(plan, progress=SilentProgress(), run=killed)
    with pytest.raises(NotFoundError):
        read_marker(plan.job.output, "score.json", ScoreManifest)
    scored = []

    def rest(job, units):
        for unit in units:
            scored.append(unit.name)
            yield score_unit(job, unit, predictor)

    result = score(spec(), store, model, rest)
    assert (result.reused, len(scored), result.rows_scored) == (2, 4, 48)
    assert sum(predictor.batches) == 48
    manifest = read_marker(plan.job.output, "score.json", ScoreManifest)
    assert (manifest.rows_read, manifest.rows_scored, manifest.rows_rejected) == (48, 48, 0)
    assert set(manifest.parts) == committed_parts(plan.job.output)


def test_score_unit_twice_commits_once(store, spec, model, predictor):
    plan = plan_job(spec(), store=store, model=model)
    first = score_unit(plan.job, plan.units[0], predictor)
    key = f"predictions/{first.name}.parquet"
    before = plan.job.output.read(key)

    class Other(Doubler):
        def predict(self, columns):
            return {**super().predict(columns), "double": -columns["x"]}

    assert score_unit(plan.job, plan.units[0], Other()) == first
    assert plan.job.output.read(key) == before


def test_score_two_drivers_on_one_job_are_harmless(store, spec, model, predictor, run_here):
    plan = plan_job(spec(), store=store, model=model)

    def overtaken(job, units):
        for unit in units:
            score_unit(job, unit, predictor)  # the other driver was faster
            yield score_unit(job, unit, predictor)

    result = run_plan(plan, progress=SilentProgress(), run=overtaken)
    late = run_plan(plan, progress=SilentProgress(), run=run_here)
    assert result.rows_scored == late.rows_scored == 48
    assert len(output_of(result)) == 48


def test_score_other_model_version_or_columns_is_another_job(store, spec, model, run_here):
    first = score(spec(), store, model, run_here)
    second = score(spec(), store, model_manifest(version=4), run_here)
    third = score(spec(keep=[]), store, model, run_here)
    assert len({first.output, second.output, third.output}) == 3
    assert [r.reused for r in (first, second, third)] == [0, 0, 0]
    assert set(output_of(second)["model_version"].to_pylist()) == {4}


def test_score_output_of_its_own(store, spec, model, run_here, tmp_path):
    result = score(spec(output=f"file://{tmp_path}/answers"), store, model, run_here)
    assert result.output.startswith(f"file://{tmp_path}/answers/v3-")
    assert len(output_of(result)) == 48


def test_score_csv_rejects_bad_rows_by_file_and_row(store, spec, run_here, tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "a.csv").write_text("x,grid,path\n1,0,p1\nmuch,0,p2\n,0,p3\n4,0,p4\n")
    (folder / "b.csv").write_text("x,grid,path\n5,0,p5\n")
    made = spec({"format": "csv"}, input=f"file://{folder}", max_rejected=0.5)
    model = model_manifest(inputs=(X, Column(name="grid", dtype="uint8")))
    model = model.model_copy(update={"outputs": (model.outputs[0], model.outputs[2])})
    result = score(made, store, model, run_here)
    assert (result.rows_read, result.rows_scored, result.rows_rejected) == (5, 3, 2)
    assert output_of(result)["path"].to_pylist() == ["p1", "p4", "p5"]
    assert [(r["file"], r["row"]) for r in rejects_of(result)] == [("a.csv", 2), ("a.csv", 3)]
    assert "much" in rejects_of(result)[0]["reason"]
    again = score(made, store, model, run_here)
    assert (again.rows_rejected, again.reused) == (2, 2)


def test_score_too_many_rejected_fails_and_leaves_no_marker(store, spec, run_here, tmp_path):
    (tmp_path / "a.csv").write_text("x,path\n1,p\nbad,p\nworse,p\n")
    made = spec({"format": "csv"}, input=f"file://{tmp_path}/a.csv", max_rejected=0.5)
    model = model_manifest(inputs=(X,)).model_copy(update={"outputs": model_manifest().outputs[:1]})
    with pytest.raises(DataError) as caught:
        score(made, store, model, run_here)
    assert "2 of 3 rows cannot be scored, more than score.max_rejected = 0.5" in str(caught.value)
    (folder,) = local_path(f"{store.uri}/scores/tiny").iterdir()
    assert not (folder / "score.json").exists()


@pytest.fixture
def parquet(tmp_path):
    """Raw Parquet of 30 rows in groups of 4, one null; and its folder."""
    folder = tmp_path / "parquet"
    folder.mkdir()
    x = [float(i) for i in range(30)]
    x[9] = None
    table = pa.table({"path": [f"p{i}" for i in range(30)], "x": x, "more": [0] * 30})
    pq.write_table(table, folder / "a.parquet", row_group_size=4)
    return folder


LINE = model_manifest(inputs=(X,)).model_copy(update={"outputs": model_manifest().outputs[:1]})


def test_score_parquet_by_row_groups_names_the_row(store, spec, run_here, parquet, monkeypatch):
    monkeypatch.setattr("shardline.scoring.units.MAX_UNIT_ROWS", 9)
    made = spec({"format": "parquet"}, input=f"file://{parquet}")
    plan = plan_job(made, store=store, model=LINE)
    assert [(unit.first_row, unit.num_rows) for unit in plan.units] == [
        (0, 8), (8, 8), (16, 8), (24, 6),
    ]  # fmt: skip
    result = run_plan(plan, progress=SilentProgress(), run=run_here)
    assert (result.rows_scored, result.rows_rejected) == (29, 1)
    assert [(r["file"], r["row"]) for r in rejects_of(result)] == [("a.parquet", 10)]
    assert output_of(result)["path"].to_pylist() == [f"p{i}" for i in range(30) if i != 9]


def test_score_parquet_damaged_file_is_named(store, spec, run_here, parquet):
    data = bytearray((parquet / "a.parquet").read_bytes())
    data[4:200] = bytes(196)
    (parquet / "a.parquet").write_bytes(data)
    with pytest.raises(DataError, match=r"cannot read .*a\.parquet"):
        score(spec({"format": "parquet"}, input=f"file://{parquet}"), store, LINE, run_here)


def test_score_parquet_truncated_file_is_named(store, spec, run_here, parquet):
    (parquet / "a.parquet").write_bytes((parquet / "a.parquet").read_bytes()[:300])
    with pytest.raises(DataError, match=r"cannot read .*a\.parquet"):
        score(spec({"format": "parquet"}, input=f"file://{parquet}"), store, LINE, run_here)


def test_score_damaged_shard_is_named(store, spec, model, run_here):
    store.write("datasets/tiny/v1/test/part-00000.parquet", b"PAR1 no more")
    with pytest.raises(IntegrityError, match=r"test/part-00000\.parquet is damaged"):
        score(spec(), store, model, run_here)


def test_score_json_lines_missing_field_is_a_rejected_row(store, spec, run_here, tmp_path):
    rows = [{"x": 1, "path": "a"}, {"path": "b"}, {"x": 3, "path": "c"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = spec({"format": "json"}, input=f"file://{tmp_path}/a.jsonl", max_rejected=0.4)
    result = score(made, store, LINE, run_here)
    assert output_of(result)["path"].to_pylist() == ["a", "c"]
    assert [r["row"] for r in rejects_of(result)] == [2]


class Brightness:
    def predict(self, columns):
        return {"double": columns["image"].reshape(-1, 4).mean(axis=1, keepdims=True)}


def test_score_images_broken_one_is_rejected(store, spec, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for value in (10, 20):
        Image.fromarray(np.full((2, 2), value, np.uint8)).save(folder / f"{value}.png")
    (folder / "30.png").write_bytes(b"no image")
    image = Column(name="image", dtype="uint8", shape=(2, 2, 1))
    model = LINE.model_copy(update={"inputs": (image,)})
    made = spec({"format": "images"}, input=f"file://{folder}", max_rejected=0.4)

    def run(job, units):
        for unit in units:
            yield score_unit(job, unit, Brightness())

    result = score(made, store, model, run)
    assert output_of(result)["double"].to_pylist() == [10.0, 20.0]
    assert output_of(result)["path"].to_pylist() == ["10.png", "20.png"]
    assert [r["file"] for r in rejects_of(result)] == ["30.png"]


def run_never(job, units):
    raise AssertionError("something started")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"keep": ["way"]}, "dataset 'tiny' has no column 'way'; it has x, grid, side, path:"),
        ({"keep": ["text"]}, "score.keep names 'text', which the output has anyway (double,"),
        ({"keep": ["path", "path"]}, "score.keep names 'path', which the output has anyway"),
        ({"input": "dataset/tests"}, "score.input 'dataset/tests' names no split; use dataset or"),
        ({"input": "dataset/validation"}, "has no such rows; its splits are train, test."),
    ],
)
def test_score_impossible_job_is_refused_before_it_starts(store, spec, model, changes, sentence):
    with pytest.raises(DataError) as caught:
        score(spec(**changes), store, model, run_never)
    assert sentence in caught.value.message


def test_score_model_of_other_columns_is_refused(store, spec):
    model = model_manifest(inputs=(Column(name="x", dtype="float64"),))
    with pytest.raises(DataError, match=r"the model takes 'x' as double, dataset 'tiny' has float"):
        score(spec(), store, model, run_never)


def test_score_raw_file_without_a_kept_column_is_refused(store, spec, parquet):
    made = spec({"format": "parquet"}, input=f"file://{parquet}", keep=["way"])
    with pytest.raises(DataError, match=r"a\.parquet has no column 'way'; it has path, x, more:"):
        score(made, store, LINE, run_never)


def test_score_files_with_a_spec_whose_source_is_python_is_refused(store, spec, tmp_path):
    source = {"format": "python", "path": "maker.py:rows"}
    sentence = (
        r"^score\.input is 'file:.*/raw', but files are read as data\.source says, which is a P"
    )
    with pytest.raises(DataError, match=sentence):
        score(spec(source, input=f"file://{tmp_path}/raw"), store, LINE, run_never)


def test_score_input_that_is_not_there_is_refused(store, spec, tmp_path):
    made = spec({"format": "csv"}, input=f"file://{tmp_path}/nowhere.csv")
    with pytest.raises(DataError, match=r"nowhere\.csv does not exist"):
        score(made, store, LINE, run_never)
