"""A request has bounds: in length, in size and in time. What is beyond them has a status of its own."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import requests

from tests.builds import Build
from tests.conftest import StartServer
from tests.servers import DevServer, cause_of
from web.http.request import LARGEST_BODY, LARGEST_HEAD, LONGEST_LINE, MOST_HEADERS

# A server whose clients have a second for each part of their requests.
QUICK = (
    "import sys, web.http.request as request; request.TIME_FOR_HEAD = request.TIME_FOR_BODY = 1.0; "
    "import devserver; sys.exit(devserver.main(sys.argv[3:]))"
)
HOST = b"Host: x\r\n"
COUNTED = 'devserver_requests_total{rpc="refused",status="414"}'


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """A server that nobody stages anything on."""
    server = DevServer(tmp_path_factory.mktemp("bounds"))
    (server.static_dir).mkdir(exist_ok=True)
    (server.static_dir / "file").write_bytes(b"a file")
    yield server
    server.close()


def connection(server: DevServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def answer_to(server: DevServer, request: bytes) -> bytes:
    """All that is answered, until the server closes the connection."""
    with connection(server) as client:
        client.sendall(request)
        return b"".join(iter(lambda: client.recv(65536), b""))


def ask(target: bytes = b"/check_health", headers: bytes = b"", method: bytes = b"GET", body: bytes = b"") -> bytes:
    return method + b" " + target + b" HTTP/1.1\r\n" + HOST + headers + b"Connection: close\r\n\r\n" + body


TOO_LONG = ask(b"/check_health?" + b"x" * LONGEST_LINE)
ROWS = {
    "a long line": (ask(b"/check_health?" + b"x" * (LONGEST_LINE - 300)), 200, ""),
    "too long a line": (TOO_LONG, 414, "UrlTooLong"),
    "far too long a line": (ask(b"/" + b"x" * 5_000_000), 414, "UrlTooLong"),
    "many headers": (ask(headers=b"".join(b"X-%d: 1\r\n" % number for number in range(MOST_HEADERS - 2))), 200, ""),
    "too many headers": (
        ask(headers=b"".join(b"X-%d: 1\r\n" % number for number in range(MOST_HEADERS + 1))),
        431,
        "HeadersTooLarge",
    ),
    "too large a header": (ask(headers=b"X: " + b"x" * LARGEST_HEAD + b"\r\n"), 431, "HeadersTooLarge"),
    "a large body": (
        ask(b"/api/v1/builds", b"Content-Length: %d\r\n" % LARGEST_BODY, b"POST", b" " * LARGEST_BODY),
        400,
        "InvalidParameter",
    ),
    "too large a body": (
        ask(b"/api/v1/builds", b"Content-Length: %d\r\n" % (LARGEST_BODY + 1), b"POST", b" " * (LARGEST_BODY + 1)),
        413,
        "BodyTooLarge",
    ),
    "too large a chunk": (
        ask(b"/api/v1/builds", b"Transfer-Encoding: chunked\r\n", b"POST", b"fffffff\r\nx"),
        413,
        "BodyTooLarge",
    ),
    "too many chunks": (
        ask(b"/api/v1/builds", b"Transfer-Encoding: chunked\r\n", b"POST", b"8000\r\n" + b" " * 0x8000 + b"\r\n")
        + (b"8000\r\n" + b" " * 0x8000 + b"\r\n") * 20,
        413,
        "BodyTooLarge",
    ),
    "bad chunks": (
        ask(b"/api/v1/builds", b"Transfer-Encoding: chunked\r\n", b"POST", b"chunk\r\n"),
        400,
        "BadRequest",
    ),
    "too large a form": (
        ask(
            b"/stage",
            b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 999999999\r\n",
            b"POST",
            b"archive_url=x",
        ),
        413,
        "BodyTooLarge",
    ),
    "a body of no length": (ask(headers=b"Content-Length: many\r\n"), 400, "BadRequest"),
    "a body of less than nothing": (ask(headers=b"Content-Length: -1\r\n"), 400, "BadRequest"),
    "two lengths": (ask(headers=b"Content-Length: 1\r\nContent-Length: 2\r\n", body=b"ab"), 400, "BadRequest"),
    "a length and chunks": (
        ask(headers=b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", body=b"0\r\n\r\n"),
        400,
        "BadRequest",
    ),
    "chunks twice": (ask(headers=b"Transfer-Encoding: chunked, chunked\r\n", body=b"0\r\n\r\n"), 400, "BadRequest"),
    "a space before the colon": (ask(headers=b"Content-Length : 1\r\n", body=b"a"), 400, "BadRequest"),
    "a folded header": (ask(headers=b"X: 1\r\n more\r\n"), 400, "BadRequest"),
    "a header with a zero": (ask(headers=b"X: a\0b\r\n"), 400, "BadRequest"),
    "a header that ends too early": (ask(headers=b"X: a\nY: b\r\n"), 400, "BadRequest"),
    "two hosts": (ask(headers=b"Host: y\r\n"), 400, "BadRequest"),
    "too many parameters": (ask(b"/check_health?" + b"&".join(b"p%d=1" % n for n in range(101))), 400, "InvalidP"),
    "another version": (b"GET / HTTP/9.9\r\n\r\n", 505, "HTTPVersionNotSupported"),
    "no request": (b"\x16\x03\x01\x02\x00\x01\x00\r\n", 400, "BadRequest"),
}


@pytest.mark.parametrize("row", ROWS)
def test_what_is_beyond_a_bound_has_its_status(plain: DevServer, row: str) -> None:
    request, status, kind = ROWS[row]
    answer = answer_to(plain, request)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer
    if status >= 400:
        assert kind.encode() in body


def test_a_program_is_told_so_in_json(plain: DevServer) -> None:
    answer = answer_to(plain, ask(headers=b"Accept: application/json\r\nContent-Length: -1\r\n"))
    assert b"\r\nContent-Type: application/problem+json\r\n" in answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == 400


def test_no_more_names_than_anybody_needs(plain: DevServer) -> None:
    for name in ("artifacts", "files"):
        answer = plain.get("/stage", archive_url="gs://a/b/c", **{name: ",".join(["stateful"] * 501)})
        assert answer.status_code == 400
        assert cause_of(answer).startswith(f"InvalidParameter: {name}: more than 500")
        wish = json.dumps({"archive_url": "gs://a/b/c", name: ["stateful"] * 501})
        assert requests.post(f"{plain.url}/api/v1/builds", data=wish, timeout=10).status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 33\r\n\r\nGET /static/secret HTTP/1.1\r\n\r\n  ",
        b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\nGET /static/secret HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_a_body_that_nobody_reads_is_no_request(plain: DevServer, body: bytes) -> None:
    answer = answer_to(plain, b"GET /static/file HTTP/1.1\r\nHost: x\r\n" + body)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"\r\nConnection: close\r\n" in answer
    assert answer.endswith(b"a file")


def test_underscores_pass_for_no_dashes(plain: DevServer) -> None:
    answer = answer_to(plain, ask(b"/static/file", b"If_None_Match: *\r\nRange: bytes=0-0\r\n"))
    assert answer.startswith(b"HTTP/1.1 206 ")


def test_the_server_says_no_more_of_itself_than_its_name(plain: DevServer) -> None:
    for path in ("/static/file", "/check_health", "/nothing"):
        assert requests.get(plain.url + path, timeout=10).headers["Server"] == "devserver"


@pytest.mark.parametrize(
    ("begin", "rest"),
    [
        (b"", b"GET /check_health HTTP/1.1\r\nX-" + b"x" * 2000),
        (b"GET /check_health HTTP/1.1\r\nX: ", b"x" * 2000),
        (b"POST /api/v1/builds HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n", b" " * 2000),
        (b"POST /api/v1/builds HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n", b" " * 2000),
    ],
)
def test_who_dribbles_is_cut_off(start_server: StartServer, begin: bytes, rest: bytes) -> None:
    server = start_server(wrapper=(sys.executable, "-c", QUICK))
    with connection(server) as client:
        client.sendall(begin)
        began = time.monotonic()
        client.settimeout(0.05)
        answer = b""
        for byte in rest:
            client.sendall(bytes([byte]))
            try:
                answer = client.recv(4096)
            except TimeoutError:
                continue
            break
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - began < 10


def test_a_keeper_of_connections_is_told_nothing_while_he_is_quiet(plain: DevServer) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(connection(plain)) for _ in range(50)]
        assert requests.get(f"{plain.url}/check_health", timeout=10).ok
        for client in clients:
            client.sendall(ask())
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_an_honest_build_is_staged_within_the_bounds(start_server: StartServer, build: Build) -> None:
    server = start_server(wrapper=(sys.executable, "-c", QUICK))
    server.stage(build.url)
    build.check_staged(server.static_dir)


def test_what_no_application_answered_is_counted(plain: DevServer) -> None:
    def count() -> float:
        page = plain.get("/metrics").text
        return float(dict(line.rsplit(" ", 1) for line in page.splitlines()).get(COUNTED, 0))

    before = count()
    assert answer_to(plain, TOO_LONG).startswith(b"HTTP/1.1 414")
    assert count() == before + 1
