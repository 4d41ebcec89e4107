"""How raw column names become arguments of a SavedModel's `serving_default`.

TensorFlow calls a signature with Python keyword arguments, so it takes only names that are
identifiers, while columns are called things like `petal length (cm)`. The file's SignatureDef,
which TensorFlow Serving reads, always has the raw names; only the keyword in a Python call differs.
"""

import keyword
import re
from collections.abc import Iterable

SIGNATURE = "serving_default"

_IDENTIFIER = re.compile(r"^[A-Za-z][A-Za-z0-9_]*$")
# Parameters of the call itself, which a column of the same name would collide with.
_TAKEN = frozenset({"self", "args", "kwargs"})


def call_keywords(names: Iterable[str]) -> dict[str, str]:
    """The keyword that each column goes by in a Python call of the signature.

    Args:
        names: Input columns in the order of `ModelManifest.inputs`.

    Returns:
        The names themselves when all are usable, else `input_0`, `input_1`, … for all of them.
    """
    columns = list(names)
    if all(_is_usable(name) for name in columns):
        return {name: name for name in columns}
    return {name: f"input_{index}" for index, name in enumerate(columns)}


def _is_usable(name: str) -> bool:
    return bool(_IDENTIFIER.match(name)) and not keyword.iskeyword(name) and name not in _TAKEN
