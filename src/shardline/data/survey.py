"""What the raw values of a source look like, counted while it is read, and the types that follow.

One rule for every column: it is what all but `data.max_quarantined` of its values are; the few
that are something else reject their rows later.
"""

from collections import Counter
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardline.data.casting import CastColumn
from shardline.data.elements import dtype_of, is_list, is_text
from shardline.data.rows import ORIGIN_FILE, ORIGIN_ROW, RawBatch
from shardline.data.schema import Column
from shardline.errors import DataError
from shardline.spec.data import TensorDType

# At most 18 digits: more may not fit an int64, and as a float they would lose digits.
INTEGER = r"^\s*[+-]?\d{1,18}\s*$"
DECIMAL = r"^\s*[+-]?((\d+\.\d*|\.\d+)([eE][+-]?\d+)?|\d+[eE][+-]?\d+|[nN]a[nN]|[iI]nf)\s*$"
BOOLEAN = r"^\s*(true|false|True|False|TRUE|FALSE)\s*$"

# Whole numbers of more than 18 digits are none by their looks.
MAX_PLAIN = 10**18
# Nothing longer is looked at as a number.
MAX_NUMBER_BYTES = 400
_NUMBERS = ("int64", "float64")

Kind = tuple[str, tuple[int, ...]]
"""A dtype (or the name of an Arrow type that has none) and the shape of one value."""


@dataclass
class Evidence:
    """Values of one column by kind."""

    kinds: Counter[Kind] = field(default_factory=Counter)
    nulls: int = 0

    def share(self, dtype: str) -> float:
        """Share of the values that are of a dtype, whatever their shape."""
        found = sum(count for (name, _), count in self.kinds.items() if name == dtype)
        return found / max(1, self.kinds.total())

    def share_of_shape(self, shape: tuple[int, ...]) -> float:
        """Share of the values that are of a shape, whatever their dtype."""
        found = sum(count for (_, other), count in self.kinds.items() if other == shape)
        return found / max(1, self.kinds.total())


@dataclass
class Survey:
    """Evidence for every column, in the order columns were first seen."""

    typed: bool
    """Whether the format has types; otherwise text that reads as a number counts as one."""
    columns: dict[str, Evidence] = field(default_factory=dict)
    num_rows: int = 0

    def add(
        self,
        batch: RawBatch,
        cast: Mapping[str, CastColumn] | None = None,
        *,
        only: Container[str] | None = None,
    ) -> None:
        """Count one batch.

        Args:
            batch: The rows.
            cast: Columns that have been cast; where that went well, values need no other look.
            only: Columns that matter; None for all.
        """
        self.num_rows += batch.table.num_rows
        for name in batch.available:
            self.columns.setdefault(name, Evidence())
        for name in batch.table.column_names:
            if name in (ORIGIN_FILE, ORIGIN_ROW) or (only is not None and name not in only):
                continue
            typed = (cast or {}).get(name)
            self._count(self.columns[name], batch.table[name], typed and typed.values)

    def merge(self, other: "Survey") -> None:
        """Count what another survey has counted."""
        self.num_rows += other.num_rows
        for name, evidence in other.columns.items():
            mine = self.columns.setdefault(name, Evidence())
            mine.kinds.update(evidence.kinds)
            mine.nulls += evidence.nulls

    def column(self, name: str, *, tolerance: float) -> Column:
        """The column that a feature's values make up.

        Args:
            name: Its name.
            tolerance: Share of values that may be of another kind.

        Raises:
            DataError: Its values are all null, or of a type that no model takes.
        """
        evidence = self.columns[name]
        if not name:
            raise DataError(
                "the source has a column without a name, perhaps the row numbers that pandas "
                "writes; name it, or list the columns to learn from in data.features."
            )
        if not evidence.kinds:
            raise DataError(
                f"feature {name!r} is null in all {self.num_rows} rows; "
                "name the columns to learn from in data.features."
            )
        dtype, shape = settled(evidence, tolerance=tolerance)
        if dtype not in _DTYPES:
            if dtype in ("binary", "large_binary"):
                raise DataError(
                    f"feature {name!r} holds {dtype}; if these are image files, declare it in "
                    "data.features as uint8 of shape [height, width, channels] with encoded: true."
                )
            instead = "carry this one along with data.keep"
            if "<" in dtype:  # which no text can be made of
                instead = "write what is in this one as columns of its own"
            raise DataError(
                f"feature {name!r} holds {dtype}, which no model takes; list the columns to learn "
                f"from in data.features, or {instead}."
            )
        if shape and evidence.share_of_shape(shape) < 1 - tolerance:
            raise _of_many_shapes(name, dtype, evidence)
        return Column.model_validate({"name": name, "dtype": dtype, "shape": shape})

    def _count(self, evidence: Evidence, raw: pa.ChunkedArray, cast: pa.Array | None) -> None:
        present = len(raw) - raw.null_count
        evidence.nulls += raw.null_count
        if not present:
            return
        if not self.typed and _is_number(raw.type):
            evidence.kinds[_NUMBERS[pa.types.is_floating(raw.type)], ()] += present
        elif not is_text(raw.type) or self.typed:
            evidence.kinds.update(_kinds_of(raw.combine_chunks()))
        elif cast is not None and cast.null_count == raw.null_count and _is_plain_number(cast):
            evidence.kinds[_NUMBERS[pa.types.is_floating(cast.type)], ()] += present
        else:
            evidence.kinds.update(_text_kinds(raw.combine_chunks(), present))


def settled(evidence: Evidence, *, tolerance: float) -> Kind:
    """The kind that a column's values agree on.

    Whole and decimal numbers of several widths become the widest of their family; numbers among
    text, or text among numbers, beyond the tolerance make the column text.
    """
    dtypes: Counter[str] = Counter()
    for (dtype, _), count in evidence.kinds.items():
        dtypes[dtype] += count
    total = dtypes.total()
    common = dtypes.most_common(1)[0][0]
    shape = Counter({shape: count for (_, shape), count in evidence.kinds.items()}).most_common(1)[
        0
    ][0]
    numbers = [dtype for dtype in dtypes if dtype.startswith(("int", "uint", "float"))]
    if numbers and sum(dtypes[dtype] for dtype in numbers) >= (1 - tolerance) * total:
        return _widest(numbers), shape
    if dtypes[common] >= (1 - tolerance) * total:
        return common, shape
    return "string", shape


def _widest(numbers: list[str]) -> str:
    if len(numbers) == 1:
        return numbers[0]
    return "float64" if any("float" in dtype for dtype in numbers) else "int64"


def _is_plain_number(cast: pa.Array) -> bool:
    """Whether all values are numbers that their text, looked at, would be taken for."""
    if not _is_number(cast.type):
        return False
    ends = pc.min_max(cast)
    return bool(ends["min"].as_py() > -MAX_PLAIN and ends["max"].as_py() < MAX_PLAIN)


def _is_number(arrow_type: Any) -> bool:
    return bool(pa.types.is_integer(arrow_type) or pa.types.is_floating(arrow_type))


def _text_kinds(values: pa.Array, present: int) -> Counter[Kind]:
    found = Counter[Kind]()
    counted = values.value_counts()
    texts, counts = counted.field("values"), counted.field("counts")
    short = pc.less_equal(pc.binary_length(texts), MAX_NUMBER_BYTES)
    texts, counts = texts.filter(short), counts.filter(short)
    for dtype, pattern in (("int64", INTEGER), ("float64", DECIMAL), ("bool", BOOLEAN)):
        matching = pc.match_substring_regex(texts, pattern)
        found[dtype, ()] = pc.sum(counts.filter(matching)).as_py() or 0
    found["string", ()] = present - found.total()
    return +found


def _of_many_shapes(name: str, dtype: str, evidence: Evidence) -> DataError:
    """What to say of lists of which too many are of another length than most."""
    shapes = sorted({shape for _, shape in evidence.kinds if shape})
    instead = "write them as lists of one length, or leave them out of data.features"
    if all(len(shape) == 1 for shape in shapes):
        instead = (
            "join them to one text, or leave them out of data.features"
            if dtype == "string"
            else "declare it in data.features with shape: [LENGTH] and pad"
        )
    return DataError(
        f"feature {name!r} holds lists of {len(shapes)} shapes, from {list(shapes[0])} to "
        f"{list(shapes[-1])}; {instead}."
    )


def _kinds_of(values: pa.Array) -> Counter[Kind]:
    """Dtype and shapes of a batch, which is of one type; of nested lists by that of the longest."""
    element = values.type
    shape: tuple[int, ...] = ()
    present = values.drop_null()
    lengths: Any = None
    if isinstance(element, pa.FixedShapeTensorType):
        element, shape = element.value_type, tuple(element.shape)
    elif is_list(element):
        lengths = pc.list_value_length(present).to_numpy(zero_copy_only=False)
        shape = _list_shape(present[int(lengths.argmax())])
        while is_list(element):
            element = element.value_type
    if pa.types.is_null(element):
        element = pa.float64()  # lists without elements; their shape is what will be refused
    dtype = dtype_of(element)
    name = str(values.type) if dtype is None or (shape and dtype == "timestamp") else dtype
    if lengths is None:
        return Counter({(name, shape): len(present)})
    found, counts = np.unique(lengths, return_counts=True)
    each = zip(found.tolist(), counts.tolist(), strict=True)
    return Counter({(name, (length, *shape[1:])): count for length, count in each})


def _list_shape(value: Any) -> tuple[int, ...]:
    if not is_list(value.type) or not value.is_valid:
        return ()
    inner = _list_shape(value[0]) if len(value) else ()
    return (len(value), *inner)


_DTYPES = frozenset((*get_args(TensorDType), "timestamp"))
