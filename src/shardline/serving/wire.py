"""TensorFlow Serving's REST bodies: JSON to checked arrays, and arrays back to JSON.

Every value is checked against the model's schema before it can reach a batch, level by level and
without a Python loop over elements, so a refused request costs nobody else anything.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np
import orjson

from shardline.data.schema import Column
from shardline.serving.refusals import MalformedRequestError
from shardline.serving.treated import client_columns, input_array, may_lack
from shardline.serving.values import json_kind, takes_bytes

Form = Literal["instances", "inputs"]
Columns = dict[str, "np.ndarray[Any, Any]"]

SIGNATURE = "serving_default"
TOP_LEVEL_KEYS = ("signature_name", "instances", "inputs")


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """A request that fits the model's schema."""

    columns: Columns
    """One array per input column, `(rows, *shape)`; a scalar column is `(rows, 1)`."""
    num_rows: int
    form: Form
    """Which of the two formats the client used; it is answered in the same one."""


def parse_predict(body: bytes, inputs: Sequence[Column], *, max_rows: int) -> PredictRequest:
    """Read a `:predict` body.

    Args:
        body: JSON with `instances` (a list of rows) or `inputs` (a list per column).
        inputs: The model's input columns.
        max_rows: Most rows of one request.

    Raises:
        MalformedRequestError: The body does not fit; the message says what was received.
    """
    document = _document(body)
    form = _form_of(document)
    by_name = _rows_by_name if form == "instances" else _columns_by_name
    values = by_name(document[form], client_columns(inputs))
    num_rows = _count_rows(values, max_rows=max_rows)
    nothing = [None] * num_rows
    columns = {
        column.name: input_array(values.get(column.indicates or column.name, nothing), column)
        for column in inputs
    }
    return PredictRequest(columns, num_rows, form)


def encode_predictions(
    answers: Mapping[str, "np.ndarray[Any, Any]"], outputs: Sequence[Column], *, form: Form
) -> bytes:
    """The answer to a request of this form.

    Args:
        answers: One array per output column, `(rows, *shape)`, `(rows, 1)` for a scalar.
        outputs: The model's output columns.
        form: `instances` gives `{"predictions": [row, ...]}`, `inputs` gives
            `{"outputs": ...}`; a single output is given without its name.
    """
    values = {column.name: _encodable(answers[column.name], column) for column in outputs}
    single = next(iter(values.values())) if len(values) == 1 else None
    answer: dict[str, Any]
    if form == "inputs":
        answer = {"outputs": values if single is None else single}
    elif single is not None:
        answer = {"predictions": single}
    else:
        rows = zip(*(list(array) for array in values.values()), strict=True)
        answer = {"predictions": [dict(zip(values, row, strict=True)) for row in rows]}
    if all(_is_finite(array) for array in answers.values()):
        return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    # orjson would write null; TensorFlow Serving and json.loads agree on the token NaN.
    return json.dumps(answer, default=lambda value: value.tolist()).encode()


def encode_error(message: str) -> bytes:
    """An error in TensorFlow Serving's form."""
    return orjson.dumps({"error": message})


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        document = _with_non_finite_tokens(body, error)
    if not isinstance(document, dict):
        raise MalformedRequestError(
            f"the body is {json_kind(document)}; send a JSON object with 'instances' or 'inputs'."
        )
    return document


def _with_non_finite_tokens(body: bytes, error: orjson.JSONDecodeError) -> Any:
    # NaN and Infinity are no JSON, but TensorFlow Serving and Python's json speak them.
    if b"NaN" in body or b"Infinity" in body:
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            pass
    raise MalformedRequestError(
        f"the body is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}."
    ) from error


def _form_of(document: dict[str, Any]) -> Form:
    unknown = [key for key in document if key not in TOP_LEVEL_KEYS]
    if unknown:
        raise MalformedRequestError(
            f"unknown key {unknown[0]!r} in the body{_nearest(unknown[0], TOP_LEVEL_KEYS)}; "
            f"it takes 'instances' or 'inputs', and 'signature_name'."
        )
    signature = document.get("signature_name", SIGNATURE)
    if signature not in (SIGNATURE, ""):
        raise MalformedRequestError(
            f"signature_name is {signature!r}; this model has only {SIGNATURE!r}."
        )
    if "instances" in document and "inputs" in document:
        raise MalformedRequestError("the body has both 'instances' and 'inputs'; send one.")
    if "instances" in document:
        return "instances"
    if "inputs" in document:
        return "inputs"
    raise MalformedRequestError("the body has neither 'instances' nor 'inputs'; send one.")


def _rows_by_name(rows: Any, inputs: Sequence[Column]) -> dict[str, list[Any]]:
    """Row format: a list of values, or of objects with one value per column."""
    if not isinstance(rows, list):
        raise MalformedRequestError(
            f"'instances' is {json_kind(rows)}; send a list with one element per row."
        )
    if len(inputs) == 1 and not _named(rows, inputs[0]):
        return {inputs[0].name: rows}
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            raise MalformedRequestError(
                f"row {index} of 'instances' is {json_kind(row)}; "
                f"send an object with the keys {_names(inputs)}."
            )
        _check_names(row, inputs, place=f"row {index} of 'instances'")
    return {column.name: [row.get(column.name) for row in rows] for column in inputs}


def _columns_by_name(columns: Any, inputs: Sequence[Column]) -> dict[str, list[Any]]:
    """Column format: an object with a list of rows per column, or the only column's list."""
    named: dict[str, Any]
    if isinstance(columns, dict):
        _check_names(columns, inputs, place="'inputs'")
        named = columns
    elif len(inputs) == 1:
        named = {inputs[0].name: columns}
    else:
        raise MalformedRequestError(
            f"'inputs' is {json_kind(columns)}; send an object with the keys {_names(inputs)}."
        )
    for name, values in named.items():
        if not isinstance(values, list):
            raise MalformedRequestError(
                f"column {name!r} in 'inputs' is {json_kind(values)}; "
                "send a list with one element per row."
            )
    return named


def _named(rows: list[Any], column: Column) -> bool:
    """Whether the rows of a single-input model are objects with its name."""
    first = rows[0] if rows else None
    return isinstance(first, dict) and not (takes_bytes(column) and list(first) == ["b64"])


def _check_names(given: dict[str, Any], inputs: Sequence[Column], *, place: str) -> None:
    expected = {column.name for column in inputs}
    if given.keys() == expected:
        return
    for name in given:
        if name not in expected:
            raise MalformedRequestError(
                f"{place} has the unknown column {name!r}{_nearest(name, sorted(expected))}; "
                f"the model takes {_names(inputs)}."
            )
    for column in inputs:
        if column.name not in given and not may_lack(column):
            raise MalformedRequestError(
                f"{place} lacks the column {column.name!r}; the model takes {_names(inputs)}."
            )


def _count_rows(values: dict[str, list[Any]], *, max_rows: int) -> int:
    counts = {name: len(rows) for name, rows in values.items()} or {"": 0}
    fewest, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    if counts[fewest] != counts[most]:
        raise MalformedRequestError(
            f"column {fewest!r} has {counts[fewest]} rows and column {most!r} has "
            f"{counts[most]}; every column needs the same number."
        )
    num_rows = counts[most]
    if num_rows == 0:
        raise MalformedRequestError("the request has no rows; send at least one.")
    if num_rows > max_rows:
        raise MalformedRequestError(
            f"the request has {num_rows} rows; this endpoint takes at most {max_rows} at a time."
        )
    return num_rows


def _encodable(array: "np.ndarray[Any, Any]", column: Column) -> Any:
    array = array.reshape(len(array), *column.shape)
    if array.dtype.kind == "O":
        return _text(array.tolist())
    return np.ascontiguousarray(array)  # orjson takes no strided arrays


def _text(value: Any) -> Any:
    if isinstance(value, list):
        return [_text(element) for element in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(value).decode()}
    return value


def _is_finite(array: "np.ndarray[Any, Any]") -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def _names(inputs: Sequence[Column]) -> str:
    return ", ".join(repr(column.name) for column in inputs)


def _nearest(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""
