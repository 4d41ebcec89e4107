"""Images that stay files in the shards, from the source to batches and scores."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.data.preparing import manifest_of, prepare, quarantined, rows_of
from tests.image_files import bomb, encoded, samples
from tests.raw_sources import spec_for, write_csv, write_parquet

import shardline
from shardline.data import decoding
from shardline.data.batches import epoch_batches, open_feed, read_block
from shardline.data.decoding import decoded_image
from shardline.data.feed import reading_threads
from shardline.data.forms import decoded_bytes
from shardline.data.manifest import make_current
from shardline.data.open_shards import OpenShard
from shardline.data.packed_shards import PackedShards
from shardline.data.packing import Layout
from shardline.data.page.page import dataset_page
from shardline.data.pinned import pinned_columns
from shardline.data.readers import read_rows
from shardline.data.schema import Column, Label, Schema
from shardline.data.shards import ShardSize
from shardline.data.sources import list_source
from shardline.data.statistics.document import load_statistics
from shardline.errors import DataError, IntegrityError, SpecError
from shardline.spec.train import CacheSpec, TrainSpec
from shardline.store import Store

SHAPE = (6, 8, 3)
FEATURE = {"dtype": "uint8", "shape": list(SHAPE), "encoded": True}
COLUMN = Column(name="image", dtype="uint8", shape=SHAPE, encoded=True)
NUM_IMAGES = 60
BROKEN = {"empty": b"", "huge": bomb(), "text": b"no image at all"}


def image_bytes(number):
    """JPEG and PNG by turns, no two of the same size."""
    array = samples(5 + number % 7, 9 + number % 11, 1 + 2 * (number % 3 > 0), seed=number)
    return encoded(array, ("JPEG", "PNG")[number % 2])


def folder_of_images(folder, *, broken=BROKEN):
    files = {f"{number:03d}": image_bytes(number) for number in range(NUM_IMAGES)}
    for place, (name, data) in enumerate({**files, **broken}.items()):
        write_csv(folder / ("cat", "dog")[place % 2] / f"{name}.jpg", data)
    return files


def class_folders(folder, **broken):
    files = folder_of_images(folder / "raw", **broken)
    data = {"label": {"name": "class"}, "features": {"image": FEATURE}, "max_quarantined": 0.2}
    return spec_for(folder, "images", "raw", **data), files


def table_spec(folder, images, **data):
    write_parquet(folder / "raw.parquet", image=images, y=np.arange(len(images), dtype=np.float32))
    return spec_for(folder, "parquet", "raw.parquet", features={"image": FEATURE}, **data)


@pytest.fixture
def table(tmp_path):
    """A dataset of the images by number, in row groups of a few rows."""
    files = [image_bytes(number) for number in range(NUM_IMAGES)]
    spec = table_spec(tmp_path, pa.array(files, pa.binary()))
    result = prepare(spec, size=ShardSize(target_bytes=10_000, group_rows=4))
    make_current(Store(spec.store), result.dataset, result.version)
    return Store(spec.store), manifest_of(spec, result)


def pixels(number):
    return decoded_image(image_bytes(number), COLUMN)


def stored(dataset):
    """The rows of the shards as they lie there."""
    store, manifest = dataset
    _, root = store.filesystem()
    files = [f"{root}/{manifest.folder}/{shard.key}" for shard in manifest.split("train").shards]
    return [pq.ParquetFile(file) for file in files]


def test_prepare_keeps_the_files_and_sets_broken_ones_aside(tmp_path):
    spec, files = class_folders(tmp_path)
    result = prepare(spec)
    assert (result.rows_kept, result.rows_quarantined) == (NUM_IMAGES, len(BROKEN))
    reasons = {row["file"].split("/")[1]: row["reason"] for row in quarantined(spec, result)}
    decodes = "feature 'image' does not decode"
    assert reasons["empty.jpg"] == f"{decodes} (it has no bytes)"
    assert reasons["text.jpg"] == f"{decodes} (it is no image that Pillow knows)"
    assert reasons["huge.jpg"].startswith(f"{decodes} (DecompressionBombError: ")
    manifest = manifest_of(spec, result)
    (shard,) = stored((Store(spec.store), manifest))
    kept = shard.read().to_pydict()
    assert shard.schema_arrow.field("image").type == pa.large_binary()
    assert dict(zip(kept["path"], kept["image"], strict=True)) == {
        f"{('cat', 'dog')[place % 2]}/{name}.jpg": data
        for place, (name, data) in enumerate(files.items())
    }
    chunk = shard.metadata.row_group(0).column(0)
    assert (chunk.path_in_schema, chunk.compression) == ("image", "UNCOMPRESSED")


def test_prepare_describes_the_files(tmp_path):
    spec, files = class_folders(tmp_path)
    manifest = manifest_of(spec, prepare(spec))
    store = Store(spec.store)
    statistics = load_statistics(store, manifest)
    profile = statistics.column("image")
    assert profile.kind == "image"
    assert profile.lengths.max == max(map(len, files.values()))
    shape = profile.shapes[0]
    assert (shape.height, shape.width, shape.channels) in {
        (5 + n % 7, 9 + n % 11, 1 + 2 * (n % 3 > 0)) for n in range(NUM_IMAGES)
    }
    assert "height, width, channels" in dataset_page(manifest, statistics, quarantine=[])
    assert "encoded: true" in pinned_columns(manifest.columns)


def test_prepare_takes_images_that_a_table_names(tmp_path):
    files = folder_of_images(tmp_path / "raw")
    names = [f"{('cat', 'dog')[place % 2]}/{name}.jpg" for place, name in enumerate(files)]
    lines = [f"{name},{number}\n" for number, name in enumerate([*names, "cat/text.jpg"])]
    write_csv(tmp_path / "labels.csv", "file,y\n" + "".join(lines))
    spec = spec_for(
        tmp_path, "images", "raw", labels={"format": "csv", "path": "labels.csv"},
        features={"image": FEATURE}, max_quarantined=0.2,
    )  # fmt: skip
    result = prepare(spec)
    assert result.rows_kept == NUM_IMAGES
    by_name = dict(zip(names, files.values(), strict=True))
    (shard,) = stored((Store(spec.store), manifest_of(spec, result)))
    kept = shard.read().to_pydict()
    assert all(by_name[n] == data for n, data in zip(kept["file"], kept["image"], strict=True))
    (first, *_) = quarantined(spec, result)
    assert first["reason"] == ("feature 'image' does not decode (it is no image that Pillow knows)")


def test_prepare_takes_bytes_beside_their_path(tmp_path):
    files = [image_bytes(number) for number in range(NUM_IMAGES)]
    rows = pa.array([{"bytes": data, "path": "x"} for data in [*files, None]])
    spec = table_spec(tmp_path, rows, duplicates={"key": ["image"]})
    result = prepare(spec)
    assert quarantined(spec, result)[0]["reason"] == "feature 'image' is null"
    assert sorted(rows_of(spec, result)["y"].to_pylist()) == list(range(NUM_IMAGES))


def test_prepare_of_equal_files_in_two_splits_is_a_leak(tmp_path):
    images = pa.array([encoded(samples(5, 5))] * 40)
    write_parquet(tmp_path / "raw.parquet", image=images, y=np.zeros(40, "f4"), k=np.arange(40))
    split = {"by": "hash", "key": "k", "fractions": {"train": 0.5, "test": 0.5}}
    spec = spec_for(tmp_path, "parquet", "raw.parquet", features={"image": FEATURE}, split=split)
    with pytest.raises(DataError, match="the same row lies in two splits"):
        prepare(spec)


def test_prepare_of_text_as_an_encoded_image_is_refused(tmp_path):
    write_csv(tmp_path / "raw.csv", "image,y\nabc,1\n")
    spec = spec_for(tmp_path, "csv", "raw.csv", features={"image": FEATURE})
    with pytest.raises(DataError, match="holds string, which cannot become encoded images; give"):
        prepare(spec)


def test_prepare_of_undeclared_bytes_names_the_way_out(tmp_path):
    write_parquet(tmp_path / "raw.parquet", image=pa.array([image_bytes(0)]), y=np.zeros(1, "f4"))
    with pytest.raises(DataError, match=r"holds binary; if these are image files, declare it in"):
        prepare(spec_for(tmp_path, "parquet", "raw.parquet"))


@pytest.mark.parametrize("feature", [{"dtype": "float32"}, {"shape": [4]}, {"shape": [4, 4, 2]}])
def test_spec_of_an_encoded_feature_that_is_no_image_is_refused(tmp_path, feature):
    with pytest.raises(SpecError, match=r"becomes uint8 of shape \[height, width, 1, 3 or 4\]"):
        spec_for(tmp_path, "parquet", "raw.parquet", features={"image": FEATURE | feature})


def test_the_cache_is_sized_by_decoded_rows(table):
    _, manifest = table
    assert len(manifest.split("train").shards) > 2
    assert decoded_bytes(manifest, "train") == NUM_IMAGES * (np.prod(SHAPE) + 4)


def test_row_groups_of_small_files_are_no_larger_than_of_their_samples(tmp_path):
    files = [encoded(np.full((2, 2, 1), n, np.uint8), "JPEG") for n in range(NUM_IMAGES)]
    shape = {"image": FEATURE | {"shape": [100, 100, 3]}}
    write_parquet(tmp_path / "raw.parquet", image=pa.array(files), y=np.zeros(NUM_IMAGES, "f4"))
    spec = spec_for(tmp_path, "parquet", "raw.parquet", features=shape)
    manifest = manifest_of(spec, prepare(spec, size=ShardSize(group_bytes=300_000)))
    assert max(r for s in manifest.split("train").shards for r in s.row_groups) == 10


@pytest.mark.parametrize("max_bytes", [1 << 30, 0])
def test_feed_gives_decoded_images_in_both_forms(table, tmp_path, max_bytes):
    store, manifest = table
    cache = CacheSpec(dir=f"file://{tmp_path}/cache", max_bytes=max_bytes)
    train = TrainSpec(global_batch=8, lanes=4, epochs=3, cache=cache, cpus_per_worker=2)
    columns = (*manifest.columns.features, manifest.columns.label)
    feed = open_feed(store, manifest, "train", columns=columns, train=train)
    for epoch in range(2):
        seen = set()
        for batch in epoch_batches(feed, epoch):
            assert batch["image"].shape == (8, *SHAPE)
            assert batch["image"].dtype == np.uint8
            for image, number in zip(batch["image"], batch["y"][:, 0], strict=True):
                np.testing.assert_array_equal(image, pixels(int(number)))
                seen.add(int(number))
        assert len(seen) == NUM_IMAGES // 8 * 8


def test_reading_threads_are_all_cpus_where_images_are_decoded(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(16), raising=False)
    assert reading_threads(12, is_local=True) == reading_threads(12, is_local=False) == 4
    assert reading_threads(12, is_local=True, decodes=True) == 12
    assert reading_threads(12, is_local=False, decodes=True) == 12
    assert reading_threads(2, is_local=False, decodes=True) == 4


def test_later_epochs_decode_nothing(table, tmp_path, monkeypatch):
    store, manifest = table
    train = TrainSpec(
        global_batch=4, lanes=4, epochs=3, cache=CacheSpec(dir=f"file://{tmp_path}/cache")
    )
    columns = (*manifest.columns.features, manifest.columns.label)
    feed = open_feed(store, manifest, "train", columns=columns, train=train)
    list(epoch_batches(feed, 0))
    list(epoch_batches(feed, 1))
    monkeypatch.setattr("shardline.data.decoding.decoded_image", None)
    assert len(list(epoch_batches(feed, 2))) == NUM_IMAGES // 4


def test_read_block_gives_decoded_images(table):
    store, manifest = table
    block = read_block(
        store, manifest, "train", rows=(3, 50),
        columns=(*manifest.columns.features, manifest.columns.label),
    )  # fmt: skip
    for image, number in zip(block.columns["image"], block.columns["y"][:, 0], strict=True):
        np.testing.assert_array_equal(image, pixels(int(number)))


@pytest.mark.parametrize("form", ["numpy", "arrow"])
def test_notebook_batches_are_decoded(table, tmp_path, form):
    store, _ = table
    cache = str(tmp_path / "cache")
    (first, *_) = shardline.batches("sample", store=store.uri, batch=8, form=form, cache=cache)
    images = first["image"] if form == "numpy" else first["image"].to_numpy_ndarray()
    for image, number in zip(images, np.asarray(first["y"]).ravel(), strict=True):
        np.testing.assert_array_equal(image, pixels(int(number)))


def kept_images(table):
    """A reader of a dataset's shards, what it makes of their rows, and the shards."""
    store, manifest = table
    layout = Layout((*manifest.columns.features, manifest.columns.label))
    return PackedShards(store, manifest, layout), layout, manifest.split("train").shards


def check_part(found, layout, table, part):
    """The rows of the second shard's first row group."""
    rows = layout.unpack(found)
    expected = stored(table)[1].read_row_group(0)["y"].to_pylist()
    assert len(expected) == 4
    assert rows["y"].ravel().tolist() == expected[part]
    for image, number in zip(rows["image"], rows["y"].ravel(), strict=True):
        np.testing.assert_array_equal(image, pixels(int(number)))


@pytest.mark.parametrize("part", [slice(0, None), slice(1, 3), slice(0, 1), slice(3, 4)])
def test_images_come_from_pages_alone_and_only_those_asked_for_are_decoded(
    table, monkeypatch, part
):
    decoded = []
    original = decoding.decoded_image
    monkeypatch.setattr(decoding, "decoded_image", lambda *at: decoded.append(at) or original(*at))
    monkeypatch.setattr(OpenShard, "read", None)
    packed, layout, shards = kept_images(table)
    check_part(packed.row_group(shards[1], 0, part), layout, table, part)
    assert len(decoded) == len(range(4)[part])


@pytest.mark.parametrize("part", [slice(0, None), slice(1, 3)])
def test_images_that_another_writer_stored_are_read_by_arrow(table, part):
    store, manifest = table
    shard = manifest.split("train").shards[1]
    path = f"{store.filesystem()[1]}/{manifest.folder}/{shard.key}"
    pq.write_table(pq.read_table(path), path, row_group_size=4, write_page_checksum=True)
    size = store.filesystem()[0].get_file_info(path).size
    packed, layout, _ = kept_images(table)
    rewritten = shard.model_copy(update={"size_bytes": size})
    check_part(packed.row_group(rewritten, 0, part), layout, table, part)


def test_a_feed_without_a_cache_decodes_no_row_twice(table, tmp_path, monkeypatch):
    store, manifest = table
    decoded = []
    original = decoding.decoded_image
    monkeypatch.setattr(decoding, "decoded_image", lambda *at: decoded.append(at) or original(*at))
    train = TrainSpec(global_batch=12, lanes=6, order="window", epochs=1)
    columns = (*manifest.columns.features, manifest.columns.label)
    feed = open_feed(store, manifest, "train", columns=columns, train=train)
    bounds = {feed.order.lane_range(lane)[0] for lane in range(1, 6)}
    assert bounds - set(feed.groups.bounds.tolist())  # lanes share row groups
    assert sum(len(batch["y"]) for batch in epoch_batches(feed, 0)) == NUM_IMAGES
    assert len(decoded) == NUM_IMAGES


VERSION_2 = {"data_page_version": "2.0", "use_dictionary": False}


@pytest.mark.parametrize("options", [{}, VERSION_2], ids=["by Arrow", "from pages"])
@pytest.mark.parametrize("order", ["full", "window"])
def test_an_image_that_no_longer_decodes_is_named_with_shard_and_row(
    table, tmp_path, options, order
):
    """A shard that matches its marker, of images that this machine's Pillow cannot read."""
    store, manifest = table
    split = manifest.split("train")
    shard = split.shards[1]
    _, root = store.filesystem()
    path = f"{root}/{manifest.folder}/{shard.key}"
    rows = pq.read_table(path)
    images = rows["image"].to_pylist()
    images[6] = images[6][:40]
    rows = rows.set_column(0, rows.schema.field(0), pa.array(images, pa.large_binary()))
    options = {"row_group_size": shard.row_groups[0], "write_page_checksum": True} | options
    pq.write_table(rows, path, **options)
    size = store.filesystem()[0].get_file_info(path).size
    broken = shard.model_copy(update={"size_bytes": size})
    shards = (split.shards[0], broken, *split.shards[2:])
    splits = {"train": split.model_copy(update={"shards": shards})}
    manifest = manifest.model_copy(update={"splits": splits})
    columns = (*manifest.columns.features, manifest.columns.label)
    sentence = (
        rf"shard {store.uri_of(f'{manifest.folder}/{shard.key}')}, row 7: image 'image' does not "
        r"decode \(.*\), although `prepare` could decode it; use the Pillow"
    )
    with pytest.raises(IntegrityError, match=sentence):
        read_block(store, manifest, "train", rows=(0, NUM_IMAGES), columns=columns)
    cache = CacheSpec(dir=f"file://{tmp_path}/cache")
    train = TrainSpec(global_batch=4, cache=cache, lanes=4, order=order)
    with pytest.raises(IntegrityError, match=sentence):
        list(epoch_batches(open_feed(store, manifest, "train", columns=columns, train=train), 0))


def test_read_rows_for_scoring_decodes_and_rejects(tmp_path, monkeypatch):
    spec, _ = class_folders(tmp_path)
    schema = manifest_of(spec, prepare(spec)).columns
    monkeypatch.setattr("shardline.data.rows.GROWN_BYTES", 7 * 144)
    listed = list_source(spec.data.source, base=tmp_path)
    batches = list(read_rows(listed, spec.data.source, schema))
    rejected = [rejected for batch in batches for rejected in batch.rejected]
    assert {each.file.split("/")[1] for each in rejected} == {f"{name}.jpg" for name in BROKEN}
    assert max(batch.table.num_rows for batch in batches) <= 7
    whole = pa.concat_tables([batch.table for batch in batches])
    assert whole.num_rows == NUM_IMAGES
    assert whole.schema.field("image").type == schema.feature("image").arrow_type
    images = whole["image"].combine_chunks().to_numpy_ndarray()
    for image, path in zip(images, whole["path"].to_pylist(), strict=True):
        number = int(path.split("/")[1].removesuffix(".jpg"))
        np.testing.assert_array_equal(image, pixels(number))


def test_read_rows_for_scoring_takes_samples_too(tmp_path):
    images = np.stack([samples(*SHAPE, seed=n) for n in range(3)])
    write_parquet(
        tmp_path / "raw.parquet", image=pa.FixedShapeTensorArray.from_numpy_ndarray(images)
    )
    spec = spec_for(tmp_path, "parquet", "raw.parquet", features={"image": FEATURE})
    wanted = Schema(features=(COLUMN,), label=Label(name="y", dtype="float32"))
    listed = list_source(spec.data.source, base=tmp_path)
    (batch,) = [b for b in read_rows(listed, spec.data.source, wanted) if b.table.num_rows]
    np.testing.assert_array_equal(batch.table["image"].combine_chunks().to_numpy_ndarray(), images)
