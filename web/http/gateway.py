"""From a WSGI application's answer to the socket: files go from the disk to the network inside the kernel."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import ssl
import struct
import termios
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from time import monotonic
from typing import Any, NamedTuple

from cheroot.wsgi import Gateway_10

from web.callers import REQUEST_ID_HEADER, REQUEST_ID_KEY, request_id_of
from web.error_pages import RETRY_AFTER, error_answer
from web.http.forwarded import peer_address
from web.http.request import Body

_ALWAYS_ANSWERED = "/check_health"  # also where no thread is left but the reserve
# Where a WSGI application finds the client's socket in its environment.
SOCKET_KEY = "devserver.socket"

_AT_ONCE = 1 << 30  # bytes that the kernel is asked to send
_PIECE = 256 * 1024  # bytes that go through Python, where they have to be encrypted
_SILENCE = 60.0  # seconds without a byte taken by the client after which it is given up
_LOOK = 5  # seconds between two looks at whether it took any


class FileRange(NamedTuple):
    """The bytes ``start`` to ``stop`` (exclusive) of a file."""

    start: int
    stop: int


class FileBody:
    """A WSGI answer's body that is made of parts of one file, with what goes between them."""

    def __init__(
        self, descriptor: int, parts: Sequence[bytes | FileRange], on_close: Callable[[], None] = lambda: None
    ) -> None:
        """``descriptor``, of the open file, is closed with the body, and ``on_close`` called.

        Whoever set ``on_end`` is told then how many bytes were given to the kernel to be sent.
        """
        self._descriptor = descriptor
        self._parts = parts
        self._on_close = on_close
        self._sent = 0
        self.on_end: Callable[[int], None] = _nobody

    def __iter__(self) -> Iterator[bytes]:
        """The body through Python, for a server that knows nothing better."""
        for piece in self._all_pieces():
            yield piece
            self._sent += len(piece)

    def send_to(self, client: socket.socket) -> None:
        """Send the body; a client may be slow, but not silent.

        Raises:
            OSError: the client went away, or took nothing for a minute, or the file became shorter.

        """
        if isinstance(client, ssl.SSLSocket):
            self._send_encrypted_to(client)
            return
        with _sending_in_the_kernel(client):
            for part in self._parts:
                if isinstance(part, bytes):
                    self._send_bytes(client, part)
                else:
                    self._send_range(client, part)

    def _send_encrypted_to(self, client: ssl.SSLSocket) -> None:
        timeout = client.gettimeout()
        client.settimeout(_LOOK)
        try:
            for piece in self._all_pieces():
                self._send_bytes(client, piece)
        finally:
            client.settimeout(timeout)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
        self._on_close()
        self.on_end(self._sent)

    def _send_bytes(self, client: socket.socket, part: bytes) -> None:
        self._send_whole(len(part), lambda position: client.send(part[position:]), client)

    def _send_range(self, client: socket.socket, part: FileRange) -> None:
        def send(position: int) -> int:
            start = part.start + position
            sent = os.sendfile(client.fileno(), self._descriptor, start, min(part.stop - start, _AT_ONCE))
            if not sent:
                raise ConnectionAbortedError("the file became shorter while it was sent")
            return sent

        self._send_whole(part.stop - part.start, send, client)

    def _send_whole(self, size: int, send: Callable[[int], int], client: socket.socket) -> None:
        sending = _Sending(size, send, client)
        try:
            sending.run()
        finally:
            self._sent += sending.position

    def _all_pieces(self) -> Iterator[bytes]:
        for part in self._parts:
            yield from [part] if isinstance(part, bytes) else self._pieces(part)

    def _pieces(self, part: FileRange) -> Iterator[bytes]:
        position = part.start
        while position < part.stop:
            piece = os.pread(self._descriptor, min(_PIECE, part.stop - position), position)
            if not piece:
                raise ConnectionAbortedError("the file became shorter while it was sent")
            position += len(piece)
            yield piece


class SendfileGateway(Gateway_10):
    """cheroot's WSGI gateway, which also knows :class:`FileBody`."""

    def get_environ(self) -> Any:
        """The WSGI environment, with the client's socket."""
        environment = super().get_environ()  # type: ignore[no-untyped-call]
        environment["REMOTE_ADDR"] = peer_address(environment["REMOTE_ADDR"])
        self.req.server.trusted_proxies.apply(environment)
        environment[SOCKET_KEY] = self.req.conn.socket
        environment[REQUEST_ID_KEY] = request_id_of(environment)
        environment["wsgi.input"] = Body(self.req.rfile, self.req.largest_body)
        return environment

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """See PEP 3333; every answer says which request it is to."""
        named = [*headers, (REQUEST_ID_HEADER, self.env[REQUEST_ID_KEY])]
        return super().start_response(status, named, exc_info)

    def respond(self) -> None:
        """Have the application answer, and send that."""
        application = self.req.server.wsgi_app
        if self.req.server.requests.is_crowded:
            # The thread is one of the reserve. One small answer always fits into what the kernel holds for a client;
            # a second one, or a request's body, might have it wait.
            self.req.close_connection = True
            if self.env["PATH_INFO"] != _ALWAYS_ANSWERED or _has_body(self.env):
                application = _refuse
                self.req.server.on_refusal(int(HTTPStatus.SERVICE_UNAVAILABLE))
        response = application(self.env, self.start_response)
        try:
            client = self.req.conn.socket
            if isinstance(response, FileBody):
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


def _has_body(environment: Mapping[str, Any]) -> bool:
    return environment.get("CONTENT_LENGTH", "0") not in ("", "0") or "HTTP_TRANSFER_ENCODING" in environment


def _refuse(environment: Mapping[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """The application that tells everybody to come back."""
    code = HTTPStatus.SERVICE_UNAVAILABLE
    text = f"{code.phrase}: all of the devserver's threads are at work; try again in a few seconds"
    content_type, body = error_answer(code, environment.get("HTTP_ACCEPT", ""), "Overloaded", text)
    length = str(len(body))
    headers = {"Content-Type": content_type, "Content-Length": length, "Retry-After": str(RETRY_AFTER)}
    start_response(f"{int(code)} {code.phrase}", list(headers.items()))
    return [] if environment["REQUEST_METHOD"] == "HEAD" else [body]


@contextmanager
def _sending_in_the_kernel(client: socket.socket) -> Iterator[None]:
    """Have what is sent to ``client`` block in the kernel, and come back now and then where nothing moves.

    A socket with a timeout does not block: a thread would come back to Python for every few hundred kilobytes, and wait
    for its turn among all the others.
    """
    timeout = client.gettimeout()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _LOOK, 0))
    client.setblocking(True)
    try:
        yield
    finally:
        client.settimeout(timeout)


class _Sending:
    """Calls ``send`` with the position to go on from until ``size`` bytes went to the kernel.

    The kernel says that there is room for more only once a good part of what it holds has left: what shows that a slow
    client is alive is that this becomes less.
    """

    def __init__(self, size: int, send: Callable[[int], int], client: socket.socket) -> None:
        self._size = size
        self._send = send
        self._client = client
        self.position = 0

    def run(self) -> None:
        """Return when all was sent; raises what ``send`` does, and ``TimeoutError``."""
        silent_since, unsent = monotonic(), -1
        while self.position < self._size:
            try:
                self.position += self._send(self.position)
                silent_since, unsent = monotonic(), -1
            except (BlockingIOError, TimeoutError):  # the latter of an encrypted connection
                before, unsent = unsent, _unsent(self._client)
                if before == -1 or unsent < before:
                    silent_since = monotonic()
                elif monotonic() - silent_since >= _SILENCE:
                    raise TimeoutError(errno.ETIMEDOUT, "the client took nothing for too long") from None


def _nobody(_sent: int) -> None:
    pass


def _unsent(client: socket.socket) -> int:
    """Bytes that the kernel holds for ``client``, sent and not acknowledged or not sent yet (tcp(7), SIOCOUTQ)."""
    answer = fcntl.ioctl(client.fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
    return int(struct.unpack("i", answer)[0])
