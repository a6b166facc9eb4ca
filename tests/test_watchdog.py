"""The watchdog: systemd is told what is true, and a server that hangs says where."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.servers import DevServer, eventually
from tests.test_tls import make_certificate
from web.watchdog import Notifier

SHORT = "import re, sys, threading, web.watchdog as watchdog; watchdog.LONGEST_SILENCE = 2.0; "
RUN = "import devserver; sys.exit(devserver.main(sys.argv[3:]))"
# Something holds the interpreter, as an expression did that a request had brought.
HANGS = "threading.Timer(6.0, lambda: re.match('(a|a)*b', 'a' * 27)).start(); "
# The main thread lives, and nobody is answered.
ANSWERS_NOBODY = (
    "import web.http.gateway as gateway, time; gateway.SendfileGateway.respond = lambda self: time.sleep(600); "
)


@pytest.fixture
def notices() -> Iterator[socket.socket]:
    """What systemd would listen on: an abstract socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0devserver-{os.getpid()}-{time.monotonic_ns()}")
        listening.settimeout(30)
        yield listening


def watched(start_server: StartServer, notices: socket.socket, does: str = "", *options: str) -> DevServer:
    """A devserver that systemd watches over."""
    address = "@" + notices.getsockname()[1:].decode()
    return start_server(
        *options, wrapper=[sys.executable, "-c", SHORT + does + RUN], NOTIFY_SOCKET=address, WATCHDOG_USEC="2000000"
    )


def silence(notices: socket.socket, seconds: float) -> bool:
    """Whether nothing is said for so long, before half a minute is over."""
    deadline = time.monotonic() + 30
    notices.settimeout(seconds)
    while time.monotonic() < deadline:
        try:
            notices.recv(100)
        except TimeoutError:
            return True
    return False


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_systemd_is_told_that_the_server_is_ready_lives_and_stops(
    start_server: StartServer, notices: socket.socket, tmp_path: Path, is_encrypted: bool
) -> None:
    chain, key = make_certificate(tmp_path) if is_encrypted else ("", "")
    options = ("--tls-cert", str(chain), "--tls-key", str(key)) if is_encrypted else ()
    server = watched(start_server, notices, "", *options)
    assert notices.recv(100) == b"READY=1"
    assert [notices.recv(100) for _ in range(5)] == [b"WATCHDOG=1"] * 5
    assert server.stop() == 0
    assert set(iter(lambda: notices.recv(100), b"STOPPING=1")) <= {b"WATCHDOG=1"}


def test_what_holds_the_interpreter_is_not_alive_and_is_named(
    start_server: StartServer, notices: socket.socket
) -> None:
    server = watched(start_server, notices, HANGS)
    assert notices.recv(100) == b"READY=1"
    assert silence(notices, 2.5)
    eventually(lambda: "Timeout (0:00:02)!" in server.log)
    assert "in match" in server.log
    server.kill()


def test_a_server_that_answers_nobody_is_not_alive(start_server: StartServer, notices: socket.socket) -> None:
    server = watched(start_server, notices, ANSWERS_NOBODY)
    assert notices.recv(100) == b"READY=1"
    assert silence(notices, 3.0)
    eventually(lambda: "the server has answered no request for 2 s" in server.log)
    eventually(lambda: "most recent call first" in server.log)
    server.kill()


def test_a_socket_of_the_file_system_is_spoken_to_as_well(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(10)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}
        notifier = Notifier(environment)
        notifier.tell("READY=1")
        assert listening.recv(100) == b"READY=1"
    assert not notifier.is_watched  # it is another process that is
    assert not environment
    notifier.tell("READY=1")  # to nobody
    Notifier({}).tell("READY=1")
