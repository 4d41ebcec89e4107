"""Loading registered versions: verified, cached, thread-safe."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from shardline.artifacts.predictor import load_predictor
from shardline.errors import DataError, IntegrityError, NotFoundError

ROWS = {"celsius": np.array([[100.0]], np.float32)}


def answer(predictor, rows=ROWS):
    (values,) = predictor.predict(rows).values()
    return values


def test_predictor_cached_copy_needs_the_marker_only(line, tmp_path):
    load_predictor(line.store, "celsius", 1, cache_dir=tmp_path / "cache")
    for entry in list(line.store.scan("models/celsius/1/")):
        if not entry.key.endswith("model.json"):
            line.store.delete(entry.key)
    predictor = load_predictor(line.store, "celsius", 1, cache_dir=tmp_path / "cache")
    np.testing.assert_allclose(answer(predictor), [[212.0]], rtol=1e-6)
    folders = [path.name for path in (tmp_path / "cache/celsius").iterdir()]
    assert len(folders) == 1
    assert folders[0].startswith("1-")


def test_predictor_damaged_cache_is_fetched_again(line, tmp_path):
    load_predictor(line.store, "celsius", 1, cache_dir=tmp_path / "cache")
    (file,) = (tmp_path / "cache").rglob("saved_model.pb")
    file.write_bytes(b"damaged")
    predictor = load_predictor(line.store, "celsius", 1, cache_dir=tmp_path / "cache")
    np.testing.assert_allclose(answer(predictor), [[212.0]], rtol=1e-6)
    assert file.read_bytes() != b"damaged"


def test_predictor_stored_file_with_other_digest_is_refused(line, tmp_path):
    key = "models/celsius/1/saved_model.pb"
    line.store.write(key, line.store.read(key) + b"x")
    with pytest.raises(IntegrityError, match=r"models/celsius/1/saved_model.pb is damaged"):
        load_predictor(line.store, "celsius", 1, cache_dir=tmp_path / "cache")
    assert not list((tmp_path / "cache/celsius").iterdir())


def test_predictor_absent_version_is_not_found(line, tmp_path):
    with pytest.raises(NotFoundError):
        load_predictor(line.store, "celsius", 2, cache_dir=tmp_path / "cache")


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ({"kelvin": ROWS["celsius"]}, "input 'celsius' is missing; the rows have kelvin."),
        (
            {"celsius": np.zeros((2, 3), np.float32)},
            r"input 'celsius' has shape \(2, 3\), expected \(rows, 1\).",
        ),
    ],
)
def test_predict_wrong_columns_are_named(line, tmp_path, rows, sentence):
    predictor = load_predictor(line.store, "celsius", 1, cache_dir=tmp_path / "cache")
    with pytest.raises(DataError, match=sentence):
        predictor.predict(rows)


def test_predict_from_many_threads_each_gets_its_own_answer(line, tmp_path):
    predictor = load_predictor(line.store, "celsius", 1, cache_dir=tmp_path / "cache")

    def fahrenheit(celsius):
        rows = np.full((celsius + 1, 1), celsius, np.float32)
        return answer(predictor, {"celsius": rows})

    with ThreadPoolExecutor(8) as pool:
        for celsius, values in enumerate(pool.map(fahrenheit, range(40))):
            assert values.shape == (celsius + 1, 1)
            np.testing.assert_allclose(values, 1.8 * celsius + 32, rtol=1e-6)
