"""First epoch of encoded images into tensors, against bare decoding of the same bytes.

    python benchmarks/encoded_images.py [--images 20000] [--rounds 5] [--cores 1 2] [--fill-memory]

JPEGs of 500 x 375 pixels and about 64 KB, kept as files in shards as `prepare` writes them, become
uint8 of 224 x 224 x 3. Ours reads Parquet in window form into `tf.data` and fills the machine's
cache of decoded rows on the way, from empty. The limit decodes and resizes the same bytes, which
are in memory, by the same function on as many threads as there are cores, and drops the samples.
Each side has a process pinned to the same cores, rounds alternate, files are in the page cache.
With `--fill-memory` so is a file as large as what else is free.
"""

import argparse
import io
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from feeding import LABEL, MEASURES, Case, Pinned, commit_dataset, fresh_cache
from PIL import Image, ImageDraw
from rig import fill_page_cache, interleaved, show, show_ratio, touch_memory

from shardline.data.batches import open_feed
from shardline.data.decoding import decoded_image
from shardline.data.schema import Column
from shardline.data.shards import ShardSize, encode_shard
from shardline.spec.train import CacheSpec, TrainSpec
from shardline.store import Store

IMAGE = Column(name="image", dtype="uint8", shape=(224, 224, 3), encoded=True)
GLOBAL_BATCH = 64
# They come again and again: making one takes longer than decoding it ten times.
DIFFERENT_IMAGES = 500
WIDTH, HEIGHT, QUALITY = 500, 375, 85
NOISE_LEVELS, NUM_WORDS = 9.0, 24


def main() -> None:
    """Measure and print every number of cores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--fill-memory", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        random = np.random.default_rng(0)
        files = [jpeg(random) for _ in range(min(DIFFERENT_IMAGES, options.images))]
        print(f"{options.images} images of {np.mean([len(f) for f in files]) / 1000:.1f} kB")
        write_images(Path(folder), files, options.images)
        filler = partial(fill_page_cache, Path(folder) / "filler")
        before = filler if options.fill_memory else touch_memory
        for cores in options.cores:
            case = Case(folder, "encoded", cores)
            measure(case, options.images, options.rounds, before=before)


def measure(case: Case, num_images: int, rounds: int, *, before: Callable[[], None]) -> None:
    """One table."""
    ours, bare = Pinned(case.cores), Pinned(case.cores)
    ours.run(first_epoch, case, "tensors", True)  # warms up
    bare.run(bare_decode, case, DIFFERENT_IMAGES)
    found = interleaved(
        rounds,
        {
            "tensors": lambda: ours.run(first_epoch, case, "tensors", True),
            "uncached": lambda: ours.run(first_epoch, case, "tensors", False),
            "limit": lambda: bare.run(bare_decode, case, num_images),
        },
        before=before,
    )
    ours.close()
    bare.close()
    print(f"encoded images, {case.cores} cores")
    show("first epoch into tensors", found["tensors"], "images/s")
    show("the same without a cache to fill", found["uncached"], "images/s")
    show("limit: bare decoding in threads", found["limit"], "images/s")
    show_ratio("tensors / limit", found["tensors"], found["limit"])
    show_ratio("without a cache / limit", found["uncached"], found["limit"])


def first_epoch(case: Case, into: str, is_kept: bool) -> float:
    """Images per second of a first epoch: nothing is kept yet."""
    store, dataset = case.dataset
    cache = fresh_cache(case)
    spec = CacheSpec(dir=f"file://{cache}", **({} if is_kept else {"max_bytes": 0}))
    train = TrainSpec(global_batch=GLOBAL_BATCH, cache=spec, cpus_per_worker=case.cores, epochs=2)
    columns = (*dataset.columns.features, dataset.columns.label)
    feed = open_feed(store, dataset, "train", columns=columns, train=train)
    try:
        return MEASURES[into](feed, 0)
    finally:
        shutil.rmtree(cache)


def bare_decode(case: Case, num_images: int) -> float:
    """Images per second of nothing but decoding and resizing."""
    files = files_in_memory(case)

    def decode(number: int) -> None:
        decoded_image(files[number % len(files)], IMAGE)

    began_s = time.perf_counter()
    with ThreadPoolExecutor(case.cores) as pool:
        for _ in pool.map(decode, range(num_images)):
            pass
    return num_images / (time.perf_counter() - began_s)


def write_images(folder: Path, files: list[bytes], num_images: int) -> None:
    """Shards as `prepare` writes them."""
    store = Store(f"file://{folder}")
    size, shards = ShardSize(), []
    row_bytes = max(IMAGE.num_bytes, float(np.mean([len(file) for file in files])))
    per_shard = size.rows_per_shard(row_bytes)
    for number, start in enumerate(range(0, num_images, per_shard)):
        rows = range(start, min(start + per_shard, num_images))
        images = [files[row % len(files)] for row in rows]
        table = pa.table(
            {
                IMAGE.name: pa.array(images, IMAGE.stored_type),
                LABEL.name: pa.array([row % 10 for row in rows], LABEL.arrow_type),
            }
        )
        encoded = encode_shard(
            table,
            key=f"train/part-{number:05d}.parquet",
            rows_per_group=size.rows_per_group(row_bytes),
        )
        store.write(f"datasets/encoded/v1/{encoded.shard.key}", encoded.data)
        shards.append(encoded.shard)
    commit_dataset(store, "encoded", (IMAGE,), shards)


@lru_cache
def files_in_memory(case: Case) -> list[bytes]:
    """The images of the first shard."""
    store, dataset = case.dataset
    _, root = store.filesystem()
    shard = dataset.split("train").shards[0]
    table = pq.read_table(f"{root}/{dataset.folder}/{shard.key}", columns=[IMAGE.name])
    files: list[bytes] = table[IMAGE.name].to_pylist()
    return files


def jpeg(random: np.random.Generator) -> bytes:
    """Smooth colours, sharp letters and a little noise: of the size that photographs have."""
    colours = Image.fromarray(random.integers(0, 256, (12, 16, 3)).astype(np.uint8))
    picture = colours.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    for _ in range(NUM_WORDS):
        word = "".join(map(chr, random.integers(ord("A"), ord("Z") + 1, 12)))
        place = (int(random.integers(0, WIDTH - 60)), int(random.integers(0, HEIGHT - 10)))
        draw.text(place, word, fill=tuple(random.integers(0, 256, 3).tolist()))
    noise = random.normal(0, NOISE_LEVELS, (HEIGHT, WIDTH, 1))
    levels = np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


if __name__ == "__main__":
    main()
