"""What an archive that takes credentials needs around it: where tokens come from, and files that name that."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Callable, Mapping
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Answer = tuple[int, dict[str, str], bytes]


def as_json(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer that is JSON."""
    return status, {"Content-Type": "application/json", **(headers or {})}, json.dumps(data).encode()


class HttpServer:
    """Answers by a function, which may be put in the place of another; can be away, and come back at its address."""

    def __init__(self, answer: Callable[[str], Answer], context: ssl.SSLContext | None = None) -> None:
        """``answer`` is given the path that is asked for; with a ``context``, HTTPS is spoken."""
        self._context = context
        self.answer = answer
        self.asked: list[str] = []
        self._server: ThreadingHTTPServer | None = None
        self._port = 0

    def __enter__(self) -> HttpServer:  # noqa: PYI034 - nobody derives from it
        self.come()
        return self

    def __exit__(self, *_: object) -> None:
        self.go()

    @property
    def host(self) -> str:
        """Its address, without a scheme."""
        return f"127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        """The same, with one."""
        return f"http://{self.host}"

    def come(self) -> None:
        """Listen, at the same address as before."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), self._handler())
        self._port = self._server.server_address[1]
        if self._context is not None:
            self._server.socket = self._context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def go(self) -> None:
        """Refuse connections."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                server.asked.append(self.path)
                status, headers, body = server.answer(self.path)
                self.send_response(status)
                for key, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                self.do_GET()

        return Handler


def tokens(token: str) -> Callable[[str], Answer]:
    """What gives that token to whoever asks."""
    return lambda _: as_json({"access_token": token, "expires_in": 3600, "token_type": "Bearer"})


def invalid_grant(_: str) -> Answer:
    """What says that the key is none any more."""
    return as_json({"error": "invalid_grant", "error_description": "Invalid JWT Signature."}, 400)


@cache
def _key() -> str:
    made = subprocess.run(["openssl", "genrsa", "2048"], capture_output=True, text=True, check=True)
    return made.stdout


def write_service_account(path: Path, token_server: str, **more: str) -> Path:
    """The file of a service account whose tokens come from ``token_server``."""
    data = {
        "type": "service_account",
        "project_id": "lab",
        "private_key_id": "1",
        "private_key": _key(),
        "client_email": "devserver@lab.example",
        "client_id": "1",
        "token_uri": f"{token_server}/token",
        **more,
    }
    path.write_text(json.dumps(data))
    return path


def machine(account: bool, token: str = "") -> Callable[[str], Answer]:
    """The metadata server of a virtual machine, with a service ``account`` or without."""
    google = {"Metadata-Flavor": "Google"}
    flavor = {"Metadata-Flavor": "Google", "Content-Type": "text/plain"}

    def answer(path: str) -> Answer:
        path = path.partition("?")[0]
        if path == "/" or path.endswith("/project-id"):
            return 200, flavor, b"lab"
        if "/service-accounts/" not in path or not account:
            return 404, flavor, b"not found"
        if path.endswith("/token"):
            return as_json({"access_token": token, "expires_in": 3600, "token_type": "Bearer"}, headers=google)
        return as_json({"email": "devserver@lab.example", "scopes": ["s"], "aliases": ["default"]}, headers=google)

    return answer
