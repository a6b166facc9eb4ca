"""A client's connection, which is asked for its next request before it is let go of."""

from __future__ import annotations

import socket
from contextlib import suppress
from time import monotonic
from typing import Any

from cheroot.makefile import StreamWriter
from cheroot.server import HTTPConnection

from web.http import request
from web.http.request import BoundedRequest, TimedReader
from web.http.tls import SpeaksPlainHttp, TlsSocket
from web.http.unfinished import UNFINISHED

# How long a thread stays with a client that has its answer. One that goes on asking is served twice as fast as if
# another thread had to look out for its next request.
_LINGER = 5  # milliseconds
_TIME_TO_SHAKE_HANDS = 10.0  # seconds
_TIME_TO_DRAIN, _MOST_TO_DRAIN, _PIECE = 2.0, 8 * 1024 * 1024, 256 * 1024  # seconds, bytes, bytes

_open: set[LingeringConnection] = set()


class LingeringConnection(HTTPConnection):
    """cheroot's connection, which serves one request after the other as long as they come at once.

    A thread reads what is here of a request's head, or of the client's part in shaking hands, and waits for the rest no
    longer than a moment. The connection then goes to where idle ones are, and takes no thread until more has come.
    """

    RequestHandlerClass = BoundedRequest
    drains = False  # whether the client may still be sending what nobody will read

    def __init__(self, server: Any, client: socket.socket, makefile: Any) -> None:
        """See cheroot's own class."""
        super().__init__(server, client, makefile)
        _open.add(self)
        self.rfile = TimedReader(client, self.rbufsize)
        self._accepted_at = monotonic()
        self._is_greeted = not isinstance(client, TlsSocket)
        self._began_at: float | None = None  # when the first byte of the next request came
        self._is_known = False  # whether the client has had an answer

    def communicate(self) -> bool:
        """Serve the requests that are here; returns whether to keep the connection for what is not here yet."""
        try:
            while self._has_request():
                self._began_at = None
                UNFINISHED.remove(self)
                if not super().communicate():  # type: ignore[no-untyped-call]
                    return False
                self._is_known = True
                self._began_at = monotonic() if self.rfile.has_begun else None
        except SpeaksPlainHttp:
            self._refuse_plain_http()
            return False
        except (OSError, ValueError):
            return False
        return self._is_awaited()

    def close(self) -> None:
        """Close the connection, with time for the client to read its answer where it is still sending.

        The kernel takes back an answer that is on its way where it closes a connection that there is more to read of.
        """
        UNFINISHED.remove(self)
        try:
            self._say_goodbye()
            super().close()
        finally:
            _open.discard(self)

    def _say_goodbye(self) -> None:
        with suppress(OSError, ValueError):
            self._tell_who_is_late()
        if self._is_greeted and isinstance(self.socket, TlsSocket):
            with suppress(OSError, ValueError):
                self.socket.say_goodbye()
        if self.drains and not self.server.requests.is_crowded:
            with suppress(OSError):
                self._drain()

    @staticmethod
    def open_count() -> int:
        """How many connections are open."""
        return len(_open)

    def _has_request(self) -> bool:
        """Whether there is a request to be served, after a moment at most."""
        while not self._is_greeted:
            if not self.rfile.has_more(_LINGER):
                return False
            self._is_greeted = self.socket.shake_hands()
        while not self.rfile.has_head():
            # Who sends a piece of a head alone is no client for which to wait.
            if not (self.rfile.has_more(0 if self.rfile.has_begun else _LINGER) and self.rfile.take_more()):
                return False
            if self._began_at is None:
                self._began_at = monotonic()
        return True

    def _is_awaited(self) -> bool:
        """Whether there is time left for what the client has begun."""
        now = monotonic()
        if not self._is_greeted and now - self._accepted_at > _TIME_TO_SHAKE_HANDS:
            return False
        if self._began_at is not None and now - self._began_at > request.TIME_FOR_HEAD:
            return False
        if self._began_at is not None or not self._is_known:
            UNFINISHED.add(self)
        return True

    def _tell_who_is_late(self) -> None:
        """Answer a client of whose next request a part has come."""
        if self._began_at is not None and self.rfile.has_begun:
            self.socket.settimeout(0)
            self.RequestHandlerClass(self.server, self).simple_response("408")
            self.drains = False

    def _refuse_plain_http(self) -> None:
        """Say so in plain text, for that is what the client understands."""
        self.socket = socket.socket(fileno=self.socket.detach())
        self.socket.settimeout(self.server.timeout)
        self.wfile = StreamWriter(self.socket, "wb", self.wbufsize)
        answering = self.RequestHandlerClass(self.server, self)
        with suppress(OSError):
            answering.simple_response("400", "this port speaks TLS; the address begins with https://")

    def _drain(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)
        until, left = monotonic() + _TIME_TO_DRAIN, _MOST_TO_DRAIN
        while left > 0 and (time := until - monotonic()) > 0:
            self.socket.settimeout(time)
            piece = self.socket.recv(min(left, _PIECE))
            if not piece:
                return
            left -= len(piece)
