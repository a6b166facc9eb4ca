"""Where the machine runs out of something, what can wait waits, and whatever watches goes on watching."""

from __future__ import annotations

import errno
import socket
import sys
import time
from contextlib import ExitStack

import psutil
import pytest
import requests

from staging.errors import InternalFailure, OutOfResources, as_devserver_error
from tests.builds import Build
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.servers import DevServer, eventually
from tests.test_tls import QUICK

FEW_FILES = ("prlimit", "--nofile=128:128", sys.executable, "-c", QUICK)


def connected(server: DevServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def at_work(server: DevServer) -> socket.socket:
    """A connection that a thread is at work on: its request's body is not here yet."""
    client = connected(server)
    client.sendall(b"POST /api/v1/builds HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n")
    return client


def seconds_used(server: DevServer) -> float:
    times = psutil.Process(server.process.pid).cpu_times()
    return times.user + times.system


def test_more_connections_than_files_cost_nothing_and_pass(start_server: StartServer) -> None:
    server = start_server(wrapper=FEW_FILES)
    assert server.get("/check_health").status_code == 200
    with ExitStack() as stack:
        for _ in range(168):
            stack.enter_context(at_work(server))
        eventually(lambda: "new clients wait" in server.log)
        used, began = seconds_used(server), time.monotonic()
        answer = server.get("/check_health")  # when the first of them have been silent for too long
        assert answer.status_code == 200
        seconds = time.monotonic() - began
        assert seconds_used(server) - used < 0.5 * seconds + 0.3
    assert server.log.count("new clients wait") == 1
    assert "files may be open at once, too few" in server.log
    assert "Traceback" not in server.log
    eventually(lambda: server.get("/check_health").json()["figures_age_seconds"] < 2.5)


def test_a_build_is_staged_beside_more_connections_than_there_are_files_for(
    start_server: StartServer, archive: FakeArchive, build: Build
) -> None:
    server = start_server("--max-threads", "20", wrapper=FEW_FILES)
    with requests.Session() as session, ExitStack() as stack:
        session.get(f"{server.url}/check_health", timeout=20)
        for _ in range(168):
            stack.enter_context(at_work(server))
        eventually(lambda: "new clients wait" in server.log)
        server.stage(build.url)
    build.check_staged(server.static_dir)


def test_figures_that_cannot_be_renewed_are_told_as_old(start_server: StartServer) -> None:
    server = start_server()
    with requests.Session() as session:

        def age() -> float:
            return float(session.get(f"{server.url}/check_health", timeout=20).json()["figures_age_seconds"])

        assert age() < 2.5
        process = psutil.Process(server.process.pid)
        before = process.rlimit(psutil.RLIMIT_NOFILE)
        process.rlimit(psutil.RLIMIT_NOFILE, (1, before[1]))  # what is open stays open
        with connected(server):
            eventually(lambda: age() > 3.0)
            assert "new clients wait: as many files are open as the process may have" in server.log
            process.rlimit(psutil.RLIMIT_NOFILE, before)
            eventually(lambda: age() < 1.0)
    assert server.get("/check_health").status_code == 200
    eventually(lambda: "the figures of /check_health are renewed again" in server.log)
    assert "Traceback" not in server.log


def test_idle_connections_make_room_for_new_clients(start_server: StartServer) -> None:
    server = start_server(wrapper=("prlimit", "--nofile=128:128"))
    with ExitStack() as stack:
        for _ in range(100):
            client = stack.enter_context(connected(server))
            client.sendall(b"GET /check_health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.1 200"
    assert "new clients wait" not in server.log


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "no open files left"),
        (OSError(errno.ENFILE, "Too many open files in system"), "no open files left"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "no memory left"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "no processes left"),
        (RuntimeError("can't start new thread"), "no threads left"),
        (MemoryError(), "no memory left"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_there_is_no_more_of_is_the_cause(error: BaseException, words: str) -> None:
    cause = as_devserver_error(error, "stateful")
    assert isinstance(cause, OutOfResources)
    assert words in str(cause)


def test_other_errors_are_faults_still() -> None:
    assert isinstance(as_devserver_error(RuntimeError("dictionary changed"), "x"), InternalFailure)
    assert isinstance(as_devserver_error(OSError(errno.EBADF, "Bad file descriptor"), "x"), InternalFailure)
