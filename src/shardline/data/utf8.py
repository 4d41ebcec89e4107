"""Streams of text as UTF-8, bytes that are none replaced by a mark that no sound text holds."""

import codecs
import io
from typing import Any

from shardline.errors import DataError

# A noncharacter: Unicode reserves it for use inside programs, so no source is meant to hold it.
MARK = "\ufdd0"
_ERRORS = "shardline-mark"
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def _marked(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return MARK, error.end


codecs.register_error(_ERRORS, _marked)


class Utf8Stream(io.RawIOBase):
    """What a stream holds, in valid UTF-8 and without a byte order mark.

    Args:
        stream: Bytes.
        name: The file's, for the sentence.
        ending: Follows the last byte if the number of double quotes is odd.

    Raises:
        DataError: On reading: the text is UTF-16.
    """

    def __init__(self, stream: Any, name: str, ending: str = "") -> None:
        self.has_marks = False
        """Whether something so far was no UTF-8."""
        self.has_ended = False
        """Whether the ending was read."""
        self._ending = ending
        self._is_odd = False
        self._stream = stream
        self._name = name
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors=_ERRORS)
        self._begun = False
        self._pending = False
        self._ready = b""

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, none only at the end."""
        while not self._ready and (chunk := self._stream.read(size)):
            self._ready = self._sound(chunk)
        if not self._ready and self._pending:
            self._ready = self._decoded(b"", final=True)
        if not self._ready and self._is_odd and self._ending and not self.has_ended:
            self.has_ended = True
            self._ready = self._ending.encode()
        if size < 0 or len(self._ready) <= size:
            head, self._ready = self._ready, b""
        else:  # marks are longer than what they stand for
            head, self._ready = self._ready[:size], self._ready[size:]
        return head

    def _sound(self, chunk: bytes) -> bytes:
        if not self._begun:
            self._begun = True
            if chunk.startswith(_WIDE):
                raise DataError(f"{self._name} is UTF-16 text, expected UTF-8; convert it.")
            chunk = chunk.removeprefix(codecs.BOM_UTF8)
        if b'"' in chunk:  # found, or not, ten times as fast as counted
            self._is_odd ^= bool(chunk.count(b'"') % 2)
        return chunk if not self._pending and chunk.isascii() else self._decoded(chunk)

    def _decoded(self, chunk: bytes, *, final: bool = False) -> bytes:
        text = self._decoder.decode(chunk, final=final)
        self._pending = bool(self._decoder.getstate()[0])
        self.has_marks = self.has_marks or MARK in text
        return text.encode()
