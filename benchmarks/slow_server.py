"""A proxy before an S3 server that answers every request some time later.

    python benchmarks/slow_server.py PORT UPSTREAM_PORT LATENCY_S

Answers to reads are remembered until something is written, so that what is measured beside it
shares its processors with a process that only sends, and not with the server behind it.
"""

import http.client
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOP_HEADERS = ("connection", "transfer-encoding", "content-length", "expect")

Answer = tuple[int, list[tuple[str, str]], bytes]


class Slow(BaseHTTPRequestHandler):
    """Waits, and passes requests on."""

    protocol_version = "HTTP/1.1"
    # Headers and body leave in one packet each; waiting for acknowledgements would add 40 ms.
    disable_nagle_algorithm = True
    upstream_port = 0
    latency_s = 0.0
    remembered: dict[tuple[str, str, str | None], Answer] = {}  # noqa: RUF012  # of the server

    def do_any(self) -> None:
        """Answer, no earlier than the latency allows."""
        began_s = time.monotonic()
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.command in ("GET", "HEAD"):
            key = self.command, self.path, self.headers.get("range")
            answer = self.remembered.get(key) or self._passed_on(body)
            if answer[0] < 400:
                self.remembered[key] = answer
        else:
            self.remembered.clear()
            answer = self._passed_on(body)
        time.sleep(max(0.0, began_s + self.latency_s - time.monotonic()))
        self._send(answer)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do_any

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _passed_on(self, body: bytes) -> Answer:
        headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP_HEADERS}
        upstream = http.client.HTTPConnection("127.0.0.1", self.upstream_port)
        try:
            upstream.request(self.command, self.path, body=body, headers=headers)
            answer = upstream.getresponse()
            content = answer.read()
        finally:
            upstream.close()
        length = answer.getheader("content-length") or str(len(content))
        kept = [(k, v) for k, v in answer.getheaders() if k.lower() not in HOP_HEADERS]
        return answer.status, [*kept, ("Content-Length", length)], content

    def _send(self, answer: Answer) -> None:
        status, headers, content = answer
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


if __name__ == "__main__":
    port, Slow.upstream_port = map(int, sys.argv[1:3])
    Slow.latency_s = float(sys.argv[3])
    ThreadingHTTPServer(("127.0.0.1", port), Slow).serve_forever()
