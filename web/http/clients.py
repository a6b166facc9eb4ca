"""Clients that wait: how many may, and whether they are still there."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial

import cherrypy

from staging import threads

_MOST_AT_ONCE = 1024
_NEVER = threading.Event()


def client_address() -> str:
    """The address of the client whose request is being answered; behind a proxy, what that says it is."""
    return str(cherrypy.request.remote.ip)


class TooManyWaiting(Exception):
    """There is no room for another client that waits."""


class WaitingRoom:
    """Room for ``seats`` clients that wait for something, and a watch over their connections.

    Each of them holds a thread of the server's: so many, and no more, are theirs.
    """

    def __init__(self, seats: int) -> None:
        self._seats = self._free = seats
        self._lock = threading.Lock()
        self._epoll: select.epoll | None = None
        self._gone: dict[int, Future[None]] = {}

    @property
    def free(self) -> int:
        """How many seats nobody has."""
        return self._free

    @property
    def taken(self) -> int:
        """How many clients wait."""
        return self._seats - self._free

    @contextmanager
    def seat(self, client: socket.socket) -> Iterator[Future[None]]:
        """Let a client wait: gives a future that is done once the client went away.

        Raises:
            TooManyWaiting: no seat is free, or the machine has no descriptor or memory for one more.

        """
        gone: Future[None] = Future()
        number = client.fileno()
        _notice_death(client)
        with self._lock:
            if not self._free:
                raise TooManyWaiting
            self._register(number)
            self._free -= 1
            self._gone[number] = gone
        try:
            yield gone
        finally:
            with self._lock:
                self._free += 1
                if self._gone.get(number) is gone:  # who leaves late may find another client's in its place
                    del self._gone[number]
                    with suppress(OSError):
                        self._watch().unregister(number)

    def _register(self, number: int) -> None:
        try:
            self._watch().register(number, select.EPOLLRDHUP | select.EPOLLONESHOT)
        except (OSError, RuntimeError) as error:  # the latter where no thread can be started
            raise TooManyWaiting from error

    def _watch(self) -> select.epoll:
        """The set of connections that one thread watches, which starts with the first of them."""
        if self._epoll is None:
            epoll = select.epoll()
            threads.start("watch clients", partial(self._look, epoll), _NEVER, cherrypy.log)
            self._epoll = epoll
        return self._epoll

    def _look(self, epoll: select.epoll) -> None:
        self._release([*self._gone])  # an event is told once: a look that failed may have lost some
        while True:
            self._release([number for number, _ in epoll.poll(maxevents=_MOST_AT_ONCE)])

    def _release(self, numbers: Iterable[int]) -> None:
        """Let go of the clients on these connections that went away."""
        for number in numbers:
            with self._lock:
                # Its number may be another client's by now: who leaves does so under the lock.
                gone = self._gone.get(number)
                if gone is not None and not gone.done() and _has_gone(number):
                    gone.set_result(None)


def _notice_death(client: socket.socket) -> None:
    """Have the kernel ask whether the client's machine is still there: one that lost its power says nothing."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3)):
        client.setsockopt(socket.IPPROTO_TCP, option, value)


def _has_gone(number: int) -> bool:
    poll = select.poll()
    poll.register(number, select.POLLRDHUP)
    return bool(poll.poll(0))
