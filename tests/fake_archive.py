"""A scripted archive: Google Cloud Storage's JSON API over HTTP, with faults on order and a log of what was fetched.

It speaks what the official client asks of a bucket that it reads: listing, describing and reading ranges of one
generation of an object (https://cloud.google.com/storage/docs/json_api/v1). It exists for what no real archive does
on demand.
"""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import re
import socket
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c

_ROUTE = re.compile(r"/(?P<download>download/)?storage/v1/b/(?P<bucket>[^/]+)/o(?:/(?P<name>[^/]+))?")
_PIECE = 256 * 1024  # bytes sent at a time


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one answer; nothing, where it has neither a status nor an action.

    Attributes:
        status: answer with this status instead.
        headers: sent along with it.
        after: bytes of the body to send before the rest of the fault.
        action: then ``cut`` (close), ``reset`` (RST), ``stall`` (send nothing more until the client goes away),
            ``drip`` (send a wrong byte now and then), or ``flip`` (go on, with one bit of the next byte wrong).
        body: what is sent with a status.

    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    after: int = 0
    action: str = ""
    body: bytes = b"refused"

    @property
    def kind(self) -> str:
        """What to call it: its status, or what it does to the body."""
        return str(self.status) if self.status else self.action


@dataclass(frozen=True)
class Fetch:
    """One read of an object that the archive answered: which bytes were asked for, and how many were sent."""

    name: str
    start: int
    stop: int
    sent: int


def refusal(status: int, message: str, reason: str = "", **headers: str) -> Fault:
    """A refusal as GCS writes one."""
    errors = [{"message": message, "domain": "global", "reason": reason}]
    body = json.dumps({"error": {"code": status, "message": message, "errors": errors}}).encode()
    return Fault(status=status, headers={"Content-Type": "application/json; charset=UTF-8", **headers}, body=body)


@dataclass
class _Stored:
    content: bytes
    generation: int
    stated_crc32c: str
    encoding: str = ""


class _Gate:
    """Lets some bytes pass, and the others once it is opened."""

    def __init__(self, bytes_let_pass: int) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()
        self._left = bytes_let_pass
        self._lock = threading.Lock()

    def passing(self, piece: memoryview) -> Iterator[memoryview]:
        with self._lock:
            count = min(len(piece), self._left)
            self._left -= count
        if count:
            yield piece[:count]
        if count < len(piece):
            self.wait()
            yield piece[count:]

    def wait(self) -> None:
        self.reached.set()
        self.opened.wait()


class FakeArchive:
    """An archive on a free port of 127.0.0.1. Use it as a context manager; ``url`` is for ``STORAGE_EMULATOR_HOST``."""

    def __init__(self, latency: float = 0.0, bytes_per_second: float = 0.0) -> None:
        """``latency`` seconds pass before every answer; each connection is held to ``bytes_per_second``, 0 for none."""
        self.latency = latency
        self.bytes_per_second = bytes_per_second
        self.listings: list[str] = []
        self.fetches: list[Fetch] = []
        self.requests = 0
        self.most_reads_at_once = 0
        self.reads_now = 0
        self.faults_met: Counter[str] = Counter()
        self.queries: list[dict[str, str]] = []
        self.restore()
        self._generations = itertools.count(1_000_001)
        self._objects: dict[tuple[str, str], _Stored] = {}
        self._faults: dict[str, deque[Fault]] = {}
        self._permanent: dict[str, Fault] = {}
        self._gates: dict[str, _Gate] = {}
        self._before_read: Callable[[str, int], None] = lambda *_: None
        self._lock = threading.Lock()
        self._server = _Server(self)

    def __enter__(self) -> FakeArchive:  # noqa: PYI034 - nobody derives from it
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for gate in self._gates.values():
            gate.opened.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """The archive's address, with its scheme."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def restore(self) -> None:
        """Be again as a good archive is that reads for everybody."""
        self.token = ""  # without which everything is 401; none where it is empty
        self.payers: dict[str, str] = {}  # the projects that pay for buckets
        self.ignores_ranges = False
        # What becomes of a description of an object, listed or not, and of a page of a listing, before they are sent.
        self.change_resource: Callable[[dict[str, Any], bool], dict[str, Any]] = lambda resource, _: resource
        self.change_page: Callable[[dict[str, Any]], dict[str, Any]] = lambda page: page
        # And of the headers of a range.
        self.change_headers: Callable[[dict[str, str]], dict[str, str]] = lambda headers: headers

    # What is in it

    def put(self, bucket: str, name: str, content: bytes, stated_crc32c: str = "", encoding: str = "") -> None:
        """Store an object, as a new generation; ``stated_crc32c`` is a lie about its checksum, ``encoding`` is its
        Content-Encoding.
        """
        stored = _Stored(content, next(self._generations), stated_crc32c or crc32c_of(content), encoding)
        with self._lock:
            self._objects[bucket, name] = stored

    def remove(self, bucket: str, name: str) -> None:
        """Delete an object."""
        with self._lock:
            del self._objects[bucket, name]

    # What goes wrong. ``name`` is an object's last part, or "list" for listings.

    def fail_once(self, name: str, *faults: Fault) -> None:
        """Let the next answers about ``name`` go wrong, one after the other."""
        with self._lock:
            self._faults.setdefault(name, deque()).extend(faults)

    def fail_always(self, name: str, fault: Fault) -> None:
        """Let every answer about ``name`` go wrong, until :meth:`heal`."""
        with self._lock:
            self._permanent[name] = fault

    def heal(self) -> None:
        """Order no more faults."""
        with self._lock:
            self._faults.clear()
            self._permanent.clear()

    def call_before_reads(self, hook: Callable[[str, int], None]) -> None:
        """Call ``hook(name, start)`` before every read is answered."""
        self._before_read = hook

    @contextmanager
    def holding(self, name: str, after: int = 1) -> Iterator[threading.Event]:
        """Hold back the bytes of ``name`` but ``after`` of them; the event given is set once more were asked for."""
        gate = _Gate(after)
        with self._lock:
            self._gates[name] = gate
        try:
            yield gate.reached
        finally:
            with self._lock:
                del self._gates[name]
            gate.opened.set()

    # What happened

    def bytes_sent(self, name: str) -> int:
        """The bytes of the object's content that were sent so far."""
        with self._lock:
            return sum(fetch.sent for fetch in self.fetches if fetch.name == name)

    def forget(self) -> None:
        """Start the log of listings and fetches anew."""
        with self._lock:
            self.listings.clear()
            self.fetches.clear()
            self.queries.clear()

    # What the handler asks

    def _count_reads(self, change: int) -> None:
        with self._lock:
            self.reads_now += change
            self.most_reads_at_once = max(self.most_reads_at_once, self.reads_now)

    def _next_fault(self, name: str) -> Fault | None:
        with self._lock:
            queue = self._faults.get(name)
            fault = queue.popleft() if queue else self._permanent.get(name)
            if fault is not None and not fault.kind:
                return None
            if fault is not None:
                self.faults_met[fault.kind] += 1
            return fault

    def _gate(self, name: str) -> _Gate | None:
        with self._lock:
            return self._gates.get(name)

    def _listed(self, bucket: str, prefix: str, delimiter: str) -> list[dict[str, Any]]:
        with self._lock:
            self.listings.append(f"{bucket}/{prefix}")
            return [
                self.change_resource(_resource(bucket, name, stored), True)
                for (in_bucket, name), stored in sorted(self._objects.items())
                if in_bucket == bucket
                and name.startswith(prefix)
                and not (delimiter and delimiter in name[len(prefix) :])
            ]

    def _stored(self, bucket: str, name: str) -> _Stored | None:
        with self._lock:
            return self._objects.get((bucket, name))

    def _log(self, fetch: Fetch) -> None:
        with self._lock:
            self.fetches.append(fetch)


def crc32c_of(content: bytes) -> str:
    """The crc32c of ``content`` as GCS states it."""
    return base64.b64encode(struct.pack(">I", google_crc32c.value(content))).decode()


def _resource(bucket: str, name: str, stored: _Stored) -> dict[str, Any]:
    return {
        **({"contentEncoding": stored.encoding} if stored.encoding else {}),
        "kind": "storage#object",
        "bucket": bucket,
        "name": name,
        "size": str(len(stored.content)),
        "crc32c": stored.stated_crc32c,
        "generation": str(stored.generation),
        "mediaLink": f"/download/storage/v1/b/{bucket}/o/{name}",
    }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, archive: FakeArchive) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.archive = archive

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is nothing to talk about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    wbufsize = -1

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the tests read the log of fetches instead."""

    def do_GET(self) -> None:
        archive = self.server.archive
        archive.requests += 1
        if archive.latency:
            time.sleep(archive.latency)
        url = urlsplit(self.path)
        route = _ROUTE.fullmatch(url.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        archive.queries.append(query)
        if route is None:
            self._refuse(404)
        elif archive.token and self.headers.get("Authorization") != f"Bearer {archive.token}":
            self._fail(refusal(401, "Invalid Credentials", "authError"))
        elif query.get("userProject") != archive.payers.get(route["bucket"], query.get("userProject")):
            self._fail(
                refusal(400, "Bucket is a requester pays bucket but no user project provided.", "required")
                if "userProject" not in query
                else refusal(403, "Caller does not have required permission to use project.", "forbidden")
            )
        elif route["name"] is None:
            self._list(route["bucket"], query)
        else:
            self._object(route["bucket"], unquote(route["name"]), query, bool(route["download"]))

    def _list(self, bucket: str, query: dict[str, str]) -> None:
        items = self.server.archive._listed(bucket, query.get("prefix", ""), query.get("delimiter", ""))
        gate = self.server.archive._gate("list")
        if gate is not None:
            gate.wait()
        fault = self.server.archive._next_fault("list")
        if fault is not None and fault.status:
            return self._fail(fault)
        token = query.get("pageToken", "0")
        start, size = int(token) if token.isdigit() else 0, int(query.get("maxResults", "1000"))
        page: dict[str, Any] = {"kind": "storage#objects", "items": items[start : start + size]}
        if len(items) > start + size:
            page["nextPageToken"] = str(start + size)
        self._answer_json(self.server.archive.change_page(page))

    def _object(self, bucket: str, name: str, query: dict[str, str], is_download: bool) -> None:
        archive = self.server.archive
        start, stop = self._asked_range()
        if is_download:
            archive._before_read(name.rpartition("/")[2], start)
        stored = archive._stored(bucket, name)
        if stored is None or query.get("generation", str(stored.generation)) != str(stored.generation):
            return self._refuse(404)
        fault = archive._next_fault(name.rpartition("/")[2])
        if fault is not None and fault.status:
            return self._fail(fault)
        if not is_download and query.get("alt") != "media":
            return self._answer_json(archive.change_resource(_resource(bucket, name, stored), False))
        if stored.encoding == "gzip" and "gzip" not in self.headers.get("Accept-Encoding", ""):
            stored = _Stored(gzip.decompress(stored.content), stored.generation, stored.stated_crc32c)
            return self._send_range(name.rpartition("/")[2], stored, 0, len(stored.content), fault, is_whole=True)
        if archive.ignores_ranges:
            return self._send_range(name.rpartition("/")[2], stored, 0, len(stored.content), fault, is_whole=True)
        if start >= len(stored.content) and (start or stop):
            return self._refuse(416)
        self._send_range(
            name.rpartition("/")[2], stored, start, min(stop or len(stored.content), len(stored.content)), fault
        )

    def _asked_range(self) -> tuple[int, int]:
        """The first byte asked for, and the one after the last; 0 for the end."""
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "bytes=0-"))
        assert match is not None, self.headers.get("Range")
        return int(match[1]), int(match[2]) + 1 if match[2] else 0

    def _send_range(
        self, name: str, stored: _Stored, start: int, stop: int, fault: Fault | None, is_whole: bool = False
    ) -> None:
        is_partial = "Range" in self.headers and not is_whole
        self.send_response(206 if is_partial else 200)
        headers = {
            **({"Content-Range": f"bytes {start}-{stop - 1}/{len(stored.content)}"} if is_partial else {}),
            **({"Content-Encoding": stored.encoding} if stored.encoding else {}),
            "Content-Type": "application/octet-stream",
            "Content-Length": str(stop - start),
            "X-Goog-Generation": str(stored.generation),
            "X-Goog-Hash": f"crc32c={stored.stated_crc32c}",
        }
        for key, value in self.server.archive.change_headers(headers).items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.flush()
        sent = 0
        self.server.archive._count_reads(1)
        try:
            gate = self.server.archive._gate(name)
            pieces = self._pieces(memoryview(stored.content)[start:stop], fault)
            for piece in pieces if gate is None else itertools.chain.from_iterable(map(gate.passing, pieces)):
                self.connection.sendall(piece)
                sent += len(piece)
                if self.server.archive.bytes_per_second:
                    time.sleep(len(piece) / self.server.archive.bytes_per_second)
        except OSError:
            self.close_connection = True
        finally:
            self.server.archive._log(Fetch(name, start, stop, sent))
            self.server.archive._count_reads(-1)
        if fault is not None:
            self._end_badly(fault)

    def _pieces(self, content: memoryview, fault: Fault | None) -> Iterator[memoryview]:
        if fault is not None:
            yield content[: fault.after]
            if fault.action != "flip" or fault.after >= len(content):
                return
            yield memoryview(bytes([content[fault.after] ^ 1]))
            content = content[fault.after + 1 :]
        for offset in range(0, len(content), _PIECE):
            yield content[offset : offset + _PIECE]

    def _end_badly(self, fault: Fault) -> None:
        while fault.action == "drip":
            time.sleep(0.05)
            try:
                self.connection.sendall(b"x")
            except OSError:
                break
        if fault.action == "stall":
            self.connection.settimeout(None)
            self.connection.recv(1)
        if fault.action == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        self.close_connection = self.close_connection or fault.action != "flip"

    def _answer_json(self, data: dict[str, Any]) -> None:
        self._answer(200, json.dumps(data).encode(), {"Content-Type": "application/json"})

    def _fail(self, fault: Fault) -> None:
        self._answer(fault.status, fault.body, fault.headers)

    def _refuse(self, status: int, headers: dict[str, str] | None = None) -> None:
        self._answer(status, b"refused", headers or {})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
