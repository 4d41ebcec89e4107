"""Where an HDF5 file keeps texts of any length, held against its own sizes.

HDF5 1.14 walks these heaps by the sizes that the file gives, and never comes back from a size of
zero. Found by their signature, because finding them otherwise means to let HDF5 walk.
"""

from collections.abc import Iterator
from typing import IO

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SIZE_FIELDS = {0: 13, 1: 13, 2: 9, 3: 9}
"""Where each version of the first block says how wide addresses and sizes are."""
WIDTH = 8

_HEAP_BEGINS = b"GCOL\x01\x00\x00\x00"
_HEADER_BYTES = 16
"""Of a heap, and of an object in it, sizes being 8 bytes wide."""
_READ_AT_ONCE = 1 << 24


def damaged_heap(content: IO[bytes]) -> str | None:
    """What is wrong with an HDF5 file's first block or heaps; None if nothing is."""
    content.seek(0)
    first = content.read(32)
    place = _SIZE_FIELDS.get(first[8]) if first[:8] == SIGNATURE and len(first) == 32 else None
    if place is None:
        return "it does not begin as one"
    if first[place : place + 2] != bytes([WIDTH, WIDTH]):
        return "its addresses are of another width"
    end = content.seek(0, 2)
    for start in _heaps(content):
        content.seek(start)
        header = content.read(_HEADER_BYTES)
        size = int.from_bytes(header[8:], "little")
        heap = content.read(max(0, min(size, end - start) - _HEADER_BYTES))
        if len(heap) != size - _HEADER_BYTES or not _is_walkable(heap):
            return f"the heap at byte {start:,} does not add up"
    return None


def _heaps(content: IO[bytes]) -> Iterator[int]:
    offset, tail = 0, b""
    while True:
        content.seek(offset)
        piece = content.read(_READ_AT_ONCE)
        if not piece:
            return
        seen = tail + piece
        found = seen.find(_HEAP_BEGINS)
        while found >= 0:
            yield offset - len(tail) + found
            found = seen.find(_HEAP_BEGINS, found + 1)
        tail = seen[-(len(_HEAP_BEGINS) - 1) :]
        offset += len(piece)


def _is_walkable(heap: bytes) -> bool:
    """Whether the objects lie one after the other, and end with the heap."""
    place = 0
    while len(heap) - place >= _HEADER_BYTES:
        index = int.from_bytes(heap[place : place + 2], "little")
        size = int.from_bytes(heap[place + 8 : place + _HEADER_BYTES], "little")
        # The rest of the heap, object 0, counts its own header.
        step = _HEADER_BYTES + -(-size // 8) * 8 if index else size
        if step < _HEADER_BYTES:
            return False
        place += step
    return place <= len(heap)
