"""Weights taken over from a `.keras` file by name and shape; no Python of the file runs.

A `.keras` file is a zip with the model's configuration, which may name code, and its weights in
HDF5. Only the second is opened, once it is known to lie in this very file. It addresses layers by
class and position, which shift when a model is changed; their names are attributes of the groups
and stay (keras 3.15, `saving/saving_lib.py`).
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shardline.artifacts.safety.hdf5_process import check_hdf5
from shardline.artifacts.safety.keras_file import UNREADABLE, WEIGHTS_FILE, open_archive
from shardline.errors import DataError, UnsafeModelError

VARIABLES_GROUP = "vars"
NOT_WEIGHTS = ("optimizer", "_trainer")
"""Groups of what `compile` and `fit` add to a model."""


@dataclass(frozen=True)
class Taken:
    """What a model took over, by name of layer and number of variable in it."""

    taken: tuple[str, ...]
    missing: tuple[str, ...]
    """The model has it, the source does not."""
    other_shape: tuple[str, ...]


def take_keras_weights(data: bytes, target: Path, *, where: str) -> Taken:
    """Put the weights of a `.keras` file in place of those of the same name and shape.

    Args:
        data: The `.keras` file.
        target: What `model.save_weights` wrote, for `model.load_weights` to read.
        where: What to call the source in errors.

    Raises:
        DataError: It is no such file, or refers to other files.
    """
    import h5py

    try:
        with open_archive(io.BytesIO(data), where) as archive:
            content = archive.read(WEIGHTS_FILE)
        check_hdf5(io.BytesIO(content), where, file_bytes=len(content))
        with h5py.File(io.BytesIO(content), "r") as source, h5py.File(target, "r+") as own:
            return _take(dict(_weights_below(source, ())), own)
    except UnsafeModelError as error:
        raise DataError(error.message) from error
    except UNREADABLE as error:
        raise DataError(
            f"{where} is no .keras file ({error}); save a model with model.save('NAME.keras')."
        ) from error


def _take(source: dict[str, Any], own: Any) -> Taken:
    taken, missing, other_shape = [], [], []
    for name, dataset in _weights_below(own, ()):
        found = source.get(name)
        if found is None:
            missing.append(name)
        elif found.shape != dataset.shape or found.dtype.kind != dataset.dtype.kind:
            other_shape.append(name)
        else:
            dataset[...] = found[()]
            taken.append(name)
    return Taken(tuple(taken), tuple(missing), tuple(other_shape))


def _weights_below(group: Any, names: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Arrays by `LAYER/…/NUMBER`, the model's own name left out."""
    import h5py

    own = group.get(VARIABLES_GROUP)
    if own is not None and group.name != "/":
        layer = own.attrs.get("name")
        names = (*names, str(layer)) if layer else names
    for key in group:
        if group.name == "/" and key in NOT_WEIGHTS:
            continue
        child = group[key]
        if key == VARIABLES_GROUP:
            for number in child:
                yield "/".join((*names, number)), child[number]
        elif isinstance(child, h5py.Group):
            yield from _weights_below(child, names)
