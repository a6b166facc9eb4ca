"""Connections whose clients have not said all of a request, of which there are so many and no more."""

from __future__ import annotations

import socket
from contextlib import suppress
from threading import Lock
from typing import Any

_MOST = 4096


class Unfinished:
    """Connections on which a request is awaited that was never begun, or never ended; the oldest make room."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._connections: dict[Any, None] = {}  # the one that has been awaited for longest is the first
        self._lock = Lock()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._connections)

    def add(self, connection: Any) -> None:
        """Take note of a connection; one that is known keeps its place."""
        with self._lock:
            self._connections[connection] = None
            if len(self._connections) <= self._most:
                return
            oldest = next(iter(self._connections))
            del self._connections[oldest]
        with suppress(OSError):
            # It is closed by the thread that finds its end. An encrypted one is not told: it may be in another's hands.
            socket.socket.shutdown(oldest.socket, socket.SHUT_RDWR)

    def remove(self, connection: Any) -> None:
        """Forget a connection: its request is here, or it is closed."""
        if connection in self._connections:
            with self._lock:
                self._connections.pop(connection, None)


UNFINISHED = Unfinished()
