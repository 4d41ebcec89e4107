"""The HTTP side of one model: paths, methods, bodies, deadlines and statuses, as plain ASGI.

Plain, because a request must not cost more than its rows: one dictionary look-up for the route, one
JSON parse, one ticket in the batcher. Knows neither Ray nor TensorFlow.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from shardline.artifacts.manifest import ModelManifest
from shardline.data.schema import Column
from shardline.serving.batcher import Batcher
from shardline.serving.documents import metadata_document, status_document
from shardline.serving.refusals import (
    BodyTooLargeError,
    NotReadyError,
    Refusal,
    SlowBodyError,
    UnknownPathError,
    WrongMethodError,
)
from shardline.serving.wire import encode_error, encode_predictions, parse_predict

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_MODEL_PATH = re.compile(
    r"^/v1/models/(?P<model>[^/:]+)(?:/versions/(?P<version>[^/:]+))?(?::predict|/metadata)?$"
)
# The longest decimal form of a double is 24 characters; the rest is comma, brackets and spaces.
_NUMBER_BYTES = 40
_STRING_BYTES = 64 << 10
# In base64; a photograph of twelve million pixels has about six.
_IMAGE_BYTES = 8 << 20
_FRAME_BYTES = 64 << 10

logger = logging.getLogger(__name__)


class _ClientGoneError(Exception):
    """Nobody is left to answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a request may ask for."""

    max_rows: int
    """Most rows of one request."""
    timeout_s: float
    """From the first byte of the request to its answer, queueing included."""
    max_body_bytes: int


def largest_body_bytes(inputs: Sequence[Column], *, max_rows: int) -> int:
    """An upper bound of any valid JSON body, from the schema alone.

    A string gets 64 KiB, an encoded image 8 MiB.
    """
    row_bytes = sum(_value_bytes(column) + 2 * len(column.name) for column in inputs)
    return _FRAME_BYTES + max_rows * row_bytes


def _value_bytes(column: Column) -> int:
    each = _STRING_BYTES if column.dtype == "string" else _NUMBER_BYTES
    return max(prod(column.shape) * each, _IMAGE_BYTES if column.encoded else 0)


class ModelApp:
    """An ASGI application that serves one loaded model version.

    Args:
        manifest: The version's contract.
        batcher: Leads to the model.
        limits: What a request may ask for.
    """

    def __init__(self, manifest: ModelManifest, batcher: Batcher, limits: Limits) -> None:
        self._manifest = manifest
        self._batcher = batcher
        self._limits = limits
        self._documents, self._predict_paths = _routes(manifest)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; nothing but a lost client goes unanswered."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] != "http":
            return  # a websocket that nobody accepts is closed by the server
        try:
            body = await self._answer(scope, receive)
            await _respond(send, 200, body)
        except Refusal as refusal:
            if refusal.status >= 500:
                logger.warning("%s %s: %s", refusal.status, scope["path"], refusal.message)
            await _respond(send, refusal.status, encode_error(refusal.message), refusal.headers)
        except _ClientGoneError:
            return
        except Exception:  # boundary: a fault of ours must reach the log and the client
            logger.exception("unexpected error on %s", scope["path"])
            await _respond(send, 500, encode_error("internal error; the endpoint's log has more."))

    async def _answer(self, scope: Scope, receive: Receive) -> bytes:
        path, method = scope["path"], scope["method"]
        if path in self._predict_paths:
            _check_method(method, path, allowed=("POST",))
            return await self._predict(scope, receive)
        if path not in self._documents:
            raise self._unknown(path)
        _check_method(method, path, allowed=("GET", "HEAD"))
        if path == "/readyz" and self._batcher.is_closed:
            raise NotReadyError("this replica is shutting down.")
        return self._documents[path]

    async def _predict(self, scope: Scope, receive: Receive) -> bytes:
        deadline_s = asyncio.get_running_loop().time() + self._limits.timeout_s
        body = await _read_body(scope, receive, self._limits, deadline_s=deadline_s)
        inputs, max_rows = self._manifest.inputs, self._limits.max_rows
        if any(column.encoded for column in inputs):  # decoding must not hold up other requests
            request = await asyncio.to_thread(parse_predict, body, inputs, max_rows=max_rows)
        else:
            request = parse_predict(body, inputs, max_rows=max_rows)
        answers = await self._batcher.submit(
            request.columns, num_rows=request.num_rows, deadline_s=deadline_s
        )
        return encode_predictions(answers, self._manifest.outputs, form=request.form)

    def _unknown(self, path: str) -> UnknownPathError:
        found = _MODEL_PATH.match(path)
        here = f"model {self._manifest.name!r}, version {self._manifest.version}"
        if found is None:
            return UnknownPathError(
                f"no path {path!r}; try /v1/models/{self._manifest.name}:predict."
            )
        if found["model"] != self._manifest.name:
            return UnknownPathError(f"no model {found['model']!r} here; this endpoint has {here}.")
        return UnknownPathError(f"no version {found['version']!r} here; this endpoint has {here}.")

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self._batcher.close()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return


def _routes(manifest: ModelManifest) -> tuple[dict[str, bytes], frozenset[str]]:
    model = f"/v1/models/{manifest.name}"
    bases = (model, f"{model}/versions/{manifest.version}")
    documents = {"/healthz": b'{"status":"live"}', "/readyz": b'{"status":"ready"}'}
    documents |= dict.fromkeys(bases, status_document(manifest))
    documents |= dict.fromkeys((f"{base}/metadata" for base in bases), metadata_document(manifest))
    return documents, frozenset(f"{base}:predict" for base in bases)


def _check_method(method: str, path: str, *, allowed: tuple[str, ...]) -> None:
    if method not in allowed:
        raise WrongMethodError(f"{path} takes {' or '.join(allowed)}, not {method}.")


async def _read_body(scope: Scope, receive: Receive, limits: Limits, *, deadline_s: float) -> bytes:
    announced = next((v for k, v in scope["headers"] if k == b"content-length"), b"0")
    if int(announced) > limits.max_body_bytes:
        raise _too_large(int(announced), limits)
    parts = []
    num_bytes = 0
    try:
        async with asyncio.timeout_at(deadline_s):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _ClientGoneError
                parts.append(message.get("body", b""))
                num_bytes += len(parts[-1])
                if num_bytes > limits.max_body_bytes:
                    raise _too_large(num_bytes, limits)
                if not message.get("more_body", False):
                    return parts[0] if len(parts) == 1 else b"".join(parts)
    except TimeoutError:
        raise SlowBodyError(
            f"only {num_bytes} bytes of the body arrived within {limits.timeout_s * 1000:.0f} ms, "
            "the request's deadline; send it faster or raise serve.timeout_ms."
        ) from None


def _too_large(num_bytes: int, limits: Limits) -> BodyTooLargeError:
    return BodyTooLargeError(
        f"the body has at least {num_bytes} bytes; {limits.max_rows} rows of this model need at "
        f"most {limits.max_body_bytes}."
    )


async def _respond(
    send: Send, status: int, body: bytes, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                *headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})
