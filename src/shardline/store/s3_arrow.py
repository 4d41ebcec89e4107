"""Arrow's view of S3 that outlives its credentials, and carries none when it is pickled.

An `S3FileSystem` keeps the keys it was made with: those of a role end after an hour, and a pickle
holds them in the clear. This one asks for them whenever a file is opened. What is opened is
Arrow's own file, so no byte passes through Python.
"""

from typing import Any

from pyarrow.fs import FileSystemHandler, PyFileSystem

from shardline.store.s3_connection import arrow_filesystem


def lasting_filesystem() -> PyFileSystem:
    """A `pyarrow.fs.FileSystem` over all buckets that this process's settings reach."""
    return PyFileSystem(_Lasting())


class _Lasting(FileSystemHandler):  # type: ignore[misc]  # pyarrow ships no types
    """Hands every call to a filesystem with the credentials of now."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Lasting)

    def __hash__(self) -> int:
        return hash(_Lasting)

    def get_type_name(self) -> str:
        return "s3"

    def normalize_path(self, path: str) -> str:
        return str(arrow_filesystem().normalize_path(path))

    def get_file_info(self, paths: list[str]) -> Any:
        return arrow_filesystem().get_file_info(paths)

    def get_file_info_selector(self, selector: Any) -> Any:
        return arrow_filesystem().get_file_info(selector)

    def create_dir(self, path: str, recursive: bool) -> None:
        arrow_filesystem().create_dir(path, recursive=recursive)

    def delete_dir(self, path: str) -> None:
        arrow_filesystem().delete_dir(path)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        arrow_filesystem().delete_dir_contents(path, missing_dir_ok=missing_dir_ok)

    def delete_root_dir_contents(self) -> None:
        raise NotImplementedError("buckets are never emptied as a whole")

    def delete_file(self, path: str) -> None:
        arrow_filesystem().delete_file(path)

    def move(self, src: str, dest: str) -> None:
        arrow_filesystem().move(src, dest)

    def copy_file(self, src: str, dest: str) -> None:
        arrow_filesystem().copy_file(src, dest)

    def open_input_stream(self, path: str) -> Any:
        return arrow_filesystem().open_input_stream(path, compression=None)

    def open_input_file(self, path: str) -> Any:
        return arrow_filesystem().open_input_file(path)

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        return arrow_filesystem().open_output_stream(path, compression=None, metadata=metadata)

    def open_append_stream(self, path: str, metadata: Any) -> Any:
        return arrow_filesystem().open_append_stream(path, compression=None, metadata=metadata)
