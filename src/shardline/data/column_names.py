"""What columns may be called, and how names are said in sentences."""

import difflib
import json
import unicodedata
from collections.abc import Collection, Iterable

from shardline.data.utf8 import MARK
from shardline.errors import DataError

# Where a raw row came from, as columns of its table.
ORIGIN_FILE = "shardline.file"
ORIGIN_ROW = "shardline.row"
# The split of a parked row, and the hash that orders the rows of a split.
SIDE_COLUMN = "shardline.side"
PLACE_COLUMN = "shardline.place"
OWN_NAMES = (ORIGIN_FILE, ORIGIN_ROW, SIDE_COLUMN, PLACE_COLUMN)

MAX_NAMES = 20
MAX_NAME = 60


def check_names(where: str, names: Iterable[str]) -> None:
    """Refuse columns whose names are no text, are taken, or do not tell columns apart.

    Args:
        where: The file, or what else has the columns.
        names: As they are there.

    Raises:
        DataError: Says which and what to do.
    """
    seen: dict[str, str] = {}
    for name in names:
        if MARK in name:
            raise DataError(
                f"{where} has a column whose name is not valid UTF-8; convert the file to UTF-8."
            )
        if "\0" in name:
            raise DataError(
                f"{where} has NUL bytes in the name of a column, as files of UTF-16 text or none "
                "have; convert it to UTF-8 text."
            )
        if name in OWN_NAMES:
            raise DataError(
                f"{where} has a column {name!r}, which is what shardline calls its own; rename it."
            )
        alike = normalized(name)
        if alike in seen:
            forms = "" if seen[alike] == name else ", alike but for their Unicode form"
            raise DataError(f"{where} has several columns {said(name)}{forms}; rename all but one.")
        seen[alike] = name


def normalized(name: str) -> str:
    """The name in the one form that texts which look alike have in common."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def said(name: str) -> str:
    """A name as sentences show it."""
    return repr(name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}…")


def no_such_column(where: str, role: str, name: str, available: Collection[str]) -> DataError:
    """The error for a column that is not there: names those there are and the nearest."""
    shown = [said(each)[1:-1] for each in list(available)[:MAX_NAMES]]
    more = len(available) - len(shown)
    names = ", ".join(shown) + (f" and {more} more" if more else "")
    alike = next((each for each in available if normalized(each) == normalized(name)), None)
    near = difflib.get_close_matches(name, available, n=1, cutoff=0.5)
    hint = f", did you mean {said(near[0])}?" if near else "."
    if alike is not None:
        hint = f", where it has another Unicode form: write {json.dumps(alike)} in the spec."
    return DataError(f"{where} has no {role} {said(name)}; its columns are {names}{hint}")
