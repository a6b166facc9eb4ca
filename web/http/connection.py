"""A client's connection, which is asked for its next request before it is let go of."""

from __future__ import annotations

import select
import socket
from contextlib import suppress
from time import monotonic
from typing import Any

from cheroot.makefile import StreamWriter
from cheroot.server import HTTPConnection

from web.http.request import BoundedRequest, TimedReader
from web.http.tls import SpeaksPlainHttp, TlsSocket

# How long a thread stays with a client that has its answer. One that goes on asking is served twice as fast as if
# another thread had to look out for its next request.
_LINGER = 5  # milliseconds
_TIME_TO_DRAIN, _MOST_TO_DRAIN, _PIECE = 2.0, 8 * 1024 * 1024, 256 * 1024  # seconds, bytes, bytes

_open: set[LingeringConnection] = set()


class LingeringConnection(HTTPConnection):
    """cheroot's connection, which serves one request after the other as long as they come at once."""

    RequestHandlerClass = BoundedRequest
    _is_greeted = False
    drains = False  # whether the client may still be sending what nobody will read

    def __init__(self, server: Any, client: socket.socket, makefile: Any) -> None:
        """See cheroot's own class."""
        super().__init__(server, client, makefile)
        _open.add(self)
        self.rfile = TimedReader(client, self.rbufsize)

    def communicate(self) -> bool:
        """Serve requests; whether the connection is to be kept for another that may come."""
        if not self._is_greeted and not self._greet():
            return False
        while super().communicate():  # type: ignore[no-untyped-call]
            if not self._has_another_request():
                return True
        return False

    def close(self) -> None:
        """Close the connection, with time for the client to read its answer where it is still sending.

        The kernel takes back an answer that is on its way where it closes a connection that there is more to read of.
        """
        try:
            self._say_goodbye()
            super().close()
        finally:
            _open.discard(self)

    def _say_goodbye(self) -> None:
        if self._is_greeted and isinstance(self.socket, TlsSocket):
            with suppress(OSError, ValueError):
                self.socket.say_goodbye()
        if self.drains:
            with suppress(OSError):
                self._drain()

    @staticmethod
    def open_count() -> int:
        """How many connections are open."""
        return len(_open)

    def _greet(self) -> bool:
        """Shake hands with a new client, where connections are encrypted; whether it can be served."""
        if isinstance(self.socket, TlsSocket):
            try:
                self.socket.shake_hands()
            except SpeaksPlainHttp:
                self._refuse_plain_http()
                return False
            except (OSError, ValueError):
                return False
        self._is_greeted = True
        return True

    def _refuse_plain_http(self) -> None:
        """Say so in plain text, for that is what the client understands."""
        self.socket = socket.socket(fileno=self.socket.detach())
        self.socket.settimeout(self.server.timeout)
        self.wfile = StreamWriter(self.socket, "wb", self.wbufsize)
        request = self.RequestHandlerClass(self.server, self)
        with suppress(OSError):
            request.simple_response("400", "this port speaks TLS; the address begins with https://")

    def _drain(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)
        until, left = monotonic() + _TIME_TO_DRAIN, _MOST_TO_DRAIN
        while left > 0 and (time := until - monotonic()) > 0:
            self.socket.settimeout(time)
            piece = self.socket.recv(min(left, _PIECE))
            if not piece:
                return
            left -= len(piece)

    def _has_another_request(self) -> bool:
        if self.rfile.has_data():
            return True
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return bool(poll.poll(_LINGER))
