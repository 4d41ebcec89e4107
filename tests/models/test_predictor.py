"""Loading registered versions: verified, cached, thread-safe."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from shardline.artifacts.manifest import ModelManifest
from shardline.artifacts.predictor import load_predictor
from shardline.errors import DataError, IntegrityError, NotFoundError, UnsafeModelError
from shardline.store import dump_marker, read_marker

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


MARKER = "models/celsius/1/model.json"


def forge(store, **changes):
    """Rewrite the marker as one would who can write to the store."""
    manifest = read_marker(store, MARKER, ModelManifest)
    store.write(MARKER, dump_marker(manifest.model_copy(update=changes)))


def forge_files(store, contents):
    """Put files into the version, with digests that fit."""
    for path, content in contents.items():
        store.write(f"models/celsius/1/{path}", content)
    files = read_marker(store, MARKER, ModelManifest).files
    digests = {path: hashlib.sha256(content).hexdigest() for path, content in contents.items()}
    forge(store, files=files | digests)


def test_predictor_hostile_graph_with_fitting_digests_is_refused(line, tmp_path):
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    proto = SavedModel.FromString(line.store.read("models/celsius/1/saved_model.pb"))
    proto.meta_graphs[0].graph_def.library.function[0].node_def.add(name="evil", op="WriteFile")
    forge_files(line.store, {"saved_model.pb": proto.SerializeToString()})
    with pytest.raises(UnsafeModelError, match=r"contains WriteFile \(node 'evil' of function"):
        load_predictor(line.store, "celsius", 1, cache_dir=tmp_path / "cache")


def test_predictor_fetches_only_what_tensorflow_reads(line, tmp_path):
    extra = {"saved_model.pbtxt": b"", "evil.so": b"\x7fELF", "assets.extra/requests": b""}
    forge_files(line.store, extra)
    line.store.write("models/celsius/1/variables/unlisted", b"x")
    load_predictor(line.store, "celsius", 1, cache_dir=tmp_path / "cache")
    (folder,) = (tmp_path / "cache/celsius").iterdir()
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")} == {
        "saved_model.pb",
        "fingerprint.pb",
        "variables/variables.index",
        "variables/variables.data-00000-of-00001",
    }


def test_predictor_cached_copy_with_another_file_is_fetched_again(line, tmp_path):
    load_predictor(line.store, "celsius", 1, cache_dir=tmp_path / "cache")
    (folder,) = (tmp_path / "cache/celsius").iterdir()
    (folder / "saved_model.pbtxt").write_text("x")
    load_predictor(line.store, "celsius", 1, cache_dir=tmp_path / "cache")
    assert not (folder / "saved_model.pbtxt").exists()


@pytest.mark.parametrize("path", ["../evil", "/evil", "variables/../../evil"])
def test_predictor_marker_that_names_files_elsewhere_is_refused(line, tmp_path, path):
    files = read_marker(line.store, MARKER, ModelManifest).files
    forge(line.store, files=files | {path: "0" * 64})
    with pytest.raises(IntegrityError, match=r"lies outside the version's folder; it was written"):
        load_predictor(line.store, "celsius", 1, cache_dir=tmp_path / "cache")


def test_predictor_marker_of_another_version_is_refused(line, tmp_path):
    forge(line.store, name="../../elsewhere")
    with pytest.raises(
        IntegrityError, match=r"describes version 1 of '\.\./\.\./elsewhere'; it was"
    ):
        load_predictor(line.store, "celsius", 1, cache_dir=tmp_path / "cache")


def test_predictor_marker_that_describes_another_graph_is_refused(line, tmp_path):
    inputs = read_marker(line.store, MARKER, ModelManifest).inputs
    forge(line.store, inputs=(inputs[0].model_copy(update={"name": "kelvin"}),))
    with pytest.raises(IntegrityError, match=r"takes \['celsius'\] .* is not what its model\.json"):
        load_predictor(line.store, "celsius", 1, cache_dir=tmp_path / "cache")


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
