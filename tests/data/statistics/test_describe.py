"""What `statistics.json` says of rows that are known."""

import io
from datetime import datetime

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from tests.sample_datasets import write_dataset

from shardline.data.schema import Column, Label
from shardline.data.statistics.describe import NUM_BINS, describe
from shardline.data.statistics.document import (
    DatasetStatistics,
    dump_statistics,
    load_statistics,
)
from shardline.data.statistics.table import TableSketch
from shardline.errors import IntegrityError, NotFoundError
from shardline.store import Store

NUM_ROWS = 3000


def sketch_of(table):
    sketch = TableSketch(table.schema)
    sketch.add(table, first_row=0)
    return sketch


def described(columns, *, label="y", **options):
    return describe({"train": sketch_of(pa.table(columns))}, label=label, **options)


@pytest.fixture(scope="module")
def random():
    return np.random.default_rng(0)


def test_describe_numbers_are_numpys(random):
    x = random.normal(3, 2, NUM_ROWS)
    column = described({"x": x, "y": random.integers(0, 2, NUM_ROWS)}).column("x")
    found = column.values
    assert (found.count, found.min, found.max) == (NUM_ROWS, x.min(), x.max())
    assert (found.mean, found.deviation) == pytest.approx((x.mean(), x.std()))
    for name, value in found.quantiles.items():
        assert value == np.quantile(x, float(name), method="inverted_cdf")
    expected, _ = np.histogram(x, np.array(found.histogram.edges))
    assert found.histogram.counts == tuple(expected)
    assert (column.distinct, column.distinct_exact) == (len(np.unique(x)), True)


def test_describe_a_histogram_leaves_room_despite_an_outlier(random):
    x = np.append(random.normal(size=NUM_ROWS - 1), 1e9)
    found = described({"x": x, "y": x}).column("x").values.histogram
    assert (found.below, found.above) == (0, 1)
    assert sum(found.counts) + 1 == NUM_ROWS
    assert np.count_nonzero(found.counts) > NUM_BINS / 4


@pytest.mark.parametrize(
    "values", [[5.0] * 9, [1e308, -1e308] * 5, [0.0, 5e-324] * 5, [None] * 9, []]
)
def test_describe_numbers_that_no_bins_fit_has_no_histogram(values):
    table = {"x": pa.array(values, pa.float64()), "y": pa.array([0] * len(values), pa.int64())}
    found = described(table)
    column = found.column("x")
    assert column.values is None or column.values.histogram is None
    assert DatasetStatistics.model_validate_json(dump_statistics(found)[0]) == found


def test_describe_texts_counts_lengths_and_frequent_ones():
    texts = ["no"] * 5 + ["yes"] * 3 + [None] * 2 + ["maybe"]
    column = described({"x": texts, "y": list(range(11))}).column("x")
    assert (column.rows, column.nulls, column.distinct) == (9, 2, 3)
    assert [(top.value, top.count) for top in column.top] == [("no", 5), ("yes", 3), ("maybe", 1)]
    assert (column.lengths.min, column.lengths.max) == (2, 5)


def test_describe_times_are_seconds():
    times = [datetime(2020, 1, 1), datetime(2020, 1, 3)]
    column = described({"x": pa.array(times, pa.timestamp("us")), "y": [0, 1]}).column("x")
    assert column.kind == "time"
    assert column.values.mean == 1_577_923_200
    assert column.values.deviation == 86_400


def test_describe_images_by_shape_even_broken_ones():
    def encoded(height, width, mode):
        sink = io.BytesIO()
        Image.new(mode, (width, height)).save(sink, "PNG")
        return sink.getvalue()

    images = [encoded(4, 6, "RGB"), encoded(4, 6, "RGB"), encoded(2, 2, "L"), b"", b"no image"]
    column = described({"x": images, "y": [0, 1, 0, 1, 0]}).column("x")
    shapes = [(s.height, s.width, s.channels, s.count) for s in column.shapes]
    assert shapes == [(4, 6, 3, 2), (2, 2, 1, 1)]
    assert column.lengths.min == 0


def test_describe_lists_and_tensors_by_their_elements():
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(12.0).reshape(3, 2, 2))
    found = described({"list": [[1.0, 2.0, 3.0], [], None], "tensor": tensors, "y": [0, 1, 0]})
    assert found.column("list").values.mean == 2
    assert found.column("list").lengths.mean == 1.5
    assert found.column("tensor").values.count == 12
    assert {entry.feature for entry in found.relevance} == set()


def test_describe_ranks_features_and_names_those_worth_dropping(random):
    y = random.integers(0, 3, NUM_ROWS)
    strong = y + random.normal(size=NUM_ROWS) / 4
    found = described(
        {
            "noise": random.normal(size=NUM_ROWS),
            "weak": y + random.normal(size=NUM_ROWS) * 2,
            "strong": strong,
            "twin": np.exp(strong),
            "one": np.ones(NUM_ROWS),
            "empty": pa.nulls(NUM_ROWS, pa.float32()),
            "id": [f"row {i}" for i in range(NUM_ROWS)],
            "y": y,
        }
    )
    assert [entry.feature for entry in found.relevance][:3] == ["strong", "twin", "weak"]
    assert found.relevance[0].correlation_kind == "ratio"
    assert {entry.feature: entry.reason for entry in found.droppable} == {
        "noise": "says nothing measurable about the label",
        "twin": "says the same as strong",
        "one": "has one value in all rows",
        "empty": "has no value in any row",
        "id": "has another text in nearly every row",
    }


def test_describe_a_regression_target_is_correlated_and_has_no_classes(random):
    x = random.normal(size=NUM_ROWS)
    found = described({"x": x, "y": -x + random.normal(size=NUM_ROWS)})
    assert found.balance is None
    assert found.relevance[0].correlation_kind == "pearson"
    assert found.relevance[0].correlation == pytest.approx(-0.7, abs=0.05)


def test_describe_label_balance_counts_every_split_by_class_name():
    train, held_out = pa.table({"x": [1.0] * 4, "y": [0, 1, 1, 1]}), pa.table({"y": [0, 0]})
    empty = TableSketch(held_out.schema)
    sketches = {"train": sketch_of(train), "validation": sketch_of(held_out), "test": empty}
    found = describe(sketches, label="y", class_names=("cat", "dog")).balance
    assert [(each.name, each.counts) for each in found.classes] == [
        ("cat", {"train": 1, "validation": 2}), ("dog", {"train": 3}),
    ]  # fmt: skip
    assert found.num_classes == 2


def test_statistics_are_found_again_and_a_changed_file_is_noticed(tmp_path, random):
    store = Store(f"file://{tmp_path}")
    x, y = Column(name="x", dtype="float32"), Label(name="y", dtype="int64")
    rows = {"x": np.arange(4, dtype=np.float32), "y": np.arange(4)}
    manifest = write_dataset(store, [x], y, {"train": rows})
    with pytest.raises(NotFoundError, match="has no statistics; prepare it again"):
        load_statistics(store, manifest)
    written = described({"x": random.normal(size=50), "y": random.integers(0, 2, 50)})
    data, record = dump_statistics(written)
    assert dump_statistics(DatasetStatistics.model_validate_json(data))[0] == data
    manifest = manifest.model_copy(update={"statistics_file": record})
    key = f"{manifest.folder}/{record.key}"
    store.write(key, data)
    assert load_statistics(store, manifest) == written
    store.write(key, data.replace(b"0", b"1", 1))
    with pytest.raises(IntegrityError, match=r"statistics\.json is damaged"):
        load_statistics(store, manifest)
