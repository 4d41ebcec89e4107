"""Where a warm start comes from is known before anything starts."""

import numpy as np
import pytest
from tests.lines import classifier_line

from shardline.artifacts.checkpoint import (
    CheckpointManifest,
    Cursor,
    list_checkpoints,
    write_checkpoint,
)
from shardline.artifacts.checkpoint_removal import delete_checkpoints
from shardline.errors import DataError, NotFoundError
from shardline.store import Store
from shardline.training.warm_start import find_warm_start, held


@pytest.fixture
def found(tmp_path):
    def find(source, **options):
        spec = classifier_line(tmp_path, num_rows=3, **{"train.warm_start": source}).located()
        return find_warm_start(Store(spec.store), spec, **options)

    return find


def write_steps(folder, run, *steps):
    for step in steps:
        manifest = CheckpointManifest(
            run=run,
            step=step,
            cursor=Cursor(epoch=step, step=0),
            world_size=1,
            spec_digest="s",
            dataset="d",
            dataset_version="v",
            history=(),
        )
        write_checkpoint(Store(f"file://{folder}/store"), manifest, {"x": np.zeros(1, "float32")})


def test_run_gives_the_step_asked_for_or_its_last(found, tmp_path):
    write_steps(tmp_path, "base", 1, 2)
    assert found("runs:/base").described == "step 2 of run 'base'"
    assert found("runs:/base@1").checkpoint.step == 1


def test_checkpoint_of_another_run_is_held_until_the_workers_have_read_it(found, tmp_path):
    write_steps(tmp_path, "base", 1, 2)
    warm = found("runs:/base@1")
    store = warm.store
    with held(warm):
        delete_checkpoints(store, list_checkpoints(store, "base"))
        assert [c.step for c in list_checkpoints(store, "base")] == [1]
    delete_checkpoints(store, list_checkpoints(store, "base"))
    gone = pytest.raises(NotFoundError, match=r"base/.*1 was removed before it could be read; run")
    with gone, held(warm):
        pytest.fail("it is gone")
    with held(None):
        pass


def test_file_is_looked_up_beside_the_spec(found, tmp_path):
    (tmp_path / "base.keras").write_bytes(b"")
    warm = found("base.keras")
    assert warm.store.uri_of(warm.key) == f"file://{tmp_path}/base.keras"


@pytest.mark.parametrize(
    ("source", "kind", "sentence"),
    [
        ("models:/base/3", NotFoundError, r"no model 'base'; its registry is empty; run"),
        ("models:/base@live", NotFoundError, r"no model 'base'; its registry is empty; run"),
        ("runs:/none", NotFoundError, r"run 'none' has no checkpoint in file.*; it has none\."),
        ("runs:/base@7", NotFoundError, r"run 'base' has no checkpoint of step 7 .* of steps 1, 2"),
        ("runs:/toy", DataError, r"run 'toy' is this run itself, which continues anyway"),
        ("away.keras", NotFoundError, r"train\.warm_start: there is no file file://.*/away\.keras"),
    ],
)
def test_source_that_is_not_there_is_refused_in_a_sentence(found, tmp_path, source, kind, sentence):
    write_steps(tmp_path, "base", 1, 2)
    with pytest.raises(kind, match=sentence):
        found(source)


def test_run_that_has_begun_needs_its_source_no_more(found, tmp_path):
    write_steps(tmp_path, "toy", 1)
    assert found("away.keras") is None
    with pytest.raises(NotFoundError):
        found("away.keras", restart=True)
