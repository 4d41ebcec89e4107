"""A proxy before an S3 server that takes large objects off the wire and passes on empty ones.

    python benchmarks/draining_server.py PORT UPSTREAM_PORT

What is measured beside it pays for sending its bytes, as it would to another machine, and not for
what a server does with them.
"""

import http.client
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DRAINED_FROM_BYTES = 64 << 20  # more than a benchmark's dataset
PIECE_BYTES = 1 << 20
HOP_HEADERS = ("connection", "transfer-encoding", "content-length", "expect")


class Drain(BaseHTTPRequestHandler):
    """Passes requests on, large bodies left out."""

    protocol_version = "HTTP/1.1"
    upstream_port = 0

    def do_any(self) -> None:
        """Answer with what the server says of the request."""
        length = int(self.headers.get("content-length", 0))
        headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP_HEADERS}
        if length < DRAINED_FROM_BYTES:
            body = self.rfile.read(length)
        else:
            self._drain(length)
            body = b""
            headers = {k: v for k, v in headers.items() if "checksum" not in k.lower()}
        upstream = http.client.HTTPConnection("127.0.0.1", self.upstream_port)
        upstream.request(self.command, self.path, body=body, headers=headers)
        answer = upstream.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOP_HEADERS:
                self.send_header(name, value)
        self.send_header("Content-Length", answer.getheader("content-length") or str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        upstream.close()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do_any

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _drain(self, length: int) -> None:
        place = memoryview(bytearray(PIECE_BYTES))
        while length:
            num_read = self.rfile.readinto(place[: min(length, len(place))])
            if not num_read:
                raise ConnectionResetError("the client left")
            length -= num_read


if __name__ == "__main__":
    port, Drain.upstream_port = map(int, sys.argv[1:])
    ThreadingHTTPServer(("127.0.0.1", port), Drain).serve_forever()
