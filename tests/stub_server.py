"""What may stand where a devserver is expected: a server that answers as a test says, and knows what it was asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """What is answered."""

    status: int
    body: str = ""
    headers: Mapping[str, str] = {}


class Stub(ThreadingHTTPServer):
    """A server whose requests, of every method, are answered by ``script``, a function of its method and path."""

    daemon_threads = True

    def __init__(self, script: Callable[[str, str], Answer]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = script
        self.asked: list[str] = []  # "GET /path" of every request
        self.headers: list[Mapping[str, str]] = []  # of every request

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Stub

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append(f"{self.command} {self.path}")
        self.server.headers.append(dict(self.headers))
        answer = self.server.script(self.command, self.path)
        body = answer.body.encode()
        self.send_response(answer.status)
        for name, value in {"Content-Type": "text/html", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.command != "HEAD" else b"")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def stub(script: Callable[[str, str], Answer] | Answer) -> Iterator[Stub]:
    """A stub that runs; one answer is that to everything."""
    server = Stub((lambda _method, _path: script) if isinstance(script, Answer) else script)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
