"""Thousands of clients wait for one build."""

from __future__ import annotations

import resource
import selectors
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import quote

from bench.archive.data import WARM_UP_PATH, url_of
from bench.archive.profiles import Profile, archive_process
from bench.devservers import Devserver, devserver
from bench.processes import Process
from bench.samples import BenchError, CrowdSample, Method
from bench.serving import wrk
from bench.setting import Setting
from demo.reference_build import BUILD_PATH

WAITING = 3000
_QUICK_WAITING = 100
_SECONDS = 3  # of questions, while the crowd waits
_QUICK_SECONDS = 1
_FILE = "file.bin"
_FILE_BYTES = 64 * 1024
_TIME_TO_PARK = 60.0  # seconds
_TIME_TO_LEAVE = 60.0
_THREADS_LEFT = 10
# So far away that background work has begun, and is not over, when the archive is stopped.
_FAR = Profile("far", 0.5, 0)


def crowd_methods(setting: Setting) -> list[Method]:
    """What a crowd of waiters costs."""
    return [Method("devserver", "**a devserver**", partial(_crowd, setting))]


def _crowd(setting: Setting, directory: Path) -> CrowdSample:
    count, seconds = (_QUICK_WAITING, _QUICK_SECONDS) if setting.is_quick else (WAITING, _SECONDS)
    with ExitStack() as stack:
        archive, address = stack.enter_context(archive_process(setting.data.index, _FAR, directory))
        one = devserver(address, directory, WARM_UP_PATH, "--stall-timeout=600", checkout=setting.checkout)
        server = stack.enter_context(one)
        (server.static_dir / _FILE).write_bytes(bytes(_FILE_BYTES))
        threads = server.threads()
        server.download(BUILD_PATH)
        server.wait_for_workers(are_running=True)
        with _stopped(archive):
            memory = server.memory()
            clients = [stack.enter_context(_waiter(server)) for _ in range(count)]
            _wait_until_parked(server, count)
            memory = server.memory() - memory
            log = directory / "log"
            health = wrk.load(server.address, ["/check_health"], 1, seconds, log)
            file = wrk.load(server.address, [f"/static/{_FILE}"], 1, seconds, log)
        last = _last_answer(clients)
        end = (server.static_dir / BUILD_PATH / ".devserver" / "manifest.json").stat().st_mtime
        return CrowdSample(health.p99, file.p99, last - end, memory, _threads_left(server, threads))


@contextmanager
def _stopped(process: Process) -> Iterator[None]:
    """A process that does nothing for as long as the context lasts."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def _waiter(server: Devserver) -> socket.socket:
    """The connection of a client that has asked for the end of the build."""
    _allow_as_many_files_as_may_be()
    client = socket.create_connection(("127.0.0.1", server.port))
    query = f"archive_url={quote(url_of(BUILD_PATH))}"
    client.sendall(f"GET /wait_for_status?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    return client


def _allow_as_many_files_as_may_be() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _wait_until_parked(server: Devserver, clients: int) -> None:
    """Every client that waits has a thread."""
    deadline = time.monotonic() + _TIME_TO_PARK
    while server.clients() < clients:
        if time.monotonic() > deadline:
            raise BenchError(f"{server.clients()} of {clients} clients are being served: not everybody waits")
        time.sleep(0.05)


def _last_answer(clients: Sequence[socket.socket]) -> float:
    """Wait until every client was told of success; when the last one was, in seconds since the epoch."""
    answers = {client.fileno(): b"" for client in clients}
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client, selectors.EVENT_READ, client)
        while selector.get_map():
            for key, _ in selector.select():
                data = key.data.recv(65536)
                answers[key.fd] += data
                if not data:
                    selector.unregister(key.data)
    last = time.time()
    for answer in answers.values():
        if not answer.endswith(b"\r\n\r\nSuccess"):
            raise BenchError(f"a client was told: {answer[-300:]!r}")
    return last


def _threads_left(server: Devserver, before: int) -> int:
    """How many threads more than ``before`` there are, once most are gone, or after a minute."""
    deadline = time.monotonic() + _TIME_TO_LEAVE
    while server.threads() > before + _THREADS_LEFT and time.monotonic() < deadline:
        time.sleep(0.1)
    return max(0, server.threads() - before)
