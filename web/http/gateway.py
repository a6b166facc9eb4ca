"""From a WSGI application's answer to the socket: files go from the disk to the network inside the kernel."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import ssl
import struct
import termios
from collections.abc import Iterable, Iterator, Sequence
from time import monotonic
from typing import IO, Any, NamedTuple

from cheroot.wsgi import Gateway_10

# Where a WSGI application finds the client's socket in its environment.
SOCKET_KEY = "devserver.socket"

_AT_ONCE = 1 << 30  # bytes that the kernel is asked to send
_PIECE = 256 * 1024  # bytes that go through Python, where they have to be encrypted
_SILENCE = 60.0  # seconds without a byte taken by the client after which it is given up
_LOOK = 5.0  # seconds between two looks at whether it took any


class FileRange(NamedTuple):
    """The bytes ``start`` to ``stop`` (exclusive) of a file."""

    start: int
    stop: int


class FileBody:
    """A WSGI answer's body that is made of parts of one file, with what goes between them."""

    def __init__(self, file: IO[bytes], parts: Sequence[bytes | FileRange]) -> None:
        """``file``, opened unbuffered, is closed with the body."""
        self._file = file
        self._parts = parts

    def __iter__(self) -> Iterator[bytes]:
        """The body through Python, for a server that knows nothing better."""
        for part in self._parts:
            if isinstance(part, bytes):
                yield part
            else:
                yield from self._pieces(part)

    def send_to(self, client: socket.socket) -> None:
        """Send the body; a client may be slow, but not silent.

        Raises:
            OSError: the client went away, or took nothing for a minute, or the file became shorter.

        """
        for part in self._parts:
            if isinstance(part, bytes):
                client.sendall(part)
            else:
                self._send_range(client, part)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _send_range(self, client: socket.socket, part: FileRange) -> None:
        position = part.start
        while position < part.stop:
            try:
                sent = os.sendfile(client.fileno(), self._file.fileno(), position, min(part.stop - position, _AT_ONCE))
            except BlockingIOError:
                _wait_until_writable(client)
                continue
            if not sent:
                raise ConnectionAbortedError("the file became shorter while it was sent")
            position += sent

    def _pieces(self, part: FileRange) -> Iterator[bytes]:
        position = part.start
        while position < part.stop:
            piece = os.pread(self._file.fileno(), min(_PIECE, part.stop - position), position)
            if not piece:
                raise ConnectionAbortedError("the file became shorter while it was sent")
            position += len(piece)
            yield piece


class SendfileGateway(Gateway_10):
    """cheroot's WSGI gateway, which also knows :class:`FileBody`."""

    def get_environ(self) -> Any:
        """The WSGI environment, with the client's socket."""
        environment = super().get_environ()  # type: ignore[no-untyped-call]
        environment[SOCKET_KEY] = self.req.conn.socket
        return environment

    def respond(self) -> None:
        """Have the application answer, and send that."""
        response = self.req.server.wsgi_app(self.env, self.start_response)
        try:
            client = self.req.conn.socket
            if isinstance(response, FileBody) and not isinstance(client, ssl.SSLSocket):
                self.req.ensure_headers_sent()
                response.send_to(client)
            else:
                self._write_all(response)
        finally:
            if hasattr(response, "close"):
                response.close()

    def _write_all(self, response: Iterable[bytes]) -> None:
        for chunk in filter(None, response):
            self.write(chunk)
        self.req.ensure_headers_sent()


def _wait_until_writable(client: socket.socket) -> None:
    """Wait until the kernel takes more for ``client``.

    It does so only once a good part of what it holds has left: what shows that a slow client is alive is that this
    becomes less.
    """
    poll = select.poll()
    poll.register(client, select.POLLOUT)
    unsent, silent_since = _unsent(client), monotonic()
    while not poll.poll(_LOOK * 1000):
        before, unsent = unsent, _unsent(client)
        if unsent < before:
            silent_since = monotonic()
        elif monotonic() - silent_since >= _SILENCE:
            raise TimeoutError("the client took nothing for too long")


def _unsent(client: socket.socket) -> int:
    """Bytes that the kernel holds for ``client``, sent and not acknowledged or not sent yet (tcp(7), SIOCOUTQ)."""
    answer = fcntl.ioctl(client.fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
    return int(struct.unpack("i", answer)[0])
