"""Every kind of feature from every kind of source: the same rows, and no null turned into zero."""

import decimal
import json
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from tests.data.preparing import manifest_of, prepare, quarantined, rows_of
from tests.raw_sources import spec_for, write_csv

import shardline
from shardline.data.batches import read_block
from shardline.data.page.page import dataset_page
from shardline.data.pinned import pinned_columns
from shardline.data.statistics.document import load_statistics
from shardline.errors import DataError
from shardline.store import Store

NOON_US = 1_774_958_400_000_000  # 2026-03-31T12:00:00Z
NUMBERS = (
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32",
    "float64",
)  # fmt: skip
TEXTS = {"bool": "true", "string": "seven", "timestamp": "2026-03-31T12:00:00Z"}
TYPED = ("parquet", "arrow", "python")
MAKER = "import pyarrow.ipc\ndef rows(file):\n    yield pyarrow.ipc.open_file(file).read_all()\n"


def written(folder, format, table):
    """The table as a source of a format; CSV and JSON hold what Python would write of it."""
    if format == "parquet":
        pq.write_table(table, folder / "raw.parquet")
    elif format in ("arrow", "python"):
        with pa.ipc.new_file(str(folder / "raw.arrow"), table.schema) as writer:
            writer.write_table(table)
    elif format == "json":
        lines = (json.dumps(row, default=str) + "\n" for row in table.to_pylist())
        write_csv(folder / "raw.json", "".join(lines))
    else:
        rows = ([("" if v is None else str(v)) for v in row.values()] for row in table.to_pylist())
        lines = [",".join(table.column_names), *(",".join(row) for row in rows)]
        write_csv(folder / "raw.csv", "\n".join(lines))
    if format != "python":
        return {"format": format, "path": f"raw.{format}"}
    write_csv(folder / "maker.py", MAKER)
    params = {"file": str(folder / "raw.arrow")}
    return {"format": "python", "path": "maker.py:rows", "params": params}


def prepared(folder, format, columns, **data):
    """The spec and the result of preparing a table with these columns and a label."""
    table = pa.table({**columns, "y": [float(i) for i in range(len(next(iter(columns.values()))))]})
    spec = spec_for(folder, **written(folder, format, table), max_quarantined=0.95, **data)
    return spec, prepare(spec)


def block_of(spec, result):
    manifest = manifest_of(spec, result)
    columns = (*manifest.columns.features, manifest.columns.label)
    rows = (0, result.rows_kept)
    block = read_block(Store(spec.store), manifest, "train", rows=rows, columns=columns)
    order = np.argsort(block.columns["y"][:, 0])
    return {name: array[order] for name, array in block.columns.items()}


def values_of(dtype, format, nulls):
    """One value again and again, null in some rows, as a source of the format holds it."""
    if dtype == "timestamp" and format in TYPED:
        stamps = pa.array([None if null else NOON_US for null in nulls], pa.int64())
        return stamps.cast(pa.timestamp("us", "UTC"))
    value = True if dtype == "bool" and format != "csv" else TEXTS.get(dtype, 7)
    kind = None if dtype in TEXTS else getattr(pa, "float32" if "float" in dtype else dtype)()
    return pa.array([None if null else value for null in nulls], kind)


@pytest.mark.parametrize("format", ["csv", "json", *TYPED])
def test_prepare_null_of_every_dtype_is_quarantined_and_never_zero(tmp_path, format):
    dtypes = (*NUMBERS, *TEXTS)
    # Row 0 is whole, every other lacks one column.
    columns = {
        dtype: values_of(dtype, format, [place + 1 == row for row in range(len(dtypes) + 1)])
        for place, dtype in enumerate(dtypes)
    }
    features = {dtype: {"dtype": dtype} for dtype in dtypes}
    spec, result = prepared(tmp_path, format, columns, features=features)
    assert (result.rows_read, result.rows_kept) == (len(dtypes) + 1, 1)
    assert [(r["row"], r["reason"]) for r in quarantined(spec, result)] == [
        (row, f"feature {dtype!r} is null") for row, dtype in enumerate(dtypes, start=2)
    ]
    expected = {"bool": True, "string": "seven", "timestamp": NOON_US}
    found = block_of(spec, result)
    assert {dtype: found[dtype].tolist() for dtype in dtypes} == {
        dtype: [[expected.get(dtype, 7)]] for dtype in dtypes
    }


@pytest.mark.parametrize("format", ["json", *TYPED])
def test_prepare_null_tensors_and_null_elements_are_quarantined(tmp_path, format):
    raw = pa.array([[1, 2], None, [None, 4], [5, 6]], pa.list_(pa.int64()))
    columns = {"x": raw, "v": pa.array([[1], [2, 3], None, [4]], pa.list_(pa.int64()))}
    features = {
        "x": {"dtype": "float32", "shape": [2]},
        "v": {"dtype": "int16", "shape": [3], "pad": -1},
    }
    spec, result = prepared(tmp_path, format, columns, features=features)
    found = block_of(spec, result)
    assert found["x"].tolist() == [[1, 2], [5, 6]]
    assert found["v"].tolist() == [[1, -1, -1], [4, -1, -1]]
    assert [(r["row"], r["reason"]) for r in quarantined(spec, result)] == [
        (2, "feature 'x' is null"),
        (3, "feature 'x' has an element that is null or no finite float32"),
    ]


def test_prepare_nan_is_quarantined_like_a_null(tmp_path):
    raw = pa.array([0.5, float("nan"), float("inf")])
    spec, result = prepared(tmp_path, "parquet", {"x": raw})
    assert block_of(spec, result)["x"].tolist() == [[0.5]]
    assert len(quarantined(spec, result)) == 2


# Timestamps


TIMES = ["2026-03-31T12:00:00Z", "2026-03-31T14:00:00+02:00", "2026-03-31", "2026-02-30", "noon"]


@pytest.mark.parametrize("format", ["csv", "json"])
def test_prepare_timestamps_of_text_are_moments_in_utc(tmp_path, format):
    spec, result = prepared(
        tmp_path, format, {"when": TIMES}, features={"when": {"dtype": "timestamp"}}
    )
    day = NOON_US - 12 * 3600 * 10**6
    assert block_of(spec, result)["when"].tolist() == [[NOON_US], [NOON_US], [day]]
    assert rows_of(spec, result).schema.field("when").type == pa.timestamp("us", "UTC")
    assert [(r["row"], r["reason"]) for r in quarantined(spec, result)] == [
        (row, f"feature 'when' is {text!r}, expected an ISO 8601 date or time, as "
              "2026-03-31T12:00:00Z")
        for row, text in ((4, "2026-02-30"), (5, "noon"))
    ]  # fmt: skip


def test_prepare_times_of_typed_sources_are_found_and_described(tmp_path):
    stamps = pa.array([NOON_US, NOON_US + 3_600_000_000]).cast(pa.timestamp("us", "Asia/Tokyo"))
    columns = {
        "a": stamps,
        "b": stamps.cast(pa.timestamp("ns", "UTC")),
        "day": pa.array([date(2026, 3, 31), date(2026, 4, 1)]),
    }
    spec, result = prepared(tmp_path, "parquet", columns)
    found, manifest = block_of(spec, result), manifest_of(spec, result)
    assert [c.dtype for c in manifest.columns.features] == ["timestamp"] * 3
    assert found["a"].tolist() == found["b"].tolist() == [[NOON_US], [NOON_US + 3_600_000_000]]
    assert found["day"].dtype == np.int64
    statistics = manifest.statistics["a"]
    assert statistics.mean == NOON_US / 1e6 + 1800
    assert statistics.variance == 1800**2
    profiles = load_statistics(Store(spec.store), manifest)
    assert (profiles.column("a").kind, profiles.column("day").distinct) == ("time", 2)
    assert "a:\n      dtype: timestamp" in pinned_columns(manifest.columns)
    assert "2026-03-31 12:00:00" in dataset_page(manifest, profiles, [])


def test_prepare_integers_are_no_timestamps(tmp_path):
    with pytest.raises(DataError, match=r"feature 'when' holds int64, which cannot become timesta"):
        prepared(
            tmp_path, "parquet", {"when": [NOON_US]}, features={"when": {"dtype": "timestamp"}}
        )


@pytest.mark.parametrize(
    ("rule", "fill"),
    [
        ({"by": "constant", "value": "2026-01-01"}, 1_767_225_600_000_000),
        ({"by": "mean"}, NOON_US + 1_500_001),
        ({"by": "mode"}, NOON_US),
        ({"by": "median"}, NOON_US),
    ],
)
def test_prepare_missing_timestamps_are_filled_to_the_microsecond(tmp_path, rule, fill):
    times = pa.array([NOON_US, None, NOON_US, NOON_US, NOON_US + 6_000_004])
    cleaning = {"when": {"missing": {**rule, "indicator": True}}}
    spec, result = prepared(
        tmp_path, "parquet", {"when": times.cast(pa.timestamp("us"))}, cleaning=cleaning
    )
    found, manifest = block_of(spec, result), manifest_of(spec, result)
    assert found["when"][:, 0].tolist() == [NOON_US, fill, NOON_US, NOON_US, NOON_US + 6_000_004]
    assert found["when_missing"][:, 0].tolist() == [0, 1, 0, 0, 0]
    page = dataset_page(manifest, load_statistics(Store(spec.store), manifest), [])
    assert f"missing values become {datetime.fromtimestamp(fill / 1e6, UTC):%Y-%m-%d}" in page


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        ({"outliers": {"by": "iqr", "then": "clip"}}, "holds timestamp of shape"),
        ({"missing": {"by": "constant", "value": 7}}, r"value is 7, expected an ISO 8601 date or"),
    ],
)
def test_prepare_rules_that_suit_no_timestamps_are_refused(tmp_path, rules, sentence):
    times = pa.array([NOON_US, None]).cast(pa.timestamp("us"))
    with pytest.raises(DataError, match=sentence):
        prepared(tmp_path, "parquet", {"when": times}, cleaning={"when": rules})


@pytest.mark.parametrize("by", ["time", "hash"])
def test_prepare_timestamps_divide_rows_by_time_and_by_hash(tmp_path, by):
    times = pa.array([NOON_US + i * 86_400_000_000 for i in range(40)]).cast(pa.timestamp("us"))
    split = {"by": by, "fractions": {"train": 0.5, "test": 0.5}}
    split |= {"time": "when"} if by == "time" else {"key": "when"}
    spec, result = prepared(
        tmp_path, "parquet", {"when": times}, split=split, features={"when": {"dtype": "timestamp"}}
    )
    train = rows_of(spec, result, splits=["train"])["when"].to_pylist()
    test = rows_of(spec, result, splits=["test"])["when"].to_pylist()
    assert len(train) + len(test) == 40
    assert by == "hash" or max(train) < min(test)


@pytest.mark.parametrize("epoch", [0, 1])
def test_batches_of_timestamps_beside_integers_are_the_microseconds_that_went_in(tmp_path, epoch):
    moments = [NOON_US + 2**33 * row + 1 for row in range(40)]
    stamps = pa.array(moments).cast(pa.timestamp("us"))
    columns = {"when": stamps, "then": stamps, "n": list(range(40))}
    spec, result = prepared(tmp_path, "parquet", columns)

    def batches(form):
        cache = str(tmp_path / "cache")
        return list(
            shardline.batches(
                "sample",
                store=spec.store,
                version=result.version,
                batch=8,
                epoch=epoch,
                form=form,
                cache=cache,
            )
        )

    numpy, arrow = batches("numpy"), batches("arrow")
    assert len(numpy) == 5
    for batch, same in zip(numpy, arrow, strict=True):
        expected = [moments[n] for n in batch["n"][:, 0]]
        assert batch["when"].dtype == np.int64
        assert batch["when"][:, 0].tolist() == batch["then"][:, 0].tolist() == expected
        assert same["when"].type == pa.timestamp("us", "UTC")
        assert same["when"].cast(pa.int64()).to_pylist() == expected


# Lists


def test_prepare_padded_lists_travel_as_the_spec_declares_them(tmp_path):
    features = {"v": {"dtype": "float32", "shape": [3], "pad": 0.5, "longer": "cut"}}
    lists = pa.array([[1.0], [1.0, 2.0, 3.0, 4.0], []])
    spec, result = prepared(tmp_path, "parquet", {"v": lists}, features=features)
    assert block_of(spec, result)["v"].tolist() == [[1, 0.5, 0.5], [1, 2, 3], [0.5] * 3]
    manifest = manifest_of(spec, result)
    assert manifest.columns.feature("v").padding.model_dump() == {"value": 0.5, "longer": "cut"}
    declared = (
        "v:\n      dtype: float32\n      shape:\n      - 3\n      pad: 0.5\n      longer: cut"
    )
    assert declared in pinned_columns(manifest.columns)
    assert prepare(spec).reused


# Arrow's types


WORDS = ["a", "b", None, "a"]


def encodings(format):
    """The same words, encoded in every way that a format knows."""
    for index in (pa.int8(), pa.uint16(), pa.int64()):
        yield pa.array(WORDS).cast(pa.dictionary(index, pa.string()))
    if format != "parquet":
        indices = pa.array([0, 1, 2, 0], pa.int32())
        yield pa.DictionaryArray.from_arrays(indices, pa.array(["a", "b", None]))
        yield pc.run_end_encode(pa.array(WORDS))
    yield pa.array(WORDS, pa.large_string())
    yield pa.array(WORDS, pa.string_view())
    yield pa.array(WORDS).cast(pa.dictionary(pa.int32(), pa.large_string()))


@pytest.mark.parametrize("format", ["parquet", "arrow", "python"])
def test_prepare_words_are_words_however_they_are_encoded(tmp_path, format):
    for number, words in enumerate(encodings(format)):
        folder = tmp_path / str(number)
        folder.mkdir()
        spec, result = prepared(folder, format, {"x": words})
        assert manifest_of(spec, result).columns.feature("x").dtype == "string"
        assert block_of(spec, result)["x"][:, 0].tolist() == ["a", "b", "a"]
        assert [r["row"] for r in quarantined(spec, result)] == [3]


def test_prepare_dictionaries_of_numbers_are_numbers(tmp_path):
    numbers = pa.array([5, None, 7], pa.int16()).dictionary_encode()
    spec, result = prepared(tmp_path, "parquet", {"x": numbers})
    assert manifest_of(spec, result).columns.feature("x").dtype == "int16"
    assert block_of(spec, result)["x"][:, 0].tolist() == [5, 7]


def test_prepare_row_groups_may_have_different_dictionaries(tmp_path):
    kind = pa.dictionary(pa.int32(), pa.string())
    chunks = [pa.array(w).cast(kind) for w in (["a", "b"], ["c", "a"], [None, "b"])]
    table = pa.table({"x": pa.chunked_array(chunks), "y": [float(i) for i in range(6)]})
    pq.write_table(table, tmp_path / "raw.parquet", row_group_size=2)
    with pa.ipc.new_stream(str(tmp_path / "raw.arrow"), table.schema) as writer:
        writer.write_table(table)
    for format in ("parquet", "arrow"):
        spec = spec_for(
            tmp_path, format, f"raw.{format}", store=format, max_quarantined=0.9,
            cleaning={"x": {"map": {"a": "A", "b": "B", "c": "C"}}},
        )  # fmt: skip
        assert block_of(spec, prepare(spec))["x"][:, 0].tolist() == ["A", "B", "C", "A", "B"]


@pytest.mark.parametrize(
    ("raw", "dtype", "expected"),
    [
        (pa.array([decimal.Decimal("1.25")], pa.decimal128(9, 2)), None, 1.25),
        (pa.array([decimal.Decimal("1.25")], pa.decimal256(40, 2)), "float16", 1.25),
        (pa.array([decimal.Decimal("3.00")], pa.decimal128(9, 2)), "int8", 3),
        (pa.array([decimal.Decimal("1.00")], pa.decimal128(9, 2)), "bool", True),
        (pa.array([1.5], pa.float16()), None, 1.5),
        (pa.array([2.0], pa.float16()), "uint8", 2),
        (pa.array([b"text"]), "string", "text"),
        (pa.array([b"text"], pa.binary_view()), "string", "text"),
        (pa.array([time(12, 30)]), "string", "12:30:00.000000"),
    ],
)
def test_prepare_arrow_types_that_can_be_had(tmp_path, raw, dtype, expected):
    features = {"x": {"dtype": dtype}} if dtype else None
    spec, result = prepared(tmp_path, "arrow", {"x": raw}, features=features)
    assert block_of(spec, result)["x"].tolist() == [[expected]]


OTHERS = (
    pa.array([b"\x00"]), pa.array([b"\x00"], pa.large_binary()), pa.array([b"ab"], pa.binary(2)),
    pa.array([b"\x00"], pa.binary_view()), pa.array([time(1)], pa.time32("s")),
    pa.array([time(1)], pa.time64("ns")), pa.array([timedelta(1)], pa.duration("ms")),
    pa.array([{"a": 1}]), pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
    pa.array([[1]], pa.list_view(pa.int64())),
    pa.array([[datetime(2026, 1, 1)]], pa.list_(pa.timestamp("s"))),
)  # fmt: skip


@pytest.mark.parametrize("raw", OTHERS, ids=lambda raw: str(raw.type))
def test_prepare_arrow_types_that_no_model_takes_are_named(tmp_path, raw):
    shown = str(pa.binary() if pa.types.is_binary_view(raw.type) else raw.type)
    with pytest.raises(DataError) as found:
        prepared(tmp_path, "arrow", {"x": raw})
    if "binary" in str(raw.type) and "fixed" not in str(raw.type):
        expected = f"feature 'x' holds {shown}; if these are image files, declare it in data.featur"
    else:
        expected = f"feature 'x' holds {shown}, which no model takes; list"
    assert found.value.message.startswith(expected)
    for dtype in ("int64", "float32", "bool", "timestamp"):
        with pytest.raises(DataError) as found:
            prepared(tmp_path, "arrow", {"x": raw}, features={"x": {"dtype": dtype}})
        assert found.value.message.startswith(
            f"feature 'x' holds {shown}, which cannot become {dtype}; "
        )


NESTED = (
    pa.array([{"a": 1}]), pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
    pa.array([[{"a": 1}]]), pa.array([[[{"a": 1}]]]), pa.array([{"a": {"b": [1]}}]),
)  # fmt: skip


@pytest.mark.parametrize("format", ["parquet", "arrow", "json"])
@pytest.mark.parametrize("raw", NESTED, ids=lambda raw: str(raw.type))
def test_prepare_nested_columns_are_refused_with_advice_that_helps(tmp_path, raw, format):
    if format == "json" and pa.types.is_map(raw.type):
        raw = pa.array([{"a": 1}])  # which JSON cannot tell from a map
    columns = {"deep": raw, "x": [1.0]}
    instead = "write what is in this one as columns of its own"
    with pytest.raises(DataError) as found:
        prepared(tmp_path, format, columns)
    assert found.value.message.startswith("feature 'deep' holds ")
    assert found.value.message.endswith(
        f", which no model takes; list the columns to learn from in data.features, or {instead}."
    )
    for role, keys in (
        ("feature", {"features": {"deep": {"dtype": "string"}}}),
        ("kept column", {"keep": ["deep"]}),
    ):
        with pytest.raises(DataError) as found:
            prepared(tmp_path, format, columns, **keys)
        key = "data.features" if role == "feature" else "data.keep"
        assert found.value.message.startswith(f"{role} 'deep' holds ")
        assert f" {key}, or write what is in it as columns of its own." in found.value.message
    spec, result = prepared(tmp_path, format, columns, features={"x": {"dtype": "float32"}})
    assert rows_of(spec, result)["x"].to_pylist() == [1.0]


@pytest.mark.parametrize("raw", [pa.array([time(1)]), pa.array([timedelta(1)])])
def test_prepare_types_that_no_model_takes_can_be_carried_along(tmp_path, raw):
    with pytest.raises(DataError, match=r"or carry this one along with data\.keep"):
        prepared(tmp_path, "arrow", {"x": raw, "n": [1]})
    spec, result = prepared(tmp_path, "arrow", {"x": raw, "n": [1]}, keep=["x"])
    assert rows_of(spec, result)["x"].to_pylist() != [None]


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        ([[1.0], [], [1.0, 2.0, 3.0]],
         r"of 3 shapes, from \[0\] to \[3\]; declare it in data.features with shape: \[LENGTH\] "
         r"and pad\.$"),
        ([["a"], ["a", "b"], ["c"]],
         r"of 2 shapes, from \[1\] to \[2\]; join them to one text, or leave them out of "),
        ([[[1, 2]], [[1, 2], [3, 4]], []],
         r"of 3 shapes, from \[0, 2\] to \[2, 2\]; write them as lists of one length, or leave "),
    ],
)  # fmt: skip
def test_prepare_lists_of_many_lengths_are_refused_with_the_way_out(tmp_path, raw, sentence):
    table = pa.table({"v": pa.array(raw), "y": [1.0, 2.0, 3.0]})
    spec = spec_for(tmp_path, **written(tmp_path, "parquet", table))
    with pytest.raises(DataError, match="^feature 'v' holds lists " + sentence):
        prepare(spec)


def test_prepare_label_of_times_is_refused_as_a_label(tmp_path):
    sentence = (
        r"^label 'when' holds date32\[day\], which cannot become int64; declare another dtype"
    )
    with pytest.raises(DataError, match=sentence):
        prepared(
            tmp_path, "parquet", {"when": pa.array([date(2026, 1, 1)])}, label={"name": "when"}
        )


@pytest.mark.parametrize("dtype", ["int32", "int64", "float64", "bool", "uint64"])
@pytest.mark.parametrize("raw", [pa.array([date(2026, 1, 1)]), pa.array([1], pa.timestamp("ms"))])
def test_prepare_times_are_no_numbers(tmp_path, raw, dtype):
    sentence = r"which cannot become \w+; declare dtype: timestamp, or leave the column out of"
    with pytest.raises(DataError, match=sentence):
        prepared(tmp_path, "parquet", {"x": raw}, features={"x": {"dtype": dtype}})
