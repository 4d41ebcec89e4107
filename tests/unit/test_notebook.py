"""`shardline.batches`: what training with one worker sees, in a notebook."""

import numpy as np
import pyarrow as pa
import pytest
from tests.data.cached_rows import COLUMNS, dataset_in, values

import shardline
from shardline.data.forms import split_order
from shardline.errors import DataError, NotFoundError, ResourceError, SpecError
from shardline.spec.train import TrainSpec


@pytest.fixture
def store(tmp_path):
    return dataset_in(tmp_path)[0].uri


def rows_of(store, manifest, epoch, batch=32, seed=3):
    """The rows that training takes, by step."""
    order = split_order(manifest, "train", TrainSpec(global_batch=batch, seed=seed))
    lanes = range(order.num_lanes)
    return [
        order.batch_rows(epoch=epoch, step=step, lanes=lanes)
        for step in range(order.steps_per_epoch)
    ]


@pytest.mark.parametrize("epoch", [0, 1, 5])
def test_batches_are_those_that_training_takes(tmp_path, epoch):
    store, manifest = dataset_in(tmp_path)
    found = list(shardline.batches("tiny", store=store.uri, batch=32, seed=3, epoch=epoch))
    expected = rows_of(store, manifest, epoch)
    assert len(found) == len(expected) == 7
    for batch, rows in zip(found, expected, strict=True):
        assert list(batch) == [column.name for column in COLUMNS]
        for name, array in values().items():
            shape = array.shape[1:] or (1,)
            np.testing.assert_array_equal(batch[name], array[rows].reshape(-1, *shape))


def test_batches_as_arrow_have_the_schema_of_the_shards(store):
    numpy = list(shardline.batches("tiny", store=store, batch=32))
    arrow = list(shardline.batches("tiny", store=store, batch=32, form="arrow"))
    assert all(isinstance(batch, pa.RecordBatch) for batch in arrow)
    assert arrow[0].schema == pa.schema([(c.name, c.arrow_type) for c in COLUMNS])
    for batch, expected in zip(arrow, numpy, strict=True):
        assert batch["word"].to_pylist() == expected["word"].ravel().tolist()
        images = batch["image"].to_numpy_ndarray()
        np.testing.assert_array_equal(images, expected["image"])


def test_batches_of_a_user_who_cannot_write_are_those_of_the_first_epoch(
    store, tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(list(shardline.batches("tiny", store=store, batch=32))) == 7
    with pytest.raises(
        ResourceError, match=r"Not a directory; set .* \(shardline\.batches: cache\)"
    ):
        shardline.batches("tiny", store=store, batch=32, epoch=1)
    monkeypatch.chdir(tmp_path)
    found = shardline.batches("tiny", store=store, batch=32, epoch=1, cache="rows")
    assert len(list(found)) == 7
    assert len(list((tmp_path / "rows").iterdir())) == 1


def test_batches_of_what_is_not_there_is_refused(store):
    with pytest.raises(NotFoundError, match="has no dataset 'other'"):
        shardline.batches("other", store=store)
    with pytest.raises(NotFoundError, match="has no dataset 'tiny' version 'v0'"):
        shardline.batches("tiny", store=store, version="v0")
    with pytest.raises(DataError, match="has 0 rows, too few"):
        shardline.batches("tiny", store=store, split="test")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"batch": 0}, "batch is 0, expected a whole number from 1."),
        ({"epoch": -1}, "epoch is -1, expected a whole number from 0."),
        ({"seed": "7"}, "seed is '7', expected a whole number from 0."),
        ({"form": "torch"}, "form is 'torch', expected one of numpy, tf, arrow."),
        ({"cache": "s3://b/c"}, "cache is 's3://b/c', expected a folder of this machine."),
        ({"split": "dev"}, "split is 'dev', expected one of train, validation, test."),
    ],
)
def test_batches_with_arguments_that_are_none_are_refused(store, options, sentence):
    with pytest.raises(SpecError) as refused:
        shardline.batches("tiny", store=store, **options)
    assert refused.value.message == sentence
