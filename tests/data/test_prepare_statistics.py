"""The statistics that prepare writes: of the train split as it is kept, and of its rows alone."""

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from tests.data.preparing import manifest_of, prepare, rows_of
from tests.raw_sources import SPLIT, spec_for

from shardline.data.shards import ShardSize
from shardline.data.statistics.document import STATISTICS_KEY, load_statistics
from shardline.errors import NotFoundError
from shardline.store import Store

SMALL = ShardSize(target_bytes=4000, group_bytes=1000)
LABEL = {"name": "y", "dtype": "int64"}


def raw_rows(num_rows=1200):
    random = np.random.default_rng(0)
    y = random.integers(0, 3, num_rows)
    return pa.table(
        {
            "x": y + random.normal(size=num_rows),
            "town": np.array(["Oslo", "Bergen", "Voss"])[random.integers(0, 3, num_rows)],
            "y": np.array(["a", "b", "c"])[y],
        }
    )


def written(spec, result):
    store = Store(spec.store)
    return load_statistics(store, manifest_of(spec, result))


def prepared(folder, pieces, *, size=None, **data):
    (folder / "raw").mkdir(parents=True)
    for number, piece in enumerate(pieces):
        pa.csv.write_csv(piece, folder / "raw" / f"{number}.csv")
    data = {"label": LABEL, "split": {"fractions": SPLIT}, **data}
    spec = spec_for(folder, "csv", "raw", **data)
    return spec, prepare(spec, size=size)


def test_prepare_describes_the_train_split_and_everyones_labels(tmp_path):
    spec, result = prepared(tmp_path, [raw_rows()], size=SMALL)
    found, manifest = written(spec, result), manifest_of(spec, result)
    assert len(manifest.splits["train"].shards) > 3
    train = rows_of(spec, result, splits=["train"])
    x = train["x"].to_numpy()
    assert found.num_rows == found.num_sampled == len(x)
    assert found.column("x").values.mean == pytest.approx(x.mean())
    expected = np.quantile(x, 0.95, method="inverted_cdf")
    assert found.column("x").values.quantiles["0.95"] == expected
    assert {top.value for top in found.column("town").top} == {"Oslo", "Bergen", "Voss"}
    counted = {
        (each.name, split): count
        for each in found.balance.classes
        for split, count in each.counts.items()
    }
    for split in SPLIT:
        labels = rows_of(spec, result, splits=[split])["y"].to_numpy()
        for index, name in enumerate("abc"):
            assert counted[name, split] == np.count_nonzero(labels == index)
    assert found.relevance[0].feature == "x"
    assert [entry.feature for entry in found.droppable] == ["town"]


def test_prepare_same_rows_in_other_files_have_the_same_statistics(tmp_path):
    """They are computed in the order of the dataset, which does not know the source's."""
    rows = raw_rows()
    shuffled = rows.take(np.random.default_rng(1).permutation(rows.num_rows))
    texts = []
    for name, pieces in (("one", [rows]), ("two", [shuffled.slice(700), shuffled.slice(0, 700)])):
        spec, result = prepared(tmp_path / name, pieces, size=SMALL)
        store = Store(spec.store)
        texts.append(store.read(f"{manifest_of(spec, result).folder}/{STATISTICS_KEY}"))
    assert texts[0] == texts[1]


def test_prepare_statistics_are_of_cleaned_values(tmp_path):
    rows = pa.table({"x": [1.0, 2.0, None, 1000.0] * 50, "y": [1, 2, 3, 4] * 50})
    cleaning = {"x": {"outliers": {"by": "bounds", "max": 10, "then": "clip"}}}
    cleaning["x"]["missing"] = {"by": "constant", "value": 5}
    spec, result = prepared(tmp_path, [rows], cleaning=cleaning, split=None)
    found = written(spec, result).column("x")
    assert (found.nulls, found.values.max, found.values.mean) == (0, 10, 4.5)


def test_prepare_basic_statistics_are_what_models_need(tmp_path):
    rows = raw_rows(300)
    full, basic = (
        prepared(tmp_path / level, [rows], size=SMALL, statistics=level)
        for level in ("full", "basic")
    )
    assert full[1].version != basic[1].version
    whole, few = manifest_of(*full), manifest_of(*basic)
    assert few.statistics == whole.statistics
    assert few.statistics["town"].vocabulary == ("Bergen", "Oslo", "Voss")
    assert few.splits == whole.splits
    assert few.statistics_file is None
    with pytest.raises(NotFoundError, match="has no statistics"):
        written(*basic)
