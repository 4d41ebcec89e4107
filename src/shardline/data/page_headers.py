"""Headers of Parquet's data pages: what a page holds, and how.

Arrow reads them and keeps them to itself. They are Thrift structures in its compact form, of which
this reads integers, booleans and structures, and skips the bytes of statistics.
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from dataclasses import dataclass

# Thrift's types.
STOP, TRUE, FALSE, BINARY, STRUCT = 0, 1, 2, 8, 12
INTEGERS = (4, 5, 6)
MAX_VARINT_BYTES = 10
# A page's header holds the structure of its kind; data pages have one more, of statistics.
MAX_DEPTH = 3
DATA_PAGE_V2 = 3

Fields = dict[int, "int | Fields"]


class PageError(ValueError):
    """A page is not of the kind that was expected, or is damaged."""


@dataclass(frozen=True, slots=True)
class PageHeader:
    """Of a data page of version 2."""

    num_values: int
    """Elements, those of nested columns counted one by one."""
    num_nulls: int
    encoding: int
    """Number of the values' encoding."""
    level_bytes: int
    """Of levels, which come first and are never compressed."""
    is_compressed: bool
    """Whether the values are."""
    stored_bytes: int
    """Of the page behind the header."""
    raw_bytes: int
    """The same, uncompressed."""
    checksum: int
    """CRC-32 of the stored bytes."""


def read_page_header(data: memoryview, start: int) -> tuple[PageHeader, int]:
    """The header of a data page, and where the page itself begins.

    Args:
        data: Bytes of a column chunk.
        start: Where the header begins.

    Raises:
        PageError: There is none, or the page is of another kind or without a checksum.
    """
    try:
        fields, end = page_fields(data, start)
        if fields[1] != DATA_PAGE_V2:
            raise PageError(f"a page of kind {fields[1]}, expected a data page of version 2")
        page = fields[8]
        if not isinstance(page, dict):
            raise PageError("a number where a page's header has a structure")
        header = PageHeader(
            num_values=_integer(page[1]),
            num_nulls=_integer(page[2]),
            encoding=_integer(page[4]),
            level_bytes=_integer(page[5]) + _integer(page[6]),
            is_compressed=bool(page.get(7, True)),
            raw_bytes=_integer(fields[2]),
            stored_bytes=_integer(fields[3]),
            checksum=_integer(fields[4]) & 0xFFFFFFFF,
        )
    except (IndexError, KeyError) as error:
        raise PageError("no header of a data page with a checksum") from error
    if not 0 <= header.level_bytes <= min(header.stored_bytes, header.raw_bytes):
        raise PageError(f"{header.level_bytes} bytes of levels in {header.stored_bytes}")
    return header, end


def page_fields(data: memoryview, start: int) -> tuple[Fields, int]:
    """What the header of any page says, by field number, and where the page itself begins.

    Raises:
        PageError: It is no header.
        IndexError: The bytes end in it.
    """
    return _structure(data, start, MAX_DEPTH)


def _integer(value: "int | Fields") -> int:
    if isinstance(value, dict):
        raise PageError("a structure where a page's header has a number")
    return value


def _structure(data: memoryview, at: int, depth: int) -> tuple[Fields, int]:
    """Values by field number, and where what follows begins."""
    if not depth:
        raise PageError("structures too deep for a page's header")
    fields: Fields = {}
    number = 0
    while True:
        kind, step = data[at] & 0x0F, data[at] >> 4
        at += 1
        if kind == STOP:
            return fields, at
        if step:
            number += step
        else:  # a step of more than 15, or backwards, has its number written out
            number, at = _zigzag(data, at)
        if kind in (TRUE, FALSE):
            fields[number] = int(kind == TRUE)
        elif kind in INTEGERS:
            fields[number], at = _zigzag(data, at)
        elif kind == BINARY:
            size, at = _varint(data, at)
            at += size
        elif kind == STRUCT:
            fields[number], at = _structure(data, at, depth - 1)
        else:
            raise PageError(f"a value of type {kind} in a page's header")


def _zigzag(data: memoryview, at: int) -> tuple[int, int]:
    """A signed integer, and where what follows begins."""
    value, end = _varint(data, at)
    return (value >> 1) ^ -(value & 1), end


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """An integer of 7 bits a byte, and where what follows begins."""
    value = 0
    for place in range(MAX_VARINT_BYTES):
        byte = data[at + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at + place + 1
    raise PageError("an integer of too many bytes in a page's header")
