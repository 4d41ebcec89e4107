"""The door for people: is this file or folder a model that can be loaded without trusting it?"""

from pathlib import Path

from shardline.artifacts.safety.keras_file import HDF5_SUFFIXES, check_keras_file
from shardline.artifacts.safety.saved_model import GRAPH_FILE, check_saved_model
from shardline.errors import DataError, NotFoundError

FORMATS = "a SavedModel folder, a .keras file, or an .h5 file"


def check_model(path: str | Path) -> str:
    """Look through a model without loading it.

    Args:
        path: A SavedModel folder, a `.keras` file, or HDF5 weights or models (`.h5`, `.hdf5`).

    Returns:
        What it is: `SavedModel`, `Keras file` or `HDF5 file`.

    Raises:
        UnsafeModelError: It names code, files or sizes that a model has no need of.
        DataError: It is none of these formats, as all that is pickled.
        NotFoundError: There is nothing at the path.
    """
    found = Path(path)
    if not found.exists():
        raise NotFoundError(f"there is no file or folder {found}; check its path.")
    if found.is_dir():
        if not (found / GRAPH_FILE).exists():
            raise DataError(f"{found} holds no {GRAPH_FILE}; give {FORMATS}.")
        check_saved_model(found)
        return "SavedModel"
    if found.suffix in {".keras", *HDF5_SUFFIXES}:
        check_keras_file(found)
        return "Keras file" if found.suffix == ".keras" else "HDF5 file"
    raise DataError(
        f"{found} is no model that can be checked: expected {FORMATS}; what is pickled (.pkl, "
        ".joblib) runs code when it is read, save it anew as one of these."
    )
