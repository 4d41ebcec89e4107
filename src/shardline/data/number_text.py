"""Text to numbers: at once where all of it is in Arrow's notation, else by its looks."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardline.data.schema import scalar_arrow_type
from shardline.spec.data import DType

# Arrow would also read 0x10 as sixteen; a row that says so is a mistake.
_NOTATIONS = {
    "int": r"^-?\d+(\.0*)?$",
    "float": r"^-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$",
    "bool": r"^([tT]rue|TRUE|[fF]alse|FALSE|[01])$",
}


def parsed(values: pa.Array, dtype: DType) -> pa.Array | None:
    """Text that is in Arrow's own notation throughout, thirty times as fast as by its looks.

    None where anything needs a closer look: blanks, plus signs, hexadecimal, overflow.
    """
    if dtype == "bool" or dtype == "float16":
        return None
    try:
        cast = values.cast(scalar_arrow_type(dtype))
    except pa.ArrowInvalid:
        return None
    if dtype.startswith("float"):
        return cast if is_finite(cast) else None
    return None if _holds_letters(values) else cast


def number_text(values: pa.Array, dtype: DType) -> pa.Array:
    """Text in the notation that Arrow parses (no blanks, plus or `.0`); null if it is no number.

    Whatever can be told by its looks is sorted out here: isolating it by failed casts would cost
    eighty microseconds a value.
    """
    trimmed = pc.replace_substring_regex(pc.utf8_trim_whitespace(values), r"^\+", "")
    kind = "int" if "int" in dtype else "float" if "float" in dtype else "bool"
    looks_right = pc.match_substring_regex(trimmed, _NOTATIONS[kind])
    sound = pc.if_else(looks_right, trimmed, pa.scalar(None, trimmed.type))
    return pc.replace_substring_regex(sound, r"\.0*$", "") if kind == "int" else sound


def is_finite(cast: pa.Array) -> bool:
    """Whether no number is NaN or infinite; nulls do not count."""
    # numpy looks at a number in a third of a nanosecond, Arrow's min_max takes ten.
    numbers = (cast.drop_null() if cast.null_count else cast).to_numpy()
    return bool(np.isfinite(numbers).all())


def _holds_letters(values: pa.Array) -> bool:
    """Whether integers are written in hexadecimal, which Arrow takes and people do not mean."""
    _, offsets, data = values.buffers()
    if data is None:
        return False
    wide = pa.types.is_large_string(values.type)
    ends = np.frombuffer(offsets, np.int64 if wide else np.int32)
    start, stop = ends[values.offset], ends[values.offset + len(values)]
    return bool((np.frombuffer(data, np.uint8)[start:stop] > ord("9")).any())
