"""Raw files to Arrow tables: one reader per format, each row with its place of origin."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from shardline.data.cleaning.raw_rows import cast_in_parts
from shardline.data.columnar import GroupRange, read_arrow, read_parquet
from shardline.data.csv_rows import ByteRange, delimiter_of, read_csv
from shardline.data.images import PATH_COLUMN, read_images
from shardline.data.json_lines import read_json_lines
from shardline.data.rows import Batch, RawBatch, Role, RowLayout, require_columns
from shardline.data.schema import Schema
from shardline.data.sources import SourceFile, SourceFiles
from shardline.errors import DataError
from shardline.spec.data import CsvSource, LabelsTable, Source

DELIMITERS = (",", ";", "\t", "|")


def read_rows(
    files: SourceFiles, source: Source, schema: Schema, *, keep: Iterable[str] = ()
) -> Iterator[Batch]:
    """Raw files against a fixed schema, for scoring; the label may be absent and is not read.

    Args:
        files: What `list_source` found, or a part of it.
        source: The format and how to read it; its path is not looked at.
        schema: The model's.
        keep: Columns carried along as text; for images `path` is always there.

    Yields:
        Batches whose tables have the features, then the kept columns that are no features.

    Raises:
        DataError: A file lacks a column, cannot be read, or holds types that never fit.
    """
    paths = (PATH_COLUMN,) if source.format == "images" else ()
    features = {column.name for column in schema.features}
    carried = tuple(name for name in dict.fromkeys((*keep, *paths)) if name not in features)
    layout = RowLayout(features=schema.features, carried=carried)
    required = [(column.indicates or column.name, role) for column, role in layout.roles]
    if source.format == "images":
        raw = read_images(files, schema.features[0], label=None)
    else:
        raw = read_tables(files, source, required)
    for batch in raw:
        yield from cast_in_parts(batch, layout)


def read_tables(
    files: SourceFiles,
    source: Source | LabelsTable,
    required: Iterable[tuple[str, Role]],
    *,
    everything: bool = False,
    part: ByteRange | GroupRange | None = None,
    types: Mapping[str, Any] | None = None,
) -> Iterator[RawBatch]:
    """Rows of tables, file by file, at least one batch for each header.

    Args:
        files: The source.
        source: Its format.
        required: Columns that files must have; JSON lines may leave fields out.
        everything: Read every other column too.
        part: What to read of the one file there is; its rows are numbered from 1.
        types: Numeric types that columns of text may have at once, where all values allow it.

    Raises:
        DataError: A file cannot be read or lacks a required column.
    """
    needed = list(required)
    names = None if everything else [name for name, _ in needed]
    for file in files.files:
        if source.format == "json":
            yield from read_json_lines(files, file, names)
            continue
        for batch in _columned(files, file, source, names, part, types):
            if isinstance(source, CsvSource | LabelsTable):
                _check_delimiter(file, source, batch.available, needed)
            require_columns(batch.available, needed, file.name)
            yield batch


def _columned(
    files: SourceFiles,
    file: SourceFile,
    source: Source | LabelsTable,
    names: list[str] | None,
    part: ByteRange | GroupRange | None,
    types: Mapping[str, Any] | None,
) -> Iterator[RawBatch]:
    if source.format == "parquet":
        return read_parquet(files, file, names, part if isinstance(part, GroupRange) else None)
    if source.format == "arrow":
        return read_arrow(files, file, names)
    if isinstance(source, CsvSource | LabelsTable):
        lines = part if isinstance(part, ByteRange) else None
        return read_csv(files, file, delimiter_of(file, source.delimiter), names, lines, types)
    raise DataError(f"{files.uri} holds {source.format}, which are no tables; see `format`.")


def _check_delimiter(
    file: SourceFile,
    source: CsvSource | LabelsTable,
    available: tuple[str, ...],
    needed: list[tuple[str, Role]],
) -> None:
    """Refuse a header that another delimiter would cut into columns."""
    if len(available) != 1 or all(name in available for name, _ in needed):
        return
    used = delimiter_of(file, source.delimiter)
    other = next((mark for mark in DELIMITERS if mark != used and mark in available[0]), None)
    if other is not None:
        raise DataError(
            f"{file.name} has one column, {available[0]!r}, when it is cut at {used!r}; "
            f"set the source's delimiter to {other!r}."
        )
