"""Beside a hostile campaign: connections that say nothing, and a client that asks for the server's health."""

from __future__ import annotations

import resource
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from time import monotonic

from campaigns.hostile.lab import Way
from campaigns.hostile.requests import request
from tests.test_hostile import BEARER

_PAUSE = 0.05  # seconds between two questions


@contextmanager
def silent_crowd(ways: Sequence[Way], count: int) -> Iterator[None]:
    """Keep ``count`` connections to the devservers themselves open that say nothing; closed ones are opened anew."""
    direct = [way.port for way in ways if "direct" in way.name]
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    is_over = threading.Event()
    with ExitStack() as stack:
        crowd = [_connected(direct[number % len(direct)]) for number in range(count)]
        stack.callback(_close, crowd)
        thread = threading.Thread(target=_keep_open, args=(crowd, direct, is_over), daemon=True)
        thread.start()
        yield
        is_over.set()
        thread.join()


def _close(crowd: list[socket.socket | None]) -> None:
    for one in crowd:
        if one is not None:
            one.close()


def _keep_open(crowd: list[socket.socket | None], ports: Sequence[int], is_over: threading.Event) -> None:
    """Look at each connection now and then, and open it anew when the server closed it."""
    while not is_over.wait(1.0):
        for number, one in enumerate(crowd):
            if is_over.is_set():
                return
            if one is None or _is_closed(one):
                if one is not None:
                    one.close()
                crowd[number] = _connected(ports[number % len(ports)])


def _connected(port: int) -> socket.socket | None:
    with suppress(OSError):
        connection = socket.create_connection(("127.0.0.1", port), timeout=5)
        connection.setblocking(False)
        return connection
    return None


def _is_closed(connection: socket.socket) -> bool:
    try:
        return not connection.recv(4096)
    except BlockingIOError:
        return False
    except OSError:
        return True


class HealthWatch:
    """Asks each devserver for its health all the while, on a new connection each time."""

    def __init__(self, ways: Sequence[Way]) -> None:
        self._ways = [way for way in ways if "direct" in way.name]
        self._seconds: list[float] = []
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._watch, args=(way,), daemon=True) for way in self._ways]

    def __enter__(self) -> HealthWatch:  # noqa: PYI034 - nobody derives from it
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def percentile(self, share: float) -> float:
        """The seconds within which that share of the questions was answered; infinity where there was none."""
        seconds = sorted(self._seconds)
        return seconds[min(len(seconds) - 1, int(share * len(seconds)))] if seconds else float("inf")

    def _watch(self, way: Way) -> None:
        while not self._is_over.wait(_PAUSE):
            began = monotonic()
            try:
                is_well = b" 200 " in way.ask(request("/check_health", BEARER))[:20]
            except OSError:
                is_well = False
            self._seconds.append(monotonic() - began if is_well else float("inf"))
