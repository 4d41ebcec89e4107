import numpy as np
import pyarrow as pa
import pytest
from tests.raw_sources import spec_for, table_csv, write_csv

from shardline.data.manifest import load_dataset
from shardline.data.prepare import prepare_dataset
from shardline.data.reading import column_to_numpy, read_split, shard_table
from shardline.data.schema import Column
from shardline.data.shards import ShardSize
from shardline.errors import DataError, IntegrityError
from shardline.progress import SilentProgress
from shardline.store import open_store

DTYPES = ["bool", "int8", "uint16", "int64", "float16", "float32", "float64", "string"]


@pytest.fixture(params=["file", "s3"])
def dataset(request, tmp_path):
    if request.param == "s3":
        store = request.getfixturevalue("s3_store")
    else:
        store = open_store(f"file://{tmp_path}/store")
    write_csv(tmp_path / "raw.csv", table_csv(100))
    spec = spec_for(tmp_path, "csv", "raw.csv", keep=["id"], store=store.uri)
    result = prepare_dataset(
        spec,
        store=store,
        clock=lambda: 0.0,
        progress=SilentProgress(),
        size=ShardSize(target_bytes=2000, group_bytes=400),
    )
    return store, load_dataset(store, "sample", result.version)


def test_read_split_has_every_row_once_in_shard_order(dataset):
    store, manifest = dataset
    tables = list(read_split(store, manifest, "train", columns=["n"]))
    assert [t.num_rows for t in tables] == [s.rows for s in manifest.split("train").shards]
    assert all(t.column_names == ["n"] for t in tables)
    assert sorted(pa.concat_tables(tables)["n"].to_pylist()) == list(range(100))
    assert list(read_split(store, manifest, "test", columns=["n"])) == []


def test_shard_table_reads_chosen_row_groups_and_columns_in_order(dataset):
    store, manifest = dataset
    shard = manifest.split("train").shards[0]
    whole = shard_table(store, manifest, shard)
    assert whole.num_rows == shard.rows
    groups = np.cumsum([0, *shard.row_groups])
    part = shard_table(store, manifest, shard, columns=["y", "n"], row_groups=[2, 0])
    expected = [whole.slice(groups[g], shard.row_groups[g]) for g in (2, 0)]
    assert part.equals(pa.concat_tables(expected).select(["y", "n"]))


def test_shard_table_unknown_column_is_refused(dataset):
    store, manifest = dataset
    shard = manifest.split("train").shards[0]
    with pytest.raises(DataError, match="dataset 'sample' has no column 'z'; it has x, n, y, id"):
        shard_table(store, manifest, shard, columns=["z"])


@pytest.mark.parametrize("damage", ["truncated", "emptied", "flipped", "other"])
def test_shard_table_damaged_shard_is_named(dataset, damage):
    store, manifest = dataset
    shards = manifest.split("train").shards
    key = f"{manifest.folder}/{shards[0].key}"
    data = store.read(key)
    flipped = bytearray(data)
    flipped[len(data) // 4] ^= 0xFF
    store.write(
        key,
        {
            "truncated": data[: len(data) // 2],
            "emptied": b"",
            "flipped": bytes(flipped),
            "other": store.read(f"{manifest.folder}/{shards[-1].key}"),
        }[damage],
    )
    with pytest.raises(IntegrityError, match=r"train/part-00000\.parquet is damaged"):
        shard_table(store, manifest, shards[0])


def test_shard_table_missing_shard_is_named(dataset):
    store, manifest = dataset
    shard = manifest.split("train").shards[0]
    store.delete(f"{manifest.folder}/{shard.key}")
    with pytest.raises(IntegrityError, match=r"part-00000\.parquet is missing though its dataset"):
        shard_table(store, manifest, shard)


def typed(values, column):
    """Values of shape (rows, *shape) as Arrow holds them."""
    flat = np.asarray(values, column.numpy_dtype).ravel()
    elements = pa.array(flat.tolist() if column.dtype == "string" else flat)
    if not column.shape:
        return elements
    storage = pa.FixedSizeListArray.from_arrays(elements, int(np.prod(column.shape)))
    return pa.ExtensionArray.from_storage(column.arrow_type, storage)


@pytest.mark.parametrize("shape", [(), (2,), (2, 3, 1)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_column_to_numpy_gives_back_values_shape_and_dtype(dtype, shape):
    column = Column(name="x", dtype=dtype, shape=shape)
    values = np.arange(4 * int(np.prod(shape))).reshape(4, *shape) % 2
    values = values.astype(str).astype(object) if dtype == "string" else values.astype(dtype)
    array = typed(values, column)
    for form in (array, pa.chunked_array([array.slice(0, 1), array.slice(1)])):
        found = column_to_numpy(form, column)
        assert found.dtype == column.numpy_dtype
        np.testing.assert_array_equal(found, values)
    np.testing.assert_array_equal(column_to_numpy(array.slice(1, 2), column), values[1:3])
    empty = column_to_numpy(pa.chunked_array([], column.arrow_type), column)
    assert empty.shape == (0, *shape)


def test_column_to_numpy_of_one_chunk_copies_nothing():
    array = pa.array(np.arange(8, dtype=np.float32))
    found = column_to_numpy(pa.chunked_array([array]), Column(name="x", dtype="float32"))
    assert found.__array_interface__["data"][0] == array.buffers()[1].address


@pytest.mark.parametrize(
    ("array", "column"),
    [
        (pa.array([1.0, None], pa.float32()), Column(name="x", dtype="float32")),
        (pa.array(["a", None]), Column(name="x", dtype="string")),
        (
            pa.ExtensionArray.from_storage(
                pa.fixed_shape_tensor(pa.int8(), (2,)),
                pa.array([[1, 2], [3, None]], pa.list_(pa.int8(), 2)),
            ),
            Column(name="x", dtype="int8", shape=(2,)),
        ),
    ],
)
def test_column_to_numpy_nulls_are_refused_never_zero(array, column):
    with pytest.raises(DataError, match="column 'x' has 1 nulls in 2 rows, expected none"):
        column_to_numpy(array, column)


def test_column_to_numpy_other_type_is_refused():
    with pytest.raises(DataError, match="column 'x' holds int64, expected float"):
        column_to_numpy(pa.array([1]), Column(name="x", dtype="float32"))
