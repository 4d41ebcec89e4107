"""A proxy in front of an S3 server that misbehaves on purpose, request by request."""

import http.client
import itertools
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

Kind = Literal[
    "error",  # an answer of 500 or 503, or 409 or 412; the request is not passed on
    "mistaken",  # the same answer, but the request is passed on and takes effect
    "reset",  # the connection breaks before the request is passed on
    "lost",  # the request is passed on and takes effect, the connection breaks before the answer
    "truncated",  # half of the answer's body, then the connection breaks
    "halted",  # half of the answer's body, then nothing until the proxy ends
    "stalled",  # the request is not passed on and no answer comes until the proxy ends
]


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request."""

    kind: Kind
    status: int = 503


@dataclass(frozen=True)
class Request:
    """A request as the proxy sees it; `number` counts from 1."""

    number: int
    method: str
    path: str


Plan = Callable[[Request], Fault | None]


def calm(_: Request) -> None:
    """The plan of a proxy that only passes on."""


def dies_after(count: int, *, answering_last: bool = True) -> Plan:
    """Serves that many requests, and then none; the last one perhaps without an answer."""

    def plan(request: Request) -> Fault | None:
        if request.number > count:
            return Fault("reset")
        if request.number == count and not answering_last:
            return Fault("lost")
        return None

    return plan


def first_times(fault: Fault, times: int, *, method: str) -> Plan:
    """The fault hits the first requests of a method, then all is well."""
    hits = itertools.count()

    def plan(request: Request) -> Fault | None:
        return fault if request.method == method and next(hits) < times else None

    return plan


class FaultProxy:
    """The proxy; `requests` are those that came, faulty ones included, `fired` what went wrong.

    Args:
        upstream: Endpoint of the real server.
    """

    def __init__(self, upstream: str) -> None:
        self.plan: Plan = calm
        self.requests: list[Request] = []
        self.fired: list[tuple[Request, Fault]] = []
        self._upstream = urlsplit(upstream).netloc
        self._lock = threading.Lock()
        self._released = threading.Event()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_any(self):
                proxy._serve(self)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_any

            def log_message(self, *_):
                """Faults are no news."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self):
        """Serve inside the block."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._released.set()
            self._server.shutdown()
            self._server.server_close()

    def follow(self, plan: Plan) -> None:
        """Behave like this from now on, counting requests anew."""
        with self._lock:
            self.plan, self.requests, self.fired = plan, [], []

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        with self._lock:
            request = Request(len(self.requests) + 1, handler.command, handler.path)
            self.requests.append(request)
            fault = self.plan(request)
            if fault:
                self.fired.append((request, fault))
        kind = fault.kind if fault else None
        if kind == "stalled":
            self._released.wait()
        if kind in ("reset", "stalled"):
            _reset(handler)
        elif fault and kind == "error":
            _answer(handler, fault.status, {}, b"")
        else:
            status, headers, answer = self._passed_on(handler, body)
            if kind == "lost":
                _reset(handler)
                return
            if fault and kind == "mistaken":
                _answer(handler, fault.status, {}, b"")
                return
            if kind in ("truncated", "halted"):
                headers["Content-Length"], answer = str(len(answer)), answer[: len(answer) // 2]
            _answer(handler, status, headers, answer)
            if kind in ("truncated", "halted"):
                handler.wfile.flush()
                if kind == "halted":
                    self._released.wait()
                _reset(handler, abruptly=False)

    def _passed_on(self, handler, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self._upstream, timeout=60)
        try:
            headers = {name: value for name, value in handler.headers.items() if name != "Expect"}
            connection.request(handler.command, handler.path, body, headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()


def _answer(handler, status: int, headers: dict[str, str], body: bytes) -> None:
    kept = {n: v for n, v in headers.items() if n not in ("Connection", "Transfer-Encoding")}
    handler.send_response_only(status)
    for name, value in ({"Content-Length": str(len(body))} | kept).items():
        handler.send_header(name, value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


def _reset(handler, *, abruptly: bool = True) -> None:
    """Break the connection; abruptly, the client reads a reset instead of an end."""
    handler.close_connection = True
    if abruptly:
        linger = struct.pack("ii", 1, 0)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.connection.close()
