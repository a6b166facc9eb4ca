"""One request's head and body, within bounds: how long, how large, and how slow it may be."""

from __future__ import annotations

import re
import select
import socket
import ssl
from collections.abc import Callable
from http import HTTPStatus
from time import monotonic
from typing import Any

import cherrypy
from cheroot import server as cheroot_server
from cheroot.errors import MaxSizeExceeded
from cheroot.makefile import StreamReader
from cheroot.server import ChunkedRFile, KnownLengthRFile, SizeCheckWrapper
from cherrypy._cpwsgi_server import CPWSGIHTTPRequest

from web.error_pages import error_answer
from web.http import request_line

LONGEST_LINE = 32 * 1024  # bytes of the request line: a URL may name many artifacts and files
LARGEST_HEAD = 32 * 1024  # bytes of the headers
MOST_HEADERS = 100
LARGEST_BODY = 256 * 1024  # bytes
DUMPS = "/symbolicate_dump"  # the one address that takes a larger one
LARGEST_DUMP = 100 * 1024 * 1024
TIME_FOR_HEAD = 30.0  # seconds from its first byte to its last
TIME_FOR_BODY = 60.0

_PIECE = 64 * 1024  # bytes that are taken at a time
_MORE = 1024  # bytes beyond a bound, by which a request is known to be beyond it
_REQUEST_LINE = re.compile(rb"[!-~]+ [^ \r\n]+ HTTP/1\.[01]\r\n")
_TIMED_OUT = "timed out"  # what cheroot knows a timeout by
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_TLS = b"\x16\x03"  # how a client greets: RFC 8446, 5.1
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_UNSEEN = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_LENGTH = re.compile(rb"[0-9]{1,18}")
# A proxy may add its word in a line of its own; the first line is anybody's.
_FORWARDED = (b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host")
_LISTS = (*cheroot_server.comma_separated_headers, b"Cookie", *_FORWARDED)  # type: ignore[attr-defined]
# Who reads one of several may read another than a server in front did.
_ONCE = (b"Host", b"Content-Length", b"Transfer-Encoding", b"Authorization", b"Range", b"Content-Type", b"Expect")


class _TooMany(MaxSizeExceeded):
    """There are more headers than may be."""


class TimedReader(StreamReader):
    """What a client sends, where each part of a request has its time, and no more."""

    def __init__(self, client: socket.socket, size: int) -> None:
        super(StreamReader, self).__init__(_TimedSocket(client), size)  # of the two sockets that there would be else
        self.bytes_read = 0
        self._client = client
        self._is_at_end = False
        self._read_buf: bytes
        self._read_pos: int

    def has_data(self) -> bool:
        """Whether there is something to be served without waiting; cheroot asks before it puts a connection away."""
        return self.has_head()

    def has_head(self) -> bool:
        """Whether there is a whole head, or what can be judged without the rest of it."""
        if self._is_at_end or self.speaks_tls:
            return True
        buffer, start = self._read_buf, self._read_pos
        if buffer.startswith(b"\r\n", start):  # one empty line is forgiven
            start += 2
        if buffer.find(b"\r\n\r\n", start) >= 0:
            return True
        line_end = buffer.find(b"\n", start)
        if line_end < 0:
            return len(buffer) - start > LONGEST_LINE + _MORE
        return len(buffer) - line_end > LARGEST_HEAD + _MORE or not _REQUEST_LINE.match(buffer, start)

    @property
    def speaks_tls(self) -> bool:
        """Whether what is here is the beginning of TLS, on a connection that is none of it."""
        return self._read_buf.startswith(_TLS, self._read_pos)

    @property
    def has_begun(self) -> bool:
        """Whether a part of a head is here."""
        return len(self._read_buf) > self._read_pos

    def has_more(self, milliseconds: int) -> bool:
        """Whether more is here to be read, or will be within so many milliseconds."""
        if isinstance(self._client, ssl.SSLSocket) and self._client.pending():
            return True  # of which the kernel knows nothing any more
        poll = select.poll()
        poll.register(self._client, select.POLLIN)
        return bool(poll.poll(milliseconds))

    def take_more(self) -> bool:
        """Take what is here; returns whether that was anything."""
        try:
            piece = _received(self._client)
        except ssl.SSLWantReadError:
            return False
        self._is_at_end = not piece
        self._read_buf, self._read_pos = self._read_buf[self._read_pos :] + piece, 0
        return True

    def allow(self, seconds: float) -> None:
        """Give what comes next so much time, from when it is first read."""
        raw: Any = self.raw
        raw.seconds, raw.deadline = seconds, None


def _received(client: socket.socket) -> bytes:
    """Some of what a client sent; it does not wait for the rest of what is encrypted as one piece."""
    if not isinstance(client, ssl.SSLSocket):
        return client.recv(_PIECE)
    usual = client.gettimeout()
    client.settimeout(0)
    try:
        return client.recv(_PIECE)
    finally:
        client.settimeout(usual)


class _TimedSocket(socket.SocketIO):
    """A socket that is read until a moment, and not beyond, however many bytes come until then."""

    def __init__(self, client: socket.socket) -> None:
        super().__init__(client, "rb")
        self.seconds = TIME_FOR_HEAD
        self.deadline: float | None = None

    def readinto(self, buffer: Any) -> int | None:
        """Read what is there, as :class:`socket.SocketIO` does."""
        client: socket.socket = self._sock  # type: ignore[attr-defined]
        usual = client.gettimeout()
        now = monotonic()
        if self.deadline is None:
            self.deadline = now + self.seconds
        left = self.deadline - now
        if left <= 0:
            raise TimeoutError(_TIMED_OUT)
        if usual is None or left >= usual:
            return super().readinto(buffer)
        client.settimeout(left)
        try:
            return super().readinto(buffer)
        finally:
            client.settimeout(usual)


class BoundedRequest(CPWSGIHTTPRequest):  # type: ignore[misc]
    """cheroot's request, which says no to what is too large, too slow, or means two things at once."""

    def parse_request(self) -> None:
        """Read the head."""
        self.conn.rfile.allow(TIME_FOR_HEAD)
        if self.conn.rfile.speaks_tls:  # in which there may be no end of a line
            self.simple_response("400", "this port speaks plain HTTP; the address begins with http://")
            return
        self.rfile: Any = SizeCheckWrapper(self.conn.rfile, LONGEST_LINE)
        has_line = False
        try:
            has_line = self.read_request_line()
            if not has_line:
                return
            self.rfile = SizeCheckWrapper(self.conn.rfile, LARGEST_HEAD)
            self.ready = bool(self.read_request_headers())
        except _TooMany:
            self.simple_response("431", f"there are more than {MOST_HEADERS} headers")
        except MaxSizeExceeded:
            if not has_line:
                self.simple_response("414", f"the request line is longer than {LONGEST_LINE} bytes")
            else:
                self.simple_response("431", f"the headers are larger than {LARGEST_HEAD} bytes")

    def read_request_line(self) -> bool:
        """Read the first line, behind an empty one at the most (RFC 9112, 2.2)."""
        line = self.rfile.readline()
        self.started_request = True
        if line == b"\r\n":
            line = self.rfile.readline()
        if not line:
            return False
        try:
            parts = request_line.parsed(line)
        except request_line.BadLine as error:
            return self._refuse(error.status, error.text)
        self.method, self.uri, self.path, self.qs = parts.method, parts.address, parts.path, parts.query
        self.authority = parts.host
        self.request_protocol = b"HTTP/" + parts.version
        self.response_protocol = f"HTTP/{parts.version.decode()}"
        return True

    def read_request_headers(self) -> bool:
        """Read the headers, and find out how long the body is."""
        if not super().read_request_headers():
            return False
        length, coding = self.inheaders.get(b"Content-Length"), self.inheaders.get(b"Transfer-Encoding")
        if length is not None and coding is not None:
            return self._refuse("400", "a body has a Content-Length or a Transfer-Encoding, and not both")
        if coding is not None and (coding.lower() != b"chunked" or self.response_protocol != "HTTP/1.1"):
            return self._refuse("400", "the one Transfer-Encoding is chunked, of HTTP/1.1")
        if length is not None and not _LENGTH.fullmatch(length):
            return self._refuse("400", "Content-Length should be a number of bytes")
        if length is not None and int(length) > self.largest_body:
            return self._refuse("413", f"the body is larger than {self.largest_body} bytes")
        if b"Host" not in self.inheaders and self.response_protocol == "HTTP/1.1":
            return self._refuse("400", "a request of HTTP/1.1 has a Host header")
        return self._meets_expectation()

    def _meets_expectation(self) -> bool:
        """Have a client that waits for it send its body; of HTTP/1.0, none does (RFC 9110, 10.1.1)."""
        if self._expectation not in (b"", b"100-continue"):
            return self._refuse("417", "the one expectation that is met is 100-continue")
        if self._expectation and self.response_protocol == "HTTP/1.1":
            self.conn.wfile.write(_CONTINUE)
        return True

    def header_reader(self, rfile: Any, headers: dict[bytes, bytes]) -> None:
        """Read headers; what they say of the connection is put in the words that cheroot compares with."""
        _read_headers(rfile, headers)
        self._expectation = headers.pop(b"Expect", b"").lower()
        if self.authority:  # what an absolute address says holds, whatever the header does (RFC 9112, 3.2.2)
            headers[b"Host"] = self.authority
        if b"Connection" in headers:
            wishes = [wish.strip().lower() for wish in headers[b"Connection"].split(b",")]
            if b"close" in wishes:
                headers[b"Connection"] = b"close"
            elif b"keep-alive" in wishes:
                headers[b"Connection"] = b"Keep-Alive"

    def respond(self) -> None:
        """Have the request answered; what it brings has its own time to arrive."""
        self.conn.rfile.allow(TIME_FOR_BODY)
        if self.chunked_read:
            self.rfile = ChunkedRFile(self.conn.rfile, self.largest_body)
        else:
            self.rfile = KnownLengthRFile(self.conn.rfile, int(self.inheaders.get(b"Content-Length", 0)))
        self.server.gateway(self).respond()
        if self.ready:
            self.ensure_headers_sent()
        if self.chunked_write:
            self.conn.wfile.write(b"0\r\n\r\n")

    @property
    def largest_body(self) -> int:
        """Bytes that its body may have."""
        return LARGEST_DUMP if self.path == DUMPS.encode() else LARGEST_BODY

    def send_headers(self) -> None:
        """Send the head of the answer, and keep no connection on which there is a body that nobody read."""
        if self.chunked_read or getattr(self.rfile, "remaining", 0) > 0:
            self.close_connection = self.conn.drains = True
        # The application would tell its version.
        self.outheaders: list[tuple[bytes, bytes]] = [
            header for header in self.outheaders if header[0].lower() != b"server"
        ]
        if not any(name.lower() == b"x-content-type-options" for name, _ in self.outheaders):
            self.outheaders.append((b"X-Content-Type-Options", b"nosniff"))
        super().send_headers()

    def simple_response(self, status: str, msg: str = "") -> None:
        """Answer a request that cannot be passed on, on a page as all errors have, and end the connection."""
        code = HTTPStatus(int(status[:3]))
        self.server.on_refusal(int(code))
        accept = self.inheaders.get(b"Accept", b"").decode("latin-1")
        content_type, body = error_answer(code, accept, text=msg)
        head = (
            f"HTTP/1.1 {code.value} {code.phrase}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
            "X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
        )
        self.close_connection = self.conn.drains = True
        self.sent_headers = True
        has_no_body = getattr(self, "method", b"") == b"HEAD"
        self.conn.wfile.write(head.encode() + (b"" if has_no_body else body))

    def _refuse(self, status: str, text: str) -> bool:
        self.simple_response(status, text)
        return False


def _read_headers(rfile: Any, headers: dict[bytes, bytes]) -> None:
    """Read headers as cheroot's own reader does, but for what a server in front may read in another way."""
    count = 0
    while count <= MOST_HEADERS:
        line: bytes = rfile.readline()
        if line == b"\r\n":
            return
        name, separator, value = line.removesuffix(b"\r\n").partition(b":")
        if not (line.endswith(b"\r\n") and separator and _NAME.fullmatch(name)) or _UNSEEN.search(value):
            raise ValueError("a header should look like 'Name: value', and end with CR LF")
        name, value = name.title(), value.strip()
        count += name not in _FORWARDED  # which a server in front adds
        if name in headers and name in _ONCE:
            raise ValueError(f"there is more than one {name.decode()}")
        if b"_" in name:  # an application could not tell it from one with a dash; nginx drops them too
            continue
        if name in headers and name in _LISTS:
            value = headers[name] + (b"; " if name == b"Cookie" else b", ") + value
        headers[name] = value
    raise _TooMany


class Body:
    """A request's body, as a WSGI application reads it: what is wrong with it is told with a status."""

    def __init__(self, source: Any, largest: int = LARGEST_BODY) -> None:
        """``largest`` is how many bytes it may have, which whoever gives it holds it to."""
        self._source = source
        self._largest = largest

    def read(self, size: int | None = None) -> bytes:
        """At most ``size`` bytes."""
        return self._told(self._source.read, size)

    def readline(self, size: int | None = None) -> bytes:
        """A line, or ``size`` bytes of it."""
        return self._told(self._source.readline, size)

    def _told(self, read: Callable[[int | None], bytes], size: int | None) -> bytes:
        try:
            return read(size)
        except TimeoutError:
            raise cherrypy.HTTPError(408, "the body did not come in time") from None
        except ValueError:
            raise cherrypy.HTTPError(400, "the body is not chunked as it should be") from None
        except (MaxSizeExceeded, OSError):
            raise cherrypy.HTTPError(413, f"the body is larger than {self._largest} bytes") from None
