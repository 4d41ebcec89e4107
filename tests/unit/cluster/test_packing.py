"""What travels with a job and what stays behind."""

from pathlib import Path

import pytest

from shardline.cluster import packing
from shardline.cluster.packing import copy_files, files_to_pack
from shardline.errors import ResourceError


def write(folder: Path, **sizes: int) -> None:
    for name, size in sizes.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)


def packed(folder: Path, **options: object) -> set[str]:
    return {str(file.path) for file in files_to_pack(folder, **options)}


def test_files_to_pack_takes_spec_code_and_small_files(tmp_path: Path) -> None:
    write(tmp_path, **{"spec.yaml": 9, "model.py": 9, "layers__attention.py": 9, "words.txt": 9})
    assert packed(tmp_path) == {"spec.yaml", "model.py", "layers/attention.py", "words.txt"}


def test_files_to_pack_leaves_data_caches_and_hidden_files(tmp_path: Path) -> None:
    write(
        tmp_path,
        **{"spec.yaml": 9, "raw__a.png": 9, "store__datasets__d.json": 9, ".env": 9, ".git__x": 9},
    )
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "model.pyc").touch()
    assert packed(tmp_path, leave_out=[tmp_path / "raw", tmp_path / "store"]) == {"spec.yaml"}


def test_files_to_pack_leaves_large_files_but_never_code(tmp_path: Path) -> None:
    write(
        tmp_path, **{"table.py": packing.MAX_FILE_BYTES + 1, "rows.csv": packing.MAX_FILE_BYTES + 1}
    )
    assert packed(tmp_path) == {"table.py"}


def test_files_to_pack_too_much_code_is_refused(tmp_path: Path) -> None:
    for number in range(21):
        write(tmp_path, **{f"part_{number}.txt": packing.MAX_FILE_BYTES})
    with pytest.raises(ResourceError) as refused:
        files_to_pack(tmp_path)
    assert refused.value.message == (
        f"the folder of the spec, {tmp_path}, holds more than 20 MiB or 2000 files to send along; "
        "move the spec and its model code into a folder of their own."
    )


def test_files_to_pack_too_many_files_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "MAX_FILES", 3)
    write(tmp_path, **{f"{number}.txt": 1 for number in range(4)})
    with pytest.raises(ResourceError, match="or 3 files to send along"):
        files_to_pack(tmp_path)


def test_copy_files_keeps_their_places(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    write(source, **{"spec.yaml": 3, "layers__attention.py": 5})
    copy_files(files_to_pack(source), source=source, target=target)
    assert (target / "layers" / "attention.py").read_bytes() == b"xxxxx"
    assert (target / "spec.yaml").read_bytes() == b"xxx"
