"""A registered model version as a function of raw columns.

Order of trust: digests of the files, then a look through them (`safety/`), then TensorFlow. Python
code from the artifact never runs.
"""

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from shardline.artifacts.manifest import MARKER_NAME, ModelManifest
from shardline.artifacts.registry import check_exists, resolve
from shardline.artifacts.safety import check_saved_model
from shardline.artifacts.signature import SIGNATURE, call_keywords
from shardline.data.schema import Column
from shardline.errors import DataError, IntegrityError, NotFoundError
from shardline.model.tensorflow_import import import_tensorflow
from shardline.store import Store, dump_marker

KERAS_FILE = "model.keras"
"""For people who train on; predicting never opens it."""

SERVED_FILES = frozenset({("saved_model.pb",), ("fingerprint.pb",), ("variables",), ("assets",)})
"""First parts of the paths that are fetched to predict."""

Array = np.ndarray[Any, Any]


class Predictor:
    """One loaded model version. Thread-safe.

    Args:
        manifest: The version's contract.
        folder: A SavedModel whose files have been verified.

    Raises:
        UnsafeModelError: It could do more than answer.
    """

    def __init__(self, manifest: ModelManifest, folder: Path) -> None:
        self.manifest = manifest
        self._keywords = call_keywords(column.name for column in manifest.inputs)
        # The signature does not keep its object alive, and variables die with it.
        self._loaded, self._signature = load_signature(folder)
        self._check_names(folder)

    def predict(self, columns: Mapping[str, Array]) -> dict[str, Array]:
        """Answer some rows.

        Args:
            columns: Every input column by name, shape (rows, *shape), (rows, 1) for a scalar;
                strings as `str` objects. Further columns are ignored.

        Returns:
            Every output by name, shape (rows, *shape), (rows, 1) for a scalar; strings as `str`.

        Raises:
            DataError: A column is missing or has another shape.
        """
        import tensorflow as tf

        tensors = {
            self._keywords[column.name]: tf.constant(
                _input_array(columns, column), dtype=column.tensor_dtype
            )
            for column in self.manifest.inputs
        }
        answers = self._signature(**tensors)
        return {
            column.name: output_array(answers[column.name], column)
            for column in self.manifest.outputs
        }

    def _check_names(self, folder: Path) -> None:
        described = (
            set(self._keywords.values()),
            {column.name for column in self.manifest.outputs},
        )
        taken = set(self._signature.structured_input_signature[1])
        if described != (taken, set(self._signature.structured_outputs)):
            raise IntegrityError(
                f"the model in {folder} takes {sorted(taken)} and answers "
                f"{sorted(self._signature.structured_outputs)}, which is not what its "
                f"{MARKER_NAME} says; export it anew."
            )


def load_predictor(store: Store, name: str, version: int, *, cache_dir: Path) -> Predictor:
    """Fetch, verify and load a model version.

    Args:
        store: Where the registry lives.
        name: Registered model.
        version: Its version.
        cache_dir: Files are kept at `NAME/VERSION-DIGEST/` below it; any number of processes may
            share it, and it may be deleted at any time.

    Raises:
        NotFoundError: There is no such version.
        IntegrityError: Stored files are not the ones that were exported, or are not safe to load.
    """
    manifest = resolve(store, name, version=version)
    digest = hashlib.sha256(dump_marker(manifest)).hexdigest()
    folder = cache_dir / name / f"{version}-{digest[:16]}"
    if not _is_intact(folder, manifest):
        try:
            _fetch(store, manifest, folder)
        except NotFoundError:
            check_exists(store, name, version)  # deleted meanwhile: says by whom
            raise
    return Predictor(manifest, folder)


def load_signature(folder: Path) -> tuple[Any, Any]:
    """A SavedModel and its serving signature, once it has been looked through.

    Raises:
        UnsafeModelError: It could do more than answer.
        IntegrityError: TensorFlow cannot load it.
    """
    import_tensorflow()
    import tensorflow as tf

    check_saved_model(folder)
    try:
        loaded = tf.saved_model.load(str(folder))
        return loaded, loaded.signatures[SIGNATURE]
    except Exception as error:  # TensorFlow raises what it likes on bytes that do not fit together
        raise IntegrityError(
            f"the model in {folder} cannot be loaded ({type(error).__name__}: {error}); export it "
            "anew."
        ) from error


def output_array(tensor: Any, column: Column) -> Array:
    """A tensor as `predict` returns it: (rows, *shape), (rows, 1) for scalars, text as `str`."""
    array: Array = tensor.numpy()
    array = array.reshape(len(array), *(column.shape or (1,)))
    if column.dtype != "string":
        return array
    texts = np.empty(array.size, dtype=object)
    texts[:] = [text.decode() for text in array.ravel()]
    return texts.reshape(array.shape)


def _input_array(columns: Mapping[str, Array], column: Column) -> Array:
    if column.name not in columns:
        raise DataError(
            f"input {column.name!r} is missing; the rows have {', '.join(columns) or 'no columns'}."
        )
    array = columns[column.name]
    expected = column.shape or (1,)
    if array.shape[1:] != expected:
        raise DataError(
            f"input {column.name!r} has shape {array.shape}, expected (rows, "
            f"{', '.join(map(str, expected))})."
        )
    return array


def _served_files(manifest: ModelManifest) -> dict[str, str]:
    """What TensorFlow reads; whatever else a version holds never leaves the store."""
    return {
        path: sha
        for path, sha in manifest.files.items()
        if PurePosixPath(path).parts[:1] in SERVED_FILES
    }


def _is_intact(folder: Path, manifest: ModelManifest) -> bool:
    """Whether the folder holds these files, each as it was exported, and no others."""
    served = _served_files(manifest)
    present = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()
    }
    return present == set(served) and all(
        hashlib.sha256((folder / path).read_bytes()).hexdigest() == sha256
        for path, sha256 in served.items()
    )


def _fetch(store: Store, manifest: ModelManifest, folder: Path) -> None:
    """Download into a folder of our own, then move it to its name in one step."""
    partial = folder.with_name(f".partial-{os.getpid()}-{os.urandom(8).hex()}")
    try:
        for path, sha256 in _served_files(manifest).items():
            store.read_to_file(f"{manifest.folder}/{path}", partial / path, sha256=sha256)
        _move(partial, folder, manifest)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _move(partial: Path, folder: Path, manifest: ModelManifest) -> None:
    try:
        partial.rename(folder)
    except OSError:
        # A folder is there: another process was faster, or its files were damaged since.
        if _is_intact(folder, manifest):
            return
        folder.rename(partial.with_name(f"{partial.name}-damaged"))
        shutil.rmtree(partial.with_name(f"{partial.name}-damaged"), ignore_errors=True)
        partial.rename(folder)
