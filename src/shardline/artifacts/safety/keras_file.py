"""A `.keras` or HDF5 file, looked through before Keras or h5py read anything from it."""

import stat
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from shutil import copyfileobj
from typing import IO

from shardline.artifacts.safety.hdf5_process import check_hdf5
from shardline.artifacts.safety.keras_config import check_config
from shardline.artifacts.safety.limits import (
    MAX_ARCHIVE_BYTES,
    MAX_CONFIG_BYTES,
    MAX_FILES,
    MAX_MEMBER_EXPANSION,
    MIN_BOMB_BYTES,
)
from shardline.artifacts.safety.refusal import quoted, refuse

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.weights.h5"
MEMBERS = frozenset({"metadata.json", CONFIG_FILE, WEIGHTS_FILE})
ASSETS_FOLDER = "assets"
PACKINGS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
HDF5_SUFFIXES = frozenset({".h5", ".hdf5"})

RESAVE = "save the model anew with model.save('NAME.keras')"
UNREADABLE = (
    zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, KeyError, ValueError,
    RuntimeError, OverflowError,
)  # fmt: skip
"""What `zipfile` raises on damaged bytes."""

_ZIP_BEGINS = b"PK\x03\x04"


def check_keras_file(file: Path) -> None:
    """Refuse a file that names code, leads to other files, or unfolds to more than it holds.

    Args:
        file: `.keras`, or HDF5 by its suffix `.h5` or `.hdf5`.

    Raises:
        UnsafeModelError: It does, or it is damaged.
    """
    model = f"the model in {file}"
    size = file.stat().st_size
    if file.suffix in HDF5_SUFFIXES:
        with file.open("rb") as content:
            configs = check_hdf5(content, model, file_bytes=size)
        for config in configs:
            check_config(config, model, file_bytes=size)
        return
    try:
        with file.open("rb") as content, open_archive(content, model) as archive:
            check_config(archive.read(CONFIG_FILE), model, file_bytes=size)
            with tempfile.TemporaryFile() as weights:
                with archive.open(WEIGHTS_FILE) as member:
                    copyfileobj(member, weights)
                check_hdf5(weights, model, file_bytes=weights.tell())
    except UNREADABLE as error:
        refuse(model, f"is no .keras file that can be read ({error})", RESAVE)


def open_archive(content: IO[bytes], model: str) -> zipfile.ZipFile:
    """Open a `.keras` file whose members are what and where Keras puts them.

    Raises:
        UnsafeModelError: There is a member of another name or kind, or one that unfolds too far.
        zipfile.BadZipFile: It is no zip file.
    """
    if content.read(len(_ZIP_BEGINS)) != _ZIP_BEGINS:
        raise zipfile.BadZipFile("it does not begin as one")
    content.seek(0, 2)
    file_bytes = content.tell()
    archive = zipfile.ZipFile(content)
    members = archive.infolist()
    names = [member.filename for member in members]
    if len(names) > MAX_FILES or len(set(names)) < len(names):
        refuse(model, f"has {len(names):,} members, or two of one name", RESAVE)
    if sum(member.compress_size for member in members) > file_bytes:
        refuse(model, "has members that overlap", RESAVE)
    if sum(member.file_size for member in members) > MAX_ARCHIVE_BYTES:
        refuse(model, f"would take more than {MAX_ARCHIVE_BYTES:,} bytes", RESAVE)
    for member in members:
        _check_member(member, model)
    return archive


def _check_member(member: zipfile.ZipInfo, model: str) -> None:
    name, size = member.filename, member.file_size
    parts = PurePosixPath(name).parts
    if name not in MEMBERS and (
        not parts or parts[0] != ASSETS_FOLDER or ".." in parts or "\\" in name
    ):
        refuse(model, f"has a member {quoted(name)}, which no .keras file has", RESAVE)
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        refuse(model, f"has {quoted(name)}, which is a link or a device", RESAVE)
    if member.flag_bits & 1 or member.compress_type not in PACKINGS:
        refuse(model, f"has {quoted(name)}, which is encrypted or packed in another way", RESAVE)
    if name == CONFIG_FILE and size > MAX_CONFIG_BYTES:
        refuse(model, f"has a config of {size:,} bytes", RESAVE)
    if size > MIN_BOMB_BYTES and size > MAX_MEMBER_EXPANSION * member.compress_size:
        refuse(
            model,
            f"has {quoted(name)}, which declares {size:,} bytes, of which it holds "
            f"{member.compress_size:,}",
            RESAVE,
        )
