"""The walk through an HDF5 file, in a process of its own.

HDF5 1.14 can crash, take all memory or never come back when the bytes that describe a file are
damaged; whoever only looks at the file is not to end with it.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from shutil import copyfileobj
from typing import IO

from shardline.artifacts.safety.hdf5 import RESAVE, look_through
from shardline.artifacts.safety.limits import GIB
from shardline.artifacts.safety.refusal import refuse
from shardline.errors import UnsafeModelError

TIMEOUT_S = 20.0
BYTES_PER_S = 50_000_000
"""How fast a file is read at the least: it is searched for heaps."""
MAX_MEMORY_BYTES = 4 * GIB

_COMMAND = "from shardline.artifacts.safety.hdf5_process import main; main()"


def check_hdf5(content: IO[bytes], model: str, *, file_bytes: int) -> list[str]:
    """Refuse an HDF5 file that leads out of itself, or unfolds to more than it holds.

    Args:
        content: The file.
        model: What to call it.
        file_bytes: Its size.

    Returns:
        Configs, in JSON, of a model that Keras 2 wrote; none for weights.

    Raises:
        UnsafeModelError: It does, or HDF5 cannot read it.
    """
    with tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as copy:
        process = subprocess.Popen(
            [sys.executable, "-c", _COMMAND, model, str(file_bytes)],
            stdin=_as_file(content, copy),
            stdout=answer,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        try:
            process.wait(TIMEOUT_S + file_bytes / BYTES_PER_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.returncode != 0:
            refuse(model, "holds no HDF5 that can be read (HDF5 failed at it)", RESAVE)
        answer.seek(0)
        found = json.load(answer)
    if "refused" in found:
        raise UnsafeModelError(found["refused"])
    return list(found["configs"])


def _as_file(content: IO[bytes], copy: IO[bytes]) -> IO[bytes]:
    """The content as something that another process can open."""
    content.seek(0)
    try:
        content.fileno()
    except OSError:  # in memory
        copyfileobj(content, copy)
        copy.seek(0)
        return copy
    return content


def main() -> None:
    """Look through the file on stdin; say what was found as JSON on stdout."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    model, file_bytes = sys.argv[1:]
    found: dict[str, str | list[str]]
    try:
        found = {"configs": look_through(sys.stdin.buffer, model, file_bytes=int(file_bytes))}
    except UnsafeModelError as error:
        found = {"refused": error.message}
    json.dump(found, sys.stdout)
    sys.stdout.flush()
    # What HDF5 still holds of a damaged file it may trip over while it ends.
    os._exit(0)
