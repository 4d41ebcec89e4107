"""Scoring encoded images: the same samples from a dataset, from files and from a table."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.data.preparing import prepare
from tests.image_files import encoded, samples
from tests.raw_sources import spec_for, write_csv, write_parquet
from tests.sample_scoring import model_manifest

from shardline.data.decoding import decoded_image
from shardline.data.manifest import make_current
from shardline.data.schema import Column
from shardline.progress import SilentProgress
from shardline.scoring.driver import plan_job, run_plan
from shardline.scoring.worker import score_unit
from shardline.spec.locations import local_path
from shardline.store import Store

IMAGE = Column(name="image", dtype="uint8", shape=(4, 5, 3), encoded=True)
FILES = {f"{n:02d}": encoded(samples(9 + n, 30 - n, seed=n), "JPEG") for n in range(12)}


class Echo:
    """Answers its input."""

    def predict(self, columns):
        return {"seen": columns["image"]}


def scored(spec, **score):
    """Samples that the model saw, by the kept column, and rows that were rejected."""
    spec = spec.model_copy(update={"score": spec.score.model_copy(update=score)})
    model = model_manifest(inputs=(IMAGE,)).model_copy(
        update={"outputs": (Column(name="seen", dtype="uint8", shape=IMAGE.shape),)}
    )

    def run(job, units):
        for unit in units:
            yield score_unit(job, unit, Echo())

    plan = plan_job(spec, store=Store(spec.store), model=model)
    result = run_plan(plan, progress=SilentProgress(), run=run)
    table = pq.read_table(local_path(result.output))
    seen = table["seen"].combine_chunks().to_numpy_ndarray()
    (keep,) = score["keep"]
    return dict(zip(table[keep].to_pylist(), seen, strict=True)), result.rows_rejected


def assert_right(seen):
    assert len(seen) == len(FILES)
    for name, data in FILES.items():
        np.testing.assert_array_equal(seen[name], decoded_image(data, IMAGE))


def image_spec(folder, **data):
    feature = {"dtype": "uint8", "shape": [4, 5, 3], "encoded": True}
    return spec_for(folder, "parquet", "raw.parquet", features={"image": feature}, **data)


@pytest.fixture
def table(tmp_path):
    write_parquet(
        tmp_path / "raw.parquet",
        image=pa.array([*FILES.values(), b"broken"]),
        name=pa.array([*FILES, "broken"]),
        y=np.arange(len(FILES) + 1, dtype="f4"),
    )
    return tmp_path


def test_scores_of_a_dataset_and_of_its_source_see_the_same_samples(table):
    spec = image_spec(table, keep=["name"], max_quarantined=0.5)
    result = prepare(spec)
    make_current(Store(spec.store), result.dataset, result.version)
    seen, rejected = scored(spec, input="dataset", keep=("name",))
    assert_right(seen)
    assert rejected == 0
    raw, rejected = scored(
        spec, input=str(table / "raw.parquet"), keep=("name",), max_rejected=0.5, batch=5
    )
    assert_right(raw)
    assert rejected == 1


def test_scores_of_image_files_see_the_same_samples(tmp_path):
    for name, data in FILES.items():
        write_csv(tmp_path / "raw" / f"{name}.jpg", data)
    write_csv(tmp_path / "raw/empty.jpg", b"")
    feature = {"dtype": "uint8", "shape": [4, 5, 3], "encoded": True}
    spec = spec_for(tmp_path, "images", "raw", features={"image": feature}, label={"name": "class"})
    seen, rejected = scored(spec, input=str(tmp_path / "raw"), keep=("path",), max_rejected=0.5)
    assert_right({path.removesuffix(".jpg"): image for path, image in seen.items()})
    assert rejected == 1
