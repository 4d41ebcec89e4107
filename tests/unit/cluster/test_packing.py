"""What travels with a job and what stays behind."""

from pathlib import Path

import pytest

from shardline.cluster import packing
from shardline.cluster.packing import copy_files, files_to_pack
from shardline.errors import ResourceError


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    write(tmp_path, "spec.yaml")
    return tmp_path / "spec.yaml"


def write(folder: Path, *names: str, num_bytes: int = 3) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * num_bytes)


def packed(spec: Path) -> list[str]:
    return [str(file.path) for file in files_to_pack(spec)]


def test_files_to_pack_takes_the_spec_and_the_code_with_its_packages(spec: Path) -> None:
    write(spec.parent, "model.py", "layers/__init__.py", "layers/heads/attention.py")
    assert packed(spec) == [
        "spec.yaml", "model.py", "layers/__init__.py", "layers/heads/attention.py",
    ]  # fmt: skip


def test_files_to_pack_leaves_data_credentials_and_other_specs(spec: Path) -> None:
    write(
        spec.parent,
        *("credentials.json", "key.pem", ".env", ".git/hook.py", ".secret.py", "other.yaml"),
        *("raw/a.csv", "raw/b.png", "store/datasets/d.json", "words.txt"),
        "__pycache__/model.pyc",
    )
    assert packed(spec) == ["spec.yaml"]


def test_files_to_pack_too_much_code_is_refused(spec: Path) -> None:
    write(spec.parent, "a.py", "b.py", num_bytes=packing.MAX_TOTAL_BYTES // 2)
    with pytest.raises(ResourceError) as refused:
        files_to_pack(spec)
    assert refused.value.message == (
        f"the folder of the spec, {spec.parent}, holds more than 20 MiB or 2000 files of Python "
        "code to send along; move the spec and its model code into a folder of their own."
    )


def test_files_to_pack_too_many_files_are_refused(
    spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "MAX_FILES", 3)
    write(spec.parent, *(f"part_{number}.py" for number in range(3)))
    with pytest.raises(ResourceError, match="or 3 files of Python code to send along"):
        files_to_pack(spec)


def test_copy_files_keeps_their_places(
    spec: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    target = tmp_path_factory.mktemp("target")
    write(spec.parent, "layers/attention.py", num_bytes=5)
    copy_files(files_to_pack(spec), source=spec.parent, target=target)
    assert (target / "layers" / "attention.py").read_bytes() == b"xxxxx"
    assert (target / "spec.yaml").read_bytes() == b"xxx"
