"""Timestamps and padded lists in a model: exact in the graph, exported, served."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from tests.sample_datasets import candidate_of, write_dataset

import shardline
from shardline.artifacts.export import export_version
from shardline.artifacts.predictor import load_predictor
from shardline.data.manifest import ColumnStatistics
from shardline.data.padding import Padding
from shardline.data.schema import Column, Label
from shardline.errors import ModelError
from shardline.evaluation.worker import evaluate_candidate
from shardline.model.builder import build_model
from shardline.model.clock import cyclic_place, part_of, seconds_from
from shardline.model.code import collect_code
from shardline.model.features import Feature
from shardline.spec.data import SPLITS
from shardline.spec.train import TrainSpec
from shardline.training.stream import TrainStream

WHEN = Column(name="when", dtype="timestamp")
WORDS = Column(
    name="words", dtype="int32", shape=(3,), padding=Padding(value=0, longer="quarantine")
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOON_US = 1_774_958_400_000_000
TIMES = np.array(
    [0, -1, NOON_US, NOON_US + 59_999_999, -86_400_000_000 * 365 * 200, 2**53 + 1], np.int64
)[:, None]


@pytest.mark.parametrize("name", ["second", "minute", "hour", "weekday"])
def test_parts_of_a_timestamp_are_those_that_python_finds(name):
    moments = [EPOCH + timedelta(microseconds=int(t)) for t in TIMES[:, 0]]
    expected = [m.weekday() if name == "weekday" else getattr(m, name) for m in moments]
    found = part_of(TIMES, name)
    assert found.dtype == "int64"
    assert np.asarray(found)[:, 0].tolist() == expected


def test_places_in_a_period_begin_on_monday_and_meet_at_the_ends():
    day = 86_400_000_000
    monday = np.array([[4 * day], [4 * day - 1], [4 * day + 7 * day // 4]], np.int64)
    found = np.asarray(cyclic_place(monday, "week"))
    np.testing.assert_allclose(found, [[0, 1], [0, 1], [1, 0]], atol=1e-6)
    hour = np.asarray(cyclic_place(np.array([[NOON_US + day // 96]], np.int64), "hour"))
    np.testing.assert_allclose(hour, [[1, 0]], atol=1e-6)


def test_seconds_between_close_timestamps_keep_their_microseconds():
    moments = np.array([[NOON_US], [NOON_US + 3]], np.int64)
    found = np.asarray(seconds_from(moments, NOON_US / 1e6))
    np.testing.assert_allclose(found, [[0], [3e-6]], rtol=1e-6)


def test_features_that_are_no_timestamps_have_no_parts():
    statistics = ColumnStatistics(count=1, nulls=0, mean=0.0, variance=1.0)
    words, when = Feature(WORDS, statistics), Feature(WHEN, statistics)
    with pytest.raises(ModelError, match=r"'words' \(int32\) holds no timestamps; declare it with"):
        words.part("hour")
    with pytest.raises(ModelError, match="no part 'year'; it has second, minute, hour, weekday"):
        when.part("year")
    with pytest.raises(ModelError, match="no period 'year'; there are hour, day, week"):
        when.cyclic("year")


def build_timed(features):
    import keras

    when = features["when"]
    hour = keras.layers.Embedding(24, 2)(when.part("hour"))
    parts = [
        when.normalized(),
        when.cyclic("day"),
        keras.layers.Flatten()(hour),
        keras.layers.Flatten()(keras.layers.Embedding(9, 2)(features["words"].input)),
    ]
    scores = keras.layers.Dense(1, name="score")(keras.layers.Concatenate()(parts))
    model = keras.Model(features.inputs, scores)
    model.compile(loss="mse")
    return model


def build_rounding(features):
    import keras

    when = keras.Input((1,), name="when", dtype="float32")
    model = keras.Model({"when": when}, keras.layers.Dense(1)(when))
    model.compile(loss="mse")
    return model


@pytest.fixture
def timed(store):
    times = NOON_US + np.arange(12) * 1_234_567_891
    values = {
        "when": times,
        "words": np.arange(36).reshape(12, 3) % 9,
        "y": np.linspace(1, 2, 12, dtype=np.float32),
    }
    dataset = write_dataset(
        store, [WHEN, WORDS], Label(name="y", dtype="float32"), dict.fromkeys(SPLITS, values)
    )
    # As prepare has them: in seconds.
    seconds = ColumnStatistics(
        count=12, nulls=0, mean=float(times.mean() / 1e6), variance=float(times.var() / 1e12)
    )
    statistics = {**dataset.statistics, "when": seconds}
    return dataset.model_copy(update={"statistics": statistics})


def test_model_of_timestamps_and_padded_lists_is_exported_and_answers(store, timed, tmp_path):
    candidate = candidate_of(store, timed, build_timed)
    result = export_version(candidate)
    assert result.parity <= 1e-5
    predictor = load_predictor(store, "tiny", result.version, cache_dir=tmp_path / "cache")
    inputs = {column.name: column for column in predictor.manifest.inputs}
    assert inputs["when"].dtype == "timestamp"
    assert inputs["words"].padding == WORDS.padding
    rows = {"when": np.array([[NOON_US], [NOON_US]]), "words": np.zeros((2, 3), np.int32)}
    answers = predictor.predict(rows)["score"]
    assert answers[0] == answers[1]


def test_model_of_timestamps_is_evaluated(store, timed):
    found = evaluate_candidate(candidate_of(store, timed, build_timed), "test")
    assert found.rows == 12
    assert np.isfinite(found.metrics["loss"])


def test_streams_hold_timestamps_as_int64(store, timed, tmp_path):
    train = TrainSpec.model_validate({"global_batch": 4, "cache": {"dir": str(tmp_path / "cache")}})
    place = {"store": store, "columns": [WHEN, WORDS], "rank": 0, "world_size": 1}
    found = TrainStream(timed, train, **place).validation()
    assert found is not None
    features = [batch for batch, _ in found]
    moments = np.concatenate([batch["when"].numpy()[:, 0] for batch in features])
    assert moments.tolist() == [NOON_US + 1_234_567_891 * row for row in range(12)]
    stream = shardline.batches("tiny", store=store.uri, batch=4, form="tf", cache=None)
    assert stream.element_spec["when"].dtype == "int64"


def test_model_that_would_round_timestamps_is_refused(store, timed):
    candidate = candidate_of(store, timed, build_timed).spec
    spec = candidate.model_copy(
        update={"model": candidate.model.model_copy(update={"builder": build_rounding})}
    )
    with pytest.raises(ModelError, match="model input 'when' is float32, the feature is timestamp"):
        build_model(collect_code(spec), spec, timed)
