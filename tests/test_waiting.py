"""Waiting clients cost little, and never keep others from being served."""

from __future__ import annotations

import re
import socket
import time
from contextlib import ExitStack

import psutil
import pytest
import requests

from tests.builds import Build
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.servers import DevServer, check_success, eventually

pytestmark = pytest.mark.shared_server


def waiters(server: DevServer, build: Build, count: int) -> list[socket.socket]:
    """Connections of clients that have asked for the end of the build."""
    request = f"GET /wait_for_status?archive_url={build.url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    clients = []
    for _ in range(count):
        client = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        client.sendall(request.encode())
        clients.append(client)
    return clients


def threads_of(server: DevServer) -> int:
    return psutil.Process(server.process.pid).num_threads()


def quick(server: DevServer, path: str) -> requests.Response:
    """The answer to a request that must not take long, however many clients wait.

    The best of a few: what counts is that nothing of the server's holds it up, not what else the machine does.
    """
    took = []
    for _ in range(5):
        began = time.monotonic()
        answer = requests.get(server.url + path, timeout=10)
        took.append(time.monotonic() - began)
    assert min(took) < 0.1
    return answer


def answer_of(client: socket.socket) -> bytes:
    with client:
        return b"".join(iter(lambda: client.recv(65536), b""))


def test_hundreds_wait_while_others_are_served(server: DevServer, archive: FakeArchive, build: Build) -> None:
    with archive.holding("autotest.tar.bz2") as reached:
        check_success(server.download(build.url))
        (server.static_dir / "file").write_bytes(b"a file")
        assert reached.wait(10)
        clients = waiters(server, build, 300)
        eventually(lambda: threads_of(server) > 300)
        assert quick(server, "/check_health").status_code == 200
        assert quick(server, "/static/file").content == b"a file"
    for client in clients:
        assert answer_of(client).endswith(b"\r\n\r\nSuccess")


def test_clients_wait_where_the_shell_allows_few_open_files(
    start_server: StartServer, archive: FakeArchive, build: Build
) -> None:
    server = start_server(wrapper=("prlimit", "--nofile=64:2000"))
    with archive.holding("autotest.tar.bz2") as reached:
        check_success(server.download(build.url))
        assert reached.wait(10)
        clients = waiters(server, build, 100)
        eventually(lambda: threads_of(server) > 100)
        assert quick(server, "/check_health").status_code == 200
    for client in clients:
        assert answer_of(client).endswith(b"\r\n\r\nSuccess")
    assert "only 2000 files may be open at once, too few" in server.log


def test_at_the_limit_new_waiters_are_told_to_come_back(
    start_server: StartServer, archive: FakeArchive, build: Build
) -> None:
    server = start_server("--max-threads", "20")
    with archive.holding("autotest.tar.bz2") as reached:
        check_success(server.download(build.url))
        (server.static_dir / "file").write_bytes(b"a file")
        assert reached.wait(10)
        clients = waiters(server, build, 20)
        eventually(lambda: server.get("/check_health").json()["apache_client_count"] > 20)
        for surplus in waiters(server, build, 10):
            answer = answer_of(surplus).decode()
            assert answer.startswith("HTTP/1.1 503 ")
            assert re.search(r"\r\nRetry-After: [1-9]\d*\r\n", answer)
        assert quick(server, "/check_health").status_code == 200
        assert quick(server, "/static/file").content == b"a file"
    for client in clients:
        assert answer_of(client).endswith(b"\r\n\r\nSuccess")
    check_success(server.wait_for_status(build.url))


def test_a_waiter_whose_client_has_gone_is_let_go(
    start_server: StartServer, archive: FakeArchive, build: Build
) -> None:
    server = start_server("--max-threads", "20")
    with archive.holding("autotest.tar.bz2") as reached:
        check_success(server.download(build.url))
        assert reached.wait(10)
        for client in waiters(server, build, 20):
            client.close()
        remaining = eventually(lambda: next(iter(served(server, waiters(server, build, 1))), None))
        assert remaining is not None
    assert answer_of(remaining).endswith(b"\r\n\r\nSuccess")


def served(server: DevServer, clients: list[socket.socket]) -> list[socket.socket]:
    """Those of the clients that are being waited with, and not told to come back."""
    kept = []
    for client in clients:
        client.settimeout(0.5)
        try:
            assert b" 503 " in client.recv(4096, socket.MSG_PEEK)
            client.close()
        except TimeoutError:
            client.settimeout(60)
            kept.append(client)
    return kept


def test_threads_end_when_they_are_not_needed(server: DevServer, archive: FakeArchive, build: Build) -> None:
    before = eventually(lambda: threads_of(server) if server.get("/check_health").ok else 0)
    with archive.holding("autotest.tar.bz2") as reached:
        check_success(server.download(build.url))
        assert reached.wait(10)
        clients = waiters(server, build, 100)
        eventually(lambda: threads_of(server) > 100)
    for client in clients:
        answer_of(client)
    eventually(lambda: threads_of(server) <= before + 10, timeout=40)


def test_clients_that_dawdle_with_their_request_keep_nobody_from_being_served(server: DevServer) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(200)]
        request = b"GET /index HTTP/1.1\r\nHost: x\r\n\r\n"
        for number in range(5):
            for client in clients:
                client.sendall(request[number : number + 1])
            assert quick(server, "/check_health").status_code == 200
            time.sleep(1.0)
        for client in clients:
            client.sendall(request[5:])
        for client in clients:
            assert client.recv(4096).startswith(b"HTTP/1.1 200 ")
