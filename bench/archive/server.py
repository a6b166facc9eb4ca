"""An archive that costs as little as one can: files sent by the kernel, over HTTP/1.1, asked for as GCS is.

``python -m bench.archive.server INDEX PORTFILE LATENCY BYTES_PER_SECOND LINE_BYTES_PER_SECOND``; the index is
``bench/archive/index.py``'s. ``/sent`` tells how many bytes of objects have been sent.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from time import monotonic, sleep
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from bench.archive.index import BUCKET, IndexedObject, read_index

_ROUTE = re.compile(r"/(?P<download>download/)?storage/v1/b/(?P<bucket>[^/]+)(?:/o(?:/(?P<name>.+))?)?")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_MADE_AT = "2012-01-01T00:00:00.000Z"
_MOST_AT_ONCE = 1 << 30  # bytes that the kernel is asked to send, without a limit
_PACED_PIECE = 64 * 1024  # and with one
_MADE_UP = 0.005  # seconds that a sleep may have run late, and be made up for


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(
        self, objects: Mapping[str, IndexedObject], latency: float, bytes_per_second: int, line_bytes_per_second: int
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects = objects
        self.latency = latency
        self.bytes_per_second = bytes_per_second
        self.sent = 0
        self._line_bytes_per_second = line_bytes_per_second
        self._line_free_at = 0.0
        self._lock = Lock()

    @property
    def piece(self) -> int:
        """Bytes that are sent at once."""
        return _PACED_PIECE if self.bytes_per_second or self._line_bytes_per_second else _MOST_AT_ONCE

    def carry(self, sent: int) -> float:
        """Count bytes that were sent; until when the line that all connections share is taken by them."""
        with self._lock:
            self.sent += sent
            if self._line_bytes_per_second:
                begin = max(self._line_free_at, monotonic() - _MADE_UP)
                self._line_free_at = begin + sent / self._line_bytes_per_second
            return self._line_free_at

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is nothing to talk about."""


class _Handler(BaseHTTPRequestHandler):
    """One connection; a limit is the connection's, however many requests it brings."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server
    wbufsize = -1
    _free_at = 0.0  # when the connection may carry the next piece

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""

    def do_GET(self) -> None:
        if self.path == "/sent":
            self._answer(200, {"bytes": self.server.sent})
            return
        sleep(self.server.latency)
        url = urlsplit(self.path)
        route = _ROUTE.fullmatch(url.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if route is None or route["bucket"] != BUCKET:
            self._answer(404, {"error": {"code": 404, "message": "no such thing"}})
        elif route["name"]:
            self._object(unquote(route["name"]), query, bool(route["download"]))
        elif "/o" in url.path:
            self._answer(200, self._listing(query))
        else:
            self._answer(200, {"kind": "storage#bucket", "id": BUCKET, "name": BUCKET})

    def _listing(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Everything that begins with the prefix, on one page; what lies behind a delimiter as a prefix."""
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        items, prefixes = [], set()
        for name in sorted(self.server.objects):
            if not name.startswith(prefix):
                continue
            first, found, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
            if found:
                prefixes.add(f"{prefix}{first}{delimiter}")
            else:
                items.append(self._described(name))
        return {"kind": "storage#objects", "items": items, "prefixes": sorted(prefixes)}

    def _object(self, name: str, query: Mapping[str, str], is_download: bool) -> None:
        item = self.server.objects.get(name)
        if item is None or query.get("generation", item.generation) != item.generation:
            self._answer(404, {"error": {"code": 404, "message": "no such object"}})
        elif is_download or query.get("alt") == "media":
            self._send(item)
        else:
            self._answer(200, self._described(name))

    def _described(self, name: str) -> dict[str, Any]:
        item = self.server.objects[name]
        path = f"storage/v1/b/{BUCKET}/o/{quote(name, safe='')}"
        # gsutil's connections are plain, but it takes a link that says so for none of its own: see plain_gsutil.py.
        scheme = "https" if "gsutil" in self.headers.get("User-Agent", "") else "http"
        address = f"{scheme}://{self.headers['Host']}"
        return {
            "kind": "storage#object",
            "id": f"{BUCKET}/{name}/{item.generation}",
            "bucket": BUCKET,
            "name": name,
            "size": str(item.size),
            "crc32c": item.crc32c,
            **({"md5Hash": item.md5} if item.md5 else {}),
            "generation": item.generation,
            "metageneration": "1",
            "etag": item.generation,
            "contentType": "application/octet-stream",
            "storageClass": "STANDARD",
            "timeCreated": _MADE_AT,
            "updated": _MADE_AT,
            "selfLink": f"{address}/{path}",
            "mediaLink": f"{address}/download/{path}?generation={item.generation}&alt=media",
        }

    def _send(self, item: IndexedObject) -> None:
        match = _RANGE.fullmatch(self.headers.get("Range", ""))
        start = int(match[1]) if match else 0
        stop = min(int(match[2]) + 1, item.size) if match and match[2] else item.size
        if match and start >= item.size:
            self._answer(416, {"error": {"code": 416, "message": "nothing there"}})
            return
        self.send_response(206 if match else 200)
        if match:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{item.size}")
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(stop - start))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", item.generation)
        self.send_header("X-Goog-Generation", item.generation)
        self.send_header("X-Goog-Hash", f"crc32c={item.crc32c}" + (f",md5={item.md5}" if item.md5 else ""))
        self.end_headers()
        self.wfile.flush()
        try:
            self._send_file(item.file, start, stop)
        except OSError:
            self.close_connection = True

    def _send_file(self, path: str, start: int, stop: int) -> None:
        piece = self.server.piece
        file = os.open(path, os.O_RDONLY)
        try:
            while start < stop:
                sent = os.sendfile(self.connection.fileno(), file, start, min(piece, stop - start))
                if not sent:
                    raise ConnectionError("the file has shrunk")
                start += sent
                self._pace(sent)
        finally:
            os.close(file)

    def _pace(self, sent: int) -> None:
        """Wait until connection and line may carry more; what was not used of them is not made up for."""
        free_at = self.server.carry(sent)
        if self.server.bytes_per_second:
            # A sleep that ran late may be made up for, by no more than a few pieces.
            self._free_at = max(self._free_at, monotonic() - _MADE_UP) + sent / self.server.bytes_per_second
            free_at = max(free_at, self._free_at)
        if free_at > (now := monotonic()):
            sleep(free_at - now)

    def _answer(self, status: int, data: Mapping[str, Any]) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main(index: str, portfile: str, latency: str, bytes_per_second: str, line_bytes_per_second: str) -> None:
    """Serve until somebody ends the process."""
    server = _Server(read_index(Path(index)), float(latency), int(bytes_per_second), int(line_bytes_per_second))
    Path(portfile).write_text(str(server.server_address[1]))
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
