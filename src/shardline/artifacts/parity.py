"""Proof that an exported model answers as the model in memory, given by a process of its own.

The process imports TensorFlow but none of the user's code, just like everything that will later
load the model. It is started before the export, so that its import overlaps the export's work:
`python -m shardline.artifacts.parity`, then one line of JSON on stdin.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shardline.artifacts.signature import call_keywords
from shardline.errors import ParityError
from shardline.model.tensorflow_import import import_tensorflow

MAX_ERROR = 1e-5
TIMEOUT_S = 300.0

Arrays = Mapping[str, "np.ndarray[Any, Any]"]


@dataclass(frozen=True)
class CleanProcess:
    """A fresh Python that is importing TensorFlow."""

    process: "subprocess.Popen[str]"
    folder: Path
    """Where rows, answers and stderr go."""

    def answers(self, saved_model: Path, rows: Arrays) -> dict[str, "np.ndarray[Any, Any]"]:
        """What the SavedModel answers when the process has loaded it. To be called once.

        Raises:
            ParityError: It cannot be loaded or called there.
        """
        write_arrays(self.folder / "rows.npz", rows)
        task = {"saved_model": str(saved_model), "folder": str(self.folder), "columns": list(rows)}
        try:
            self.process.communicate(json.dumps(task) + "\n", timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise ParityError(
                f"the exported model gave no answer in {TIMEOUT_S:.0f} s; export again on a less "
                "busy machine."
            ) from error
        if self.process.returncode != 0:
            raise ParityError(
                "the exported model cannot be used by a process without the builder's code: "
                f"{self._last_line()}; make the model of Keras layers and TensorFlow operations."
            )
        return read_arrays(self.folder / "answers.npz")

    def _last_line(self) -> str:
        lines = (self.folder / "stderr").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit status {self.process.returncode}"


@contextmanager
def clean_process() -> Iterator[CleanProcess]:
    """Start the process; it ends with the block at the latest."""
    with tempfile.TemporaryDirectory(prefix="shardline-parity-") as folder:
        with Path(folder, "stderr").open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "shardline.artifacts.parity"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        try:
            yield CleanProcess(process, Path(folder))
        finally:
            process.kill()
            process.communicate()


def compare(expected: Arrays, found: Arrays) -> float:
    """The largest deviation of numbers, relative to the value where it is larger than 1.

    Raises:
        ParityError: It exceeds `MAX_ERROR`, or texts, integers, names or shapes differ at all.
    """
    if set(expected) != set(found):
        raise ParityError(
            f"the exported model answers {sorted(found)}, the model in memory {sorted(expected)}."
        )
    worst = 0.0
    for name, values in expected.items():
        error = _max_error(np.asarray(values), np.asarray(found[name]))
        if not error <= MAX_ERROR:
            raise ParityError(
                f"output {name!r} of the exported model deviates by {error:.3g} from the model in "
                f"memory, at most {MAX_ERROR:g} is allowed; look for randomness or state in its "
                "layers at inference."
            )
        worst = max(worst, error)
    return worst


def write_arrays(file: Path, arrays: Arrays) -> None:
    """Write arrays without pickle; texts become fixed-width ones. Names may be anything."""
    plain = {f"array_{i}": _without_objects(array) for i, array in enumerate(arrays.values())}
    names = np.array(list(arrays), dtype=np.str_)
    np.savez(file, allow_pickle=False, names=names, **plain)


def read_arrays(file: Path) -> dict[str, "np.ndarray[Any, Any]"]:
    """Read what `write_arrays` wrote; texts come back as objects."""
    with np.load(file, allow_pickle=False) as stored:
        arrays = [stored[f"array_{i}"] for i in range(len(stored["names"]))]
        return {
            str(name): array.astype(object) if array.dtype.kind == "U" else array
            for name, array in zip(stored["names"], arrays, strict=True)
        }


def call_signature(
    signature: Any, rows: Arrays, columns: Sequence[str]
) -> dict[str, "np.ndarray[Any, Any]"]:
    """Raw answers of a loaded serving signature, texts decoded."""
    import tensorflow as tf

    keywords = call_keywords(columns)
    answers = signature(**{keywords[name]: tf.constant(rows[name]) for name in columns})
    return {name: decoded(tensor.numpy()) for name, tensor in answers.items()}


def decoded(array: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """Text as `str`, numbers as they are."""
    if array.dtype.kind != "O":
        return array
    texts = [value.decode() for value in array.ravel()]
    return np.array(texts, dtype=np.str_).reshape(array.shape)


def _without_objects(array: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    return array.astype(np.str_) if array.dtype.kind == "O" else array


def _max_error(expected: "np.ndarray[Any, Any]", found: "np.ndarray[Any, Any]") -> float:
    if expected.shape != found.shape:
        return float("inf")
    if expected.dtype.kind not in "fc":
        return 0.0 if np.array_equal(expected, found) else float("inf")
    wide = expected.astype(np.float64)
    with np.errstate(invalid="ignore"):
        errors = np.abs(wide - found.astype(np.float64)) / np.maximum(1.0, np.abs(wide))
    same = (wide == found) | (np.isnan(wide) & np.isnan(found))
    return float(np.where(same, 0.0, np.nan_to_num(errors, nan=np.inf)).max(initial=0.0))


def main() -> None:
    """Load a SavedModel and answer rows, as told by a line of JSON on stdin."""
    import_tensorflow()  # before the task arrives: this takes seconds
    from shardline.artifacts.predictor import load_signature

    line = sys.stdin.readline()
    if not line:
        return  # the export failed or was killed
    task = json.loads(line)
    folder = Path(task["folder"])
    loaded, signature = load_signature(Path(task["saved_model"]))
    rows = read_arrays(folder / "rows.npz")
    write_arrays(folder / "answers.npz", call_signature(signature, rows, task["columns"]))
    del loaded


if __name__ == "__main__":
    main()
