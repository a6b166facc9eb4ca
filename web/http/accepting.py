"""Connections are accepted as long as the process has descriptors for them, and some to spare for its own work."""

from __future__ import annotations

import errno
import resource
import selectors
from collections.abc import Callable
from time import monotonic
from typing import Any

from cheroot import connections

_OTHER_FILES = 256  # that are open besides connections: logs, pipes, libraries, files that are read and staged
_SHARE_OF_OTHERS = 0.5  # of what may be open at most: a server of very few files is to stage, too
_PAUSE = 0.2  # seconds until it is looked whether there is room again
_SECONDS_BETWEEN_LINES = 60.0  # of the log, about one and the same trouble
# What accept(2) says where the machine or the process has no more of something.
_EXHAUSTED = {
    errno.EMFILE: "as many files are open as the process may have",
    errno.ENFILE: "as many files are open as the machine can have",
    errno.ENOBUFS: "the machine has no memory for it",
    errno.ENOMEM: "the machine has no memory for it",
}


def most_connections(most_files: int) -> int:
    """How many connections a process may have that may open so many files."""
    return most_files - min(_OTHER_FILES, int(most_files * _SHARE_OF_OTHERS))


def most_files() -> int:
    """How many files this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**31 if soft == resource.RLIM_INFINITY else soft


_ConnectionManager: Any = connections.ConnectionManager  # which has no types


class PatientConnections(_ConnectionManager):  # type: ignore[misc]
    """cheroot's connections, of which new ones wait in the kernel while there is no room for them.

    Where there is none, the connections that have been idle for longest make room: their clients have their answers.
    Times are those of the monotonic clock.
    """

    def __init__(self, server: Any, log: Callable[[str], None]) -> None:
        super().__init__(server)
        self._log = log
        self._most = most_connections(most_files())
        self._paused_until = 0.0
        self._is_listening = True
        self._told_at = float("-inf")

    def put(self, conn: Any) -> None:
        """See cheroot's."""
        try:
            super().put(conn)
        except OSError:  # the kernel watches over no more of them
            conn.close()
        conn.last_used = monotonic()

    def _run(self, expiration_interval: float) -> None:
        looked_at = monotonic()
        while not self._stop_requested:
            self._listen_again()
            try:
                ready = list(self._selector.select(timeout=expiration_interval if self._is_listening else _PAUSE))
            except OSError:
                self._remove_invalid_sockets()
                continue
            for descriptor, connection in ready:
                self._serve(descriptor, connection)
            if monotonic() - looked_at > expiration_interval:
                looked_at = monotonic()
                self._expire(threshold=looked_at - self.server.timeout)

    def _serve(self, descriptor: int, connection: Any) -> None:
        if connection is not self.server:
            self._selector.unregister(descriptor)
            self.server.process_conn(connection)
        elif self._has_room():
            accepted = self._accepted()
            if accepted is not None:
                self.server.process_conn(accepted)

    def _accepted(self) -> Any:
        """The connection of a new client; None where it is gone, or cannot be taken now."""
        try:
            return self._from_server_socket(self.server.socket)
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            self._make_room()
            self._pause(_EXHAUSTED[error.errno])
            return None

    def _has_room(self) -> bool:
        """Whether one more connection may be open; pauses where it may not."""
        if self.server.open_connections() < self._most or self._make_room():
            return True
        self._pause(f"{self._most} connections are open, and no more of them fit into {most_files()} open files")
        return False

    def _make_room(self) -> bool:
        """Close the connection that has been idle for longest; returns whether there was one."""
        idle = ((number, one) for number, one in self._selector.connections if one is not self.server)
        number, connection = next(idle, (-1, None))
        idle.close()  # which has the selector locked
        if connection is None:
            return False
        self._selector.unregister(number)
        connection.close()
        return True

    def _pause(self, reason: str) -> None:
        """Leave new clients to the kernel for a moment; a line of the log says so, once a minute at most."""
        self._paused_until = monotonic() + _PAUSE
        if self._is_listening:
            self._selector.unregister(self.server.socket.fileno())
            self._is_listening = False
        if monotonic() >= self._told_at + _SECONDS_BETWEEN_LINES:
            self._told_at = monotonic()
            self._log(f"new clients wait: {reason}; raise the limit (LimitNOFILE=, ulimit -n), or lower --max-threads")

    def _listen_again(self) -> None:
        if not self._is_listening and monotonic() >= self._paused_until:
            self._selector.register(self.server.socket.fileno(), selectors.EVENT_READ, data=self.server)
            self._is_listening = True
