"""A function of the user's that yields Arrow tables, written down as files to be read."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from shardline.errors import DataError
from shardline.spec.data import PythonSource
from shardline.spec.locations import local_path

FILE_BYTES = 32 << 20


def write_tables(source: PythonSource, folder: Path) -> None:
    """Call the function and park what it yields as Arrow IPC files.

    Args:
        source: With an absolute location.
        folder: On local disk, empty.

    Raises:
        DataError: There is no such function, it fails, or yields something else than tables.
    """
    writer = None
    number = num_bytes = 0
    schema: pa.Schema | None = None
    try:
        for table in _tables(source):
            if schema is not None and table.schema != schema:
                raise DataError(
                    f"{_name(source)} yields tables of different columns: {_shown(schema)}, then "
                    f"{_shown(table.schema)}; cast them to one schema."
                )
            schema = table.schema
            if writer is None or num_bytes >= FILE_BYTES:
                if writer is not None:
                    writer.close()
                writer = pa.ipc.new_file(folder / f"tables-{number:05d}.arrow", schema)
                number, num_bytes = number + 1, 0
            # Cut alike whatever chunks the tables came in: content decides the version.
            for batch in table.combine_chunks().to_batches():
                writer.write_batch(batch)
            num_bytes += table.nbytes
    finally:
        if writer is not None:
            writer.close()
    if schema is None:
        raise DataError(f"{_name(source)} yields no table; yield at least one.")


def _tables(source: PythonSource) -> Iterator[pa.Table]:
    function = _function(source)
    try:
        for table in function(**source.params):
            if isinstance(table, pa.RecordBatch):
                table = pa.Table.from_batches([table])
            if not isinstance(table, pa.Table):
                raise DataError(
                    f"{_name(source)} yields {type(table).__name__}, expected pyarrow.Table."
                )
            yield _plain(table)
    except DataError:
        raise
    except (Exception, SystemExit) as error:  # the user's function may raise anything
        raise DataError(
            f"{_name(source)} fails with {type(error).__name__}: {error}; mend it."
        ) from error


def _plain(table: pa.Table) -> pa.Table:
    """The table without dictionaries: tables differ in them, and one file can have but one."""
    for place, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            plain = field.with_type(field.type.value_type)
            table = table.set_column(place, plain, table.column(place).cast(plain.type))
    return table


def _function(source: PythonSource) -> Any:
    uri, _, name = source.path.rpartition(":")
    file = local_path(uri)
    if not file.is_file():
        raise DataError(f"data.source.path {file} does not exist; check `data.source.path`.")
    spec = importlib.util.spec_from_file_location(f"shardline_source_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise DataError(f"data.source.path {file} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the user's module may raise anything at import
        raise DataError(f"{file} does not import: {type(error).__name__}: {error}.") from error
    finally:
        sys.path.remove(str(file.parent))
    function = getattr(module, name, None)
    if not callable(function):
        raise DataError(f"{file} has no function {name!r}; check `data.source.path`.")
    return function


def _name(source: PythonSource) -> str:
    return source.path.rpartition("/")[2]


def _shown(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in schema)
