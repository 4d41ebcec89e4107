"""Cleaning as prepare applies it: what is fitted on the train split, and where rules meet."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from tests.data.preparing import manifest_of, prepare, quarantined, rows_of
from tests.raw_sources import spec_for, write_csv, write_images, write_jsonl, write_parquet

from shardline.data.readers import read_rows
from shardline.data.sources import list_source
from shardline.errors import DataError

HALVES = {"train": 0.5, "test": 0.5}


def test_prepare_fits_nothing_on_other_splits(tmp_path):
    rng = np.random.default_rng(0)
    rows = [f"r{i},{x:.3f},{i}" for i, x in enumerate(rng.normal(size=400))]
    write_csv(tmp_path / "a/raw.csv", "\n".join(["id,x,n", *rows, "none,,1"]))
    spec = spec_for(
        tmp_path, "csv", "a", label={"name": "n"}, split={"key": "id", "fractions": HALVES},
        cleaning={"x": {"outliers": {"by": "quantile", "low": 0.1, "high": 0.9, "then": "clip"},
                        "missing": {"by": "median"}}},
    )  # fmt: skip
    result = prepare(spec)
    test = set(rows_of(spec, result, splits=["test"])["id"].to_pylist())
    wild = [row if row.split(",")[0] not in test else row.split(",")[0] + ",1e9,0" for row in rows]
    write_csv(tmp_path / "b/raw.csv", "\n".join(["id,x,n", *wild, "none,,1"]))
    other = spec.model_copy(update={"data": spec.data.model_copy(update={
        "source": spec.data.source.model_copy(update={"path": str(tmp_path / "b")})})})  # fmt: skip
    found = manifest_of(other, prepare(other)).cleaning["x"]
    assert found.treatment == manifest_of(spec, result).cleaning["x"].treatment
    assert found.fitted_on == manifest_of(spec, result).cleaning["x"].fitted_on
    assert found.touched["clipped"] > manifest_of(spec, result).cleaning["x"].touched["clipped"]


def test_prepare_texts_are_written_alike_before_vocabulary_and_split(tmp_path):
    kinds = ["Cat", " cat", "CAT ", "c\u0041t", "dog", "\uff24og"]
    rows = [f"{i},{kinds[i % 6]}" for i in range(60)]
    write_csv(tmp_path / "raw.csv", "\n".join(["x,kind", *rows]))
    spec = spec_for(
        tmp_path, "csv", "raw.csv", label={"name": "kind"},
        cleaning={"kind": {"text": {"unicode": "NFKC", "strip": True, "case": "lower"}}},
    )  # fmt: skip
    result = prepare(spec)
    assert manifest_of(spec, result).columns.label.vocabulary == ("cat", "dog")
    assert manifest_of(spec, result).cleaning["kind"].touched == {"rewritten": 50}


def test_prepare_labels_of_text_are_mapped_to_numbers(tmp_path):
    write_jsonl(tmp_path / "raw.jsonl", [{"x": i, "y": "no" if i % 4 else "yes"} for i in range(8)])
    spec = spec_for(
        tmp_path, "json", "raw.jsonl", label={"name": "y", "dtype": "float32"},
        cleaning={"y": {"map": {"yes": 1, "no": 0}}},
    )  # fmt: skip
    result = prepare(spec)
    assert rows_of(spec, result)["y"].to_pylist().count(1.0) == 2
    assert manifest_of(spec, result).columns.label.vocabulary is None


def test_prepare_class_folders_are_mapped(tmp_path):
    write_images(tmp_path / "raw")
    spec = spec_for(
        tmp_path, "images", "raw", label={"name": "kind"}, duplicates={},
        cleaning={"kind": {"map": {"cat": "pet", "dog": "pet"}}},
    )  # fmt: skip
    result = prepare(spec)
    assert manifest_of(spec, result).columns.label.vocabulary == ("pet",)
    assert Counter(row["rule"] for row in quarantined(spec, result)) == {"unmapped": 6}


def test_prepare_markers_of_missing_values_do_not_make_a_column_text(tmp_path):
    rows = [f"{'n/a' if i % 3 else i},{i}" for i in range(30)]
    write_csv(tmp_path / "raw.csv", "\n".join(["x,y", *rows]))
    spec = spec_for(
        tmp_path, "csv", "raw.csv", cleaning={"x": {"missing": {"by": "mode",
                                                               "null_values": ["n/a"]}}},
    )  # fmt: skip
    result = prepare(spec)
    (feature,) = manifest_of(spec, result).columns.features
    assert feature.dtype == "int64"
    assert feature.treatment.fill == 0
    assert result.rows_kept == 30


def test_prepare_labels_that_are_missing_get_a_class_of_their_own(tmp_path):
    write_csv(tmp_path / "raw.csv", "x,kind\n1,a\n2,\n3,b\n4,\n")
    spec = spec_for(
        tmp_path, "csv", "raw.csv", label={"name": "kind"},
        cleaning={"kind": {"missing": {"by": "constant", "value": "none"}}},
    )  # fmt: skip
    result = prepare(spec)
    assert manifest_of(spec, result).columns.label.vocabulary == ("a", "b", "none")
    assert rows_of(spec, result).sort_by("x")["kind"].to_pylist() == [0, 2, 1, 2]


def test_prepare_nan_counts_as_missing_and_is_no_feature_of_the_row(tmp_path):
    x = pa.array([1.0, float("nan"), None, 4.0], pa.float32())
    write_parquet(tmp_path / "raw.parquet", x=x, y=pa.array([1.0, 2.0, 3.0, 4.0]))
    spec = spec_for(tmp_path, "parquet", "raw.parquet", cleaning={"x": {"missing": {"by": "mean"}}})
    result = prepare(spec)
    assert rows_of(spec, result).sort_by("y")["x"].to_pylist() == [1.0, 2.5, 2.5, 4.0]


def test_prepare_rows_without_a_key_are_no_duplicates_of_each_other(tmp_path):
    write_csv(tmp_path / "raw.csv", "id,x,y\n,1,1\n,2,2\na,3,3\na,4,4\n")
    spec = spec_for(tmp_path, "csv", "raw.csv", duplicates={"key": "id"})
    result = prepare(spec)
    assert (result.rows_kept, result.rows_quarantined) == (3, 1)
    assert manifest_of(spec, result).counts.quarantined_by_rule == {"duplicate": 1}
    assert quarantined(spec, result)[0]["reason"] == (
        "repeats the key id of another row, which is kept"
    )


def test_prepare_keeps_the_same_duplicate_whatever_the_order_of_files(tmp_path):
    rows = [f"r{i % 10},{i},{i}\n" for i in range(40)]
    kept = []
    for name, order in (("one", range(40)), ("two", range(39, -1, -1))):
        for place, i in enumerate(order):
            write_csv(tmp_path / name / f"{place:02d}.csv", "id,x,y\n" + rows[i])
        spec = spec_for(tmp_path, "csv", name, duplicates={"key": "id"}, max_quarantined=0)
        kept.append(rows_of(spec, prepare(spec)).to_pydict())
    assert kept[0] == kept[1]
    assert len(kept[0]["id"]) == 10


def test_prepare_group_lies_in_one_split(tmp_path):
    rows = [f"p{i % 40},{i},{i}\n" for i in range(400)]
    write_csv(tmp_path / "raw.csv", "who,x,y\n" + "".join(rows))
    spec = spec_for(
        tmp_path, "csv", "raw.csv", split={"by": "group", "key": "who", "fractions": HALVES}
    )
    result = prepare(spec)
    groups = [set(rows_of(spec, result, splits=[s])["who"].to_pylist()) for s in HALVES]
    assert groups[0]
    assert groups[1]
    assert not groups[0] & groups[1]


def test_prepare_entity_on_both_sides_of_a_boundary_is_a_leak(tmp_path):
    rows = [f"p{i % 7},{i},{i},{i}\n" for i in range(50)]
    write_csv(tmp_path / "raw.csv", "who,when,x,y\n" + "".join(rows))
    split = {"by": "time", "time": "when", "key": "who", "boundaries": {"test": 40}}
    spec = spec_for(tmp_path, "csv", "raw.csv", split=split)
    with pytest.raises(
        DataError,
        match=r"the same 'who' lies in two splits: raw\.csv row \d+ in train, raw\.csv row 41 in "
        r"test \(10 of 50 rows repeat what an earlier split has\); divide by a data\.split\.key "
        r"that such rows share, or set",
    ):
        prepare(spec)
    aside = spec_for(tmp_path, "csv", "raw.csv", split={**split, "leakage": "quarantine"})
    result = prepare(aside)
    assert (result.splits, result.rows_quarantined) == ({"train": 40, "test": 0}, 10)
    assert manifest_of(aside, result).boundaries == {"test": 40.0}


@pytest.mark.parametrize(
    ("cleaning", "sentence"),
    [
        ({"z": {"text": {"strip": True}}}, "no cleaned column 'z'; its columns are "),
        ({"id": {"missing": {"by": "mean"}}}, "data.cleaning.id.missing: the mean of texts is not"),
        ({"x": {"missing": {"by": "constant", "value": "a"}}}, "value is 'a', expected int64."),
    ],
)
def test_prepare_rules_that_suit_no_column_are_refused(tmp_path, cleaning, sentence):
    write_csv(tmp_path / "raw.csv", "id,x,y\na,1,1\nb,2,2\n")
    spec = spec_for(tmp_path, "csv", "raw.csv", cleaning=cleaning, keep=["id"])
    with pytest.raises(DataError) as caught:
        prepare(spec)
    assert sentence in caught.value.message


@pytest.mark.parametrize(
    ("cleaning", "sentence"),
    [
        ({"w": {"missing": {"by": "drop"}}}, r"set them aside \(missing 40\); change the rules or"),
        ({"x": {"map": {"7": "a"}}}, r"set them aside \(unmapped 40\); change the rules or"),
        (
            {"x": {"outliers": {"by": "bounds", "min": 50, "then": "quarantine"}}},
            r"set them aside \(outlier 40\); change the rules or",
        ),
        (
            {"v": {"map": {"7": "a"}}},
            r"^data\.cleaning\.v\.map: the column holds list<.*>, expected",
        ),
    ],
)
def test_prepare_rules_that_leave_no_row_are_refused(tmp_path, cleaning, sentence):
    x, w = pa.array([8] * 40), pa.nulls(40, pa.string())
    v = pa.array([[1, 2]] * 40)
    write_parquet(tmp_path / "raw.parquet", x=x, w=w, v=v, y=pa.array(range(40)))
    spec = spec_for(
        tmp_path, "parquet", "raw.parquet", cleaning=cleaning,
        features={name: {"dtype": "int64"} for name in cleaning if name != "w"} or None,
        keep=["w"],
    )  # fmt: skip
    with pytest.raises(DataError, match=sentence):
        prepare(spec)


def test_prepared_rows_and_rows_read_for_scoring_are_treated_alike(tmp_path):
    rng = np.random.default_rng(1)
    cells = [("" if x > 1 else f"{9 * x if x < -2 else x:.4f}") for x in rng.normal(size=300)]
    rows = [f"r{i},{cell},{' A' if i % 2 else 'b '},{i}" for i, cell in enumerate(cells)]
    write_csv(tmp_path / "raw.csv", "\n".join(["id,x,w,y", *rows]))
    spec = spec_for(
        tmp_path, "csv", "raw.csv", keep=["id"], split={"key": "id", "fractions": HALVES},
        cleaning={
            "x": {"outliers": {"by": "iqr", "then": "clip"},
                  "missing": {"by": "mean", "indicator": True}},
            "w": {"text": {"strip": True, "case": "upper"}},
        },
    )  # fmt: skip
    result = prepare(spec)
    prepared = rows_of(spec, result).sort_by("id")
    files = list_source(spec.data.source, base=spec.base)
    schema = manifest_of(spec, result).columns
    read = pa.concat_tables(
        [batch.table for batch in read_rows(files, spec.data.source, schema, keep=["id"])]
    ).sort_by("id")
    assert schema.feature("x_missing").indicates == "x"
    for name in ("x", "x_missing", "w"):
        assert read[name].to_pylist() == prepared[name].to_pylist()


@pytest.mark.parametrize("label", [{"name": "kind"}, {"name": "y", "dtype": "float32"}])
def test_prepare_labels_that_are_missing_are_divided_like_a_class(tmp_path, label):
    rows = [f"{i},{'ab'[i % 2] if i % 4 else ''},{i % 2 if i % 4 else ''}" for i in range(400)]
    write_csv(tmp_path / "raw.csv", "\n".join(["x,kind,y", *rows]))
    value = "none" if label["name"] == "kind" else 2
    spec = spec_for(
        tmp_path, "csv", "raw.csv", label=label, features={"x": {"dtype": "int64"}},
        split={"by": "stratified", "fractions": HALVES},
        cleaning={label["name"]: {"missing": {"by": "constant", "value": value}}},
    )  # fmt: skip
    result = prepare(spec)
    for split in HALVES:
        labels = rows_of(spec, result, splits=[split])[label["name"]].to_pylist()
        assert sorted(Counter(labels).values()) == [50, 50, 100]
