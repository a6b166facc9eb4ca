"""The reserve: /check_health is answered, whatever other clients begin and do not end."""

from __future__ import annotations

import socket
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest
import requests

from tests.conftest import StartServer
from tests.servers import DevServer, cause_of, eventually
from tests.test_tls import make_certificate
from web.http.unfinished import Unfinished

CLIENTS = 400
MOST_THREADS = 150  # of a server that none of them holds a thread of; there are some sixty in any case
MOST_SECONDS = 3.0  # that /check_health takes, beside all the other tests
# A server with few threads, which a few clients keep busy.
FEW_THREADS = (
    "import sys, web.http.server as server; server._THREADS_OF_OTHERS = 20; server._RESERVE = 4; "
    "import devserver; sys.exit(devserver.main(sys.argv[3:]))"
)
BEGINNINGS = {
    "nothing": b"",
    "a part of a line": b"GET /check_hea",
    "an empty line": b"\r\n",
    "a part of a head": b"GET /check_health HTTP/1.1\r\nHost: x\r\nX-",
}
BODY = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 99\r\n\r\na="


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Closes connections with the test."""
    with ExitStack() as stack:
        yield stack


def connected(stack: ExitStack, server: DevServer, begins: bytes) -> list[socket.socket]:
    """Clients that say so much, and no more."""
    clients = []
    for _ in range(CLIENTS):
        client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=20))
        client.sendall(begins)
        clients.append(client)
    return clients


def check_answers(server: DevServer, times: int = 20) -> None:
    for _ in range(times):
        began = time.monotonic()
        assert server.get("/check_health").status_code == 200
        assert time.monotonic() - began < MOST_SECONDS


def check_holds_no_threads(server: DevServer) -> None:
    process = psutil.Process(server.process.pid)
    eventually(lambda: process.num_threads() < MOST_THREADS, timeout=4)  # long before the clients are given up


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_a_client_that_says_too_little_holds_no_thread(
    start_server: StartServer, stack: ExitStack, beginning: str
) -> None:
    server = start_server()
    assert server.get("/check_health").status_code == 200
    clients = connected(stack, server, BEGINNINGS[beginning])
    check_holds_no_threads(server)
    check_answers(server)
    for client in clients[: 20 if beginning.startswith("a part") else 0]:  # which goes on, byte by byte
        client.sendall(b"a")
    check_holds_no_threads(server)


def test_a_client_that_shakes_no_hands_holds_no_thread(
    start_server: StartServer, tmp_path: Path, stack: ExitStack
) -> None:
    chain, key = make_certificate(tmp_path)
    server = start_server("--tls-cert", str(chain), "--tls-key", str(key))
    context, sent = ssl.create_default_context(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname="localhost").do_handshake()
    hello = sent.read()
    for begins in (b"", hello[:20], hello):
        connected(stack, server, begins)
        check_holds_no_threads(server)
    began = time.monotonic()
    assert requests.get(f"{server.url}/check_health", verify=str(chain), timeout=20).status_code == 200
    assert time.monotonic() - began < MOST_SECONDS


@pytest.mark.parametrize("rpc", [b"/stage", b"/check_health"])
def test_bodies_that_never_end_do_not_take_the_reserve(start_server: StartServer, stack: ExitStack, rpc: bytes) -> None:
    server = start_server("--max-threads", "1", wrapper=[sys.executable, "-c", FEW_THREADS])
    assert server.get("/check_health").status_code == 200
    connected(stack, server, BODY % rpc)
    eventually(lambda: server.get("/index").status_code == 503)
    check_answers(server)
    assert "all of the devserver's threads are at work" in cause_of(server.get("/index"))


def test_a_head_in_pieces_is_a_request_as_any(start_server: StartServer) -> None:
    server = start_server()
    request = b"\r\nGET /check_health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        for position in range(len(request)):
            client.sendall(request[position : position + 1])
            time.sleep(0.005)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(2 * request.replace(b"Connection: close\r\n", b"")[2:] + b"GET /index HTTP/1.1\r\nHo")
        client.sendall(b"st: x\r\nConnection: close\r\n\r\n")
        answers = b"".join(iter(lambda: client.recv(65536), b""))
    assert answers.count(b"HTTP/1.1 200 ") == 3


def test_the_oldest_of_too_many_that_say_nothing_is_dropped() -> None:
    class Connection:
        def __init__(self) -> None:
            self.socket, self.client = socket.socketpair()

    one, other, third = connections = [Connection() for _ in range(3)]
    unfinished = Unfinished(most=2)
    for connection in (one, other, one):
        unfinished.add(connection)
    unfinished.add(third)
    assert one.client.recv(1) == b""
    assert len(unfinished) == 2
    unfinished.remove(other)
    unfinished.remove(other)
    assert len(unfinished) == 1
    for connection in connections:
        connection.socket.close()
        connection.client.close()
