"""The first line of a request: method, address and version (RFC 9112, 3)."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

_LINE = re.compile(rb"(?P<method>\S+) (?P<address>\S+) HTTP/(?P<version>[0-9]\.[0-9])\r\n")
# What nearly every line is, and read in a third of the time: nothing in its path is encoded.
_PLAIN = re.compile(rb"(GET|HEAD|POST|PUT|DELETE) ((/[!\x22$&->@-~]*)(?:\?([!\x22$-~]*))?) HTTP/(1\.[01])\r\n")
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Z-]+")  # a token (RFC 9110, 5.6.2), and never in lower case here
_ADDRESS = re.compile(rb"[\x21\x22\x24-\x7e]+")  # what can be seen of ASCII, but for #
_OF_A_PROXY = re.compile(rb"https?://(?P<host>[^/?@]+)(?P<path>/[^?]*)?(?:\?(?P<query>.*))?", re.IGNORECASE)
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.%]+\]|[^\[\]:]+)(?::[0-9]*)?")
_SLASH = re.compile(rb"%2F", re.IGNORECASE)
_VERSIONS = (b"1.0", b"1.1")


class BadLine(Exception):
    """A request line that is not understood; ``status`` and ``text`` tell the client."""

    def __init__(self, status: str, text: str) -> None:
        super().__init__(status, text)
        self.status, self.text = status, text


class RequestLine(NamedTuple):
    """The request line in its parts.

    Attributes:
        method: in upper case.
        address: as it came.
        path: decoded, but for slashes that are encoded.
        query: as it came.
        host: of an absolute address; empty otherwise.
        version: ``1.0`` or ``1.1``.

    """

    method: bytes
    address: bytes
    path: bytes
    query: bytes
    host: bytes
    version: bytes


def parsed(line: bytes) -> RequestLine:
    """The parts of a request line.

    Raises:
        BadLine

    """
    if plain := _PLAIN.fullmatch(line):
        method, address, path, query, version = plain.groups(b"")
        return RequestLine(method, address, path, query, b"", version)
    match = _LINE.fullmatch(line)
    if match is None:
        raise BadLine("400", "a request begins with a line such as 'GET /index HTTP/1.1', and it ends with CR LF")
    method, address, version = match["method"], match["address"], match["version"]
    if version not in _VERSIONS:
        raise BadLine("505", "this server speaks HTTP/1.1 and HTTP/1.0")
    if not _METHOD.fullmatch(method):
        raise BadLine("400", "a method is a word in upper case")
    if method == b"CONNECT":
        raise BadLine("405", "this server is no proxy")
    if not _ADDRESS.fullmatch(address):
        raise BadLine("400", "an address is printable ASCII without a #; encode all else as in %20")
    host, path, query = _of_a_proxy(address) if not address.startswith(b"/") else (b"", *_split(address))
    return RequestLine(method, address, _decoded(path), query, host, version)


def _split(address: bytes) -> tuple[bytes, bytes]:
    path, _, query = address.partition(b"?")
    return path, query


def _of_a_proxy(address: bytes) -> tuple[bytes, bytes, bytes]:
    """Host, path and query of an absolute address."""
    match = _OF_A_PROXY.fullmatch(address)
    if match is None or not _HOST.fullmatch(match["host"]):
        raise BadLine("400", "the address should begin with a slash, or with http:// and a host")
    return match["host"], match["path"] or b"/", match["query"] or b""


def _decoded(path: bytes) -> bytes:
    return b"%2F".join(unquote_to_bytes(part) for part in _SLASH.split(path))
