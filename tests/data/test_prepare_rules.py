"""What the spec's rules do to the rows of a source: clean, sample, divide, set aside."""

from collections import Counter

import numpy as np
import pytest
from tests.data.preparing import manifest_of, prepare, quarantined, rows_of
from tests.raw_sources import SPLIT, spec_for, table_csv, write_csv

from shardline.errors import DataError

HALVES = {"train": 0.5, "test": 0.5}


def rules_of(spec, result):
    return Counter(row.get("rule") for row in quarantined(spec, result))


def accounted(result):
    return result.rows_read == result.rows_kept + result.rows_quarantined


def test_prepare_missing_values_are_filled_from_the_train_split(tmp_path):
    lines = table_csv(400).splitlines()
    for number in range(10, 400, 10):
        lines[number] = f"r{number - 1},,{number - 1},{2 * number - 2}"
    write_csv(tmp_path / "raw.csv", "\n".join(lines))
    spec = spec_for(
        tmp_path, "csv", "raw.csv", split={"key": "id", "fractions": HALVES},
        cleaning={"x": {"missing": {"by": "mean", "indicator": True}}},
    )  # fmt: skip
    result = prepare(spec)
    assert (result.rows_kept, result.rows_quarantined) == (400, 0)
    columns = manifest_of(spec, result).columns
    assert [c.name for c in columns.features] == ["x", "x_missing", "n"]
    train = rows_of(spec, result, splits=["train"])
    known = [x for x, m in zip(train["x"].to_pylist(), train["x_missing"].to_pylist(), strict=True)
             if not m]  # fmt: skip
    table = rows_of(spec, result)
    filled = {x for x, m in zip(table["x"].to_pylist(), table["x_missing"].to_pylist(), strict=True)
              if m}  # fmt: skip
    assert sum(table["x_missing"].to_pylist()) == 39
    assert len(filled) == 1
    assert filled.pop() == pytest.approx(np.mean(known))
    record = manifest_of(spec, result).cleaning["x"]
    assert record.touched["filled"] == 39
    assert record.fitted_on == len(known)


@pytest.mark.parametrize("written", ["-999", "-999.0", " -999.00"])
def test_prepare_numbers_count_as_missing_however_a_file_writes_them(tmp_path, written):
    lines = table_csv(100).splitlines()
    for number in range(1, 11):
        lines[number] = f"r{number - 1},{written},{number - 1},{2 * number - 2}"
    write_csv(tmp_path / "raw.csv", "\n".join(lines))
    split = {"key": "id", "fractions": HALVES}

    def made(**rule):
        rule["null_values"] = ["-999"]
        cleaning = {"x": {"missing": rule}}
        return spec_for(
            tmp_path, "csv", "raw.csv", split=split, cleaning=cleaning, max_quarantined=0
        )

    filled = made(by="constant", value=7.5, indicator=True)
    table = rows_of(filled, prepare(filled)).sort_by("n")
    assert table["x"].to_pylist()[:11] == [7.5] * 10 + [2.5]
    assert table["x_missing"].to_pylist()[:11] == [1.0] * 10 + [0.0]
    dropped = made(by="drop")
    result = prepare(dropped)
    assert rules_of(dropped, result) == {"missing": 10}
    assert manifest_of(dropped, result).cleaning["x"].touched == {"dropped": 10}


def test_prepare_outliers_unmapped_and_missing_rows_are_quarantined_by_rule(tmp_path):
    lines = ["x,kind,y"] + [f"{i},{'cat' if i % 2 else 'dog'},{i}" for i in range(100)]
    lines[5], lines[7], lines[9] = "9999,cat,4", "6,bird,6", ",dog,8"
    write_csv(tmp_path / "raw.csv", "\n".join(lines))
    spec = spec_for(
        tmp_path, "csv", "raw.csv", max_quarantined=0,
        cleaning={
            "x": {"outliers": {"by": "bounds", "max": 500, "then": "quarantine"},
                  "missing": {"by": "drop"}},
            "kind": {"map": {"cat": "c", "dog": "d"}},
        },
    )  # fmt: skip
    result = prepare(spec)
    assert accounted(result)
    found = {row["row"]: (row["rule"], row["reason"]) for row in quarantined(spec, result)}
    assert found == {
        5: ("outlier", "'x' is 9999, above the bound 500"),
        7: ("unmapped", "'kind' is 'bird', which its map does not name"),
        9: ("missing", "'x' is missing"),
    }
    assert set(rows_of(spec, result)["kind"].to_pylist()) == {"c", "d"}


def test_prepare_duplicates_leave_one_row_whatever_the_files(tmp_path):
    write_csv(tmp_path / "raw/a.csv", table_csv(50))
    write_csv(tmp_path / "raw/b.csv", table_csv(20) + "r49,0.5,1,2\n")
    spec = spec_for(tmp_path, "csv", "raw", duplicates={"key": ["id"]}, max_quarantined=0)
    result = prepare(spec)
    assert (result.rows_read, result.rows_kept) == (71, 50)
    assert rules_of(spec, result) == {"duplicate": 21}
    assert sorted(rows_of(spec, result)["id"].to_pylist()) == sorted(f"r{i}" for i in range(50))


def test_prepare_sample_takes_a_share_and_counts_the_rest(tmp_path):
    write_csv(tmp_path / "raw.csv", table_csv(1000))
    spec = spec_for(tmp_path, "csv", "raw.csv", sample=0.2, keep=["id"])
    result = prepare(spec)
    counts = manifest_of(spec, result).counts
    assert counts.rows_read + counts.rows_sampled_out == 1000
    # Six standard deviations of a binomial.
    assert abs(counts.rows_read - 200) < 76
    wider = spec_for(tmp_path, "csv", "raw.csv", sample=0.4, keep=["id"])
    taken = set(rows_of(spec, result)["id"].to_pylist())
    assert taken < set(rows_of(wider, prepare(wider))["id"].to_pylist())


def test_prepare_sample_of_no_row_is_refused(tmp_path):
    write_csv(tmp_path / "raw.csv", table_csv(10))
    with pytest.raises(DataError, match=r"data\.sample takes none of the 10 rows in .*; raise it"):
        prepare(spec_for(tmp_path, "csv", "raw.csv", sample=1e-9, keep=["id"]))


def test_prepare_split_by_time_puts_the_past_into_training(tmp_path):
    days = [f"2026-{1 + i // 28:02d}-{1 + i % 28:02d}" for i in range(280)]
    lines = ["when,x,y"] + [f"{day},{i},{i}" for i, day in enumerate(days)]
    lines[100] = "soon,99,99"
    write_csv(tmp_path / "raw.csv", "\n".join(lines))
    spec = spec_for(
        tmp_path, "csv", "raw.csv", split={"by": "time", "time": "when", "fractions": SPLIT},
    )  # fmt: skip
    result = prepare(spec)
    assert accounted(result)
    (row,) = quarantined(spec, result)
    assert row["reason"] == "time 'when' is 'soon', expected an ISO 8601 date, as 2026-03-31"
    ends = {
        split: (min(times := rows_of(spec, result, splits=[split])["when"].to_pylist()), max(times))
        for split in SPLIT
    }
    assert ends["train"][1] < ends["validation"][0] <= ends["validation"][1] < ends["test"][0]
    boundaries = manifest_of(spec, result).boundaries
    assert boundaries["test"].startswith(ends["test"][0])


def test_prepare_split_by_time_whose_boundaries_come_too_early_is_refused(tmp_path):
    write_csv(tmp_path / "raw.csv", "when,x,y\n2026-01-01,1,1\n2026-01-02,2,2\n,3,3\n")
    split = {"by": "time", "time": "when", "boundaries": {"test": "2025-01-01"}}
    spec = spec_for(tmp_path, "csv", "raw.csv", split=split, max_quarantined=0.5)
    with pytest.raises(
        DataError,
        match=r"^none of the 2 rows falls into the train split; set data\.split\.bound",
    ):
        prepare(spec)
    later = split | {"boundaries": {"test": "2026-01-02"}}
    spec = spec_for(tmp_path, "csv", "raw.csv", split=later, max_quarantined=0.5)
    result = prepare(spec)
    assert result.splits == {"train": 1, "test": 1}
    (row,) = quarantined(spec, result)
    assert row["reason"] == "time 'when' is null, expected an ISO 8601 date, as 2026-03-31"


def test_prepare_split_by_time_of_texts_that_are_no_times_says_what_they_should_be(tmp_path):
    rows = "".join(f"03/{day:02d}/2026,{day},{day}\n" for day in range(1, 29))
    write_csv(tmp_path / "raw.csv", "when,x,y\n" + rows)
    split = {"by": "time", "time": "when", "fractions": SPLIT}
    with pytest.raises(
        DataError,
        match=r"data\.split\.time 'when' holds neither numbers nor ISO 8601 dates",
    ):
        prepare(spec_for(tmp_path, "csv", "raw.csv", split=split))


def test_prepare_stratified_split_divides_every_class_alike(tmp_path):
    lines = ["x,kind"] + [f"{i},{'rare' if i % 10 == 0 else 'often'}" for i in range(1000)]
    write_csv(tmp_path / "raw.csv", "\n".join(lines))
    spec = spec_for(
        tmp_path, "csv", "raw.csv", label={"name": "kind"},
        split={"by": "stratified", "fractions": SPLIT},
    )  # fmt: skip
    result = prepare(spec)
    counts = {
        split: Counter(rows_of(spec, result, splits=[split])["kind"].to_pylist()) for split in SPLIT
    }
    assert {split: dict(found) for split, found in counts.items()} == {
        "train": {0: 720, 1: 80}, "validation": {0: 90, 1: 10}, "test": {0: 90, 1: 10},
    }  # fmt: skip


def test_prepare_stratified_by_values_that_no_two_rows_share_is_refused(tmp_path):
    write_csv(tmp_path / "raw.csv", table_csv(100))
    split = {"by": "stratified", "fractions": SPLIT}
    with pytest.raises(
        DataError,
        match=r"none of the 100 rows falls into the validation split, because every value of the "
        r"label 'y' has too few of them to be divided; choose data\.split\.by: hash",
    ):
        prepare(spec_for(tmp_path, "csv", "raw.csv", keep=["id"], split=split))


def test_prepare_group_larger_than_a_split_stays_whole(tmp_path):
    rows = "".join(f"{'big' if i < 90 else f'g{i}'},{i},{i}\n" for i in range(100))
    write_csv(tmp_path / "raw.csv", "who,x,y\n" + rows)
    split = {"by": "group", "key": "who", "fractions": {"train": 0.5, "test": 0.5}}
    result = prepare(spec := spec_for(tmp_path, "csv", "raw.csv", split=split))
    found = {s: rows_of(spec, result, splits=[s])["who"].to_pylist() for s in HALVES}
    assert sorted(each.count("big") for each in found.values()) == [0, 90]
    assert sum(result.splits.values()) == 100


LEAKING = (
    "id,x,y\n"
    + "".join(f"r{i},{i % 20},{i % 20}\n" for i in range(200))
    + "".join(f"u{i},{i},{i}\n" for i in range(100, 120))
)


def test_prepare_same_row_in_two_splits_fails_naming_both(tmp_path):
    write_csv(tmp_path / "raw.csv", LEAKING)
    spec = spec_for(tmp_path, "csv", "raw.csv", split={"key": "id", "fractions": HALVES})
    with pytest.raises(
        DataError,
        match=r"the same row lies in two splits: raw\.csv row \d+ in train, raw\.csv row \d+ in "
        r"test \(\d+ of 220 rows repeat what an earlier split has\); divide by a data\.split\.key "
        r"that such rows share, leave data\.split\.key out, which keeps equal rows together, or",
    ):
        prepare(spec)


def test_prepare_same_row_in_two_splits_is_quarantined_or_allowed_on_request(tmp_path):
    write_csv(tmp_path / "raw.csv", LEAKING)
    split = {"key": "id", "fractions": HALVES, "leakage": "quarantine"}
    spec = spec_for(tmp_path, "csv", "raw.csv", split=split, max_quarantined=0)
    result = prepare(spec)
    assert accounted(result)
    assert set(rules_of(spec, result)) == {"leak"}
    train = set(rows_of(spec, result, splits=["train"])["x"].to_pylist())
    assert not train & set(rows_of(spec, result, splits=["test"])["x"].to_pylist())
    allowed = spec_for(tmp_path, "csv", "raw.csv", split={**split, "leakage": "allow"})
    assert prepare(allowed).rows_kept == 220


def test_prepare_split_without_key_never_leaks(tmp_path):
    write_csv(tmp_path / "raw.csv", LEAKING)
    result = prepare(spec_for(tmp_path, "csv", "raw.csv", keep=["id"], split={"fractions": HALVES}))
    assert result.rows_kept == 220


def test_prepare_rules_see_the_same_whatever_the_parts(tmp_path, monkeypatch):
    rows = [f"r{i},{i / 4},{'ab'[i % 3 == 0]}" for i in [*range(300), *range(30)]]
    write_csv(tmp_path / "raw.csv", "\n".join(["id,x,kind", *rows]))

    def manifest(store):
        spec = spec_for(
            tmp_path, "csv", "raw.csv", store=store, duplicates={}, keep=["id"],
            split={"by": "stratified", "fractions": HALVES},
            cleaning={"x": {"outliers": {"by": "quantile", "then": "clip"}}},
            label={"name": "kind"},
        )  # fmt: skip
        result = prepare(spec)
        assert rules_of(spec, result) == {"duplicate": 30}
        return manifest_of(spec, result)

    whole = manifest("one")
    monkeypatch.setattr("shardline.data.origin.UNIT_BYTES", 700)
    assert manifest("two") == whole
