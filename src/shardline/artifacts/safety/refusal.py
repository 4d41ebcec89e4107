"""The sentence that refuses a model: which one, what was found, where."""

from collections.abc import Iterable
from typing import NoReturn

from shardline.errors import UnsafeModelError

MAX_NAMED = 5
_MAX_NAME_LENGTH = 120


def refuse(model: str, found: str, advice: str) -> NoReturn:
    """Raise for a model.

    Args:
        model: What to call it: `the model in /some/folder`.
        found: A verb, and what was found where: `contains ReadFile (node 'x')`.
        advice: What to do.
    """
    raise UnsafeModelError(f"{model} {found}; {advice}.")


def quoted(name: object) -> str:
    """A name out of the model, made harmless for a terminal and a log."""
    text = repr(str(name))
    if len(text) <= _MAX_NAME_LENGTH:
        return text
    return f"{text[:_MAX_NAME_LENGTH]}…'"


def listed(parts: Iterable[str]) -> str:
    """The first few, and how many more there are."""
    every = list(dict.fromkeys(parts))
    more = len(every) - MAX_NAMED
    return ", ".join(every[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
