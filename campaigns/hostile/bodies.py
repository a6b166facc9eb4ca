"""Hostile requests, by kind: what stands in the body, or says how long it is."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

from campaigns.hostile.requests import GOOD, Maker, request
from tests.test_hostile import BEARER

_BUILDS = "/api/v1/builds"
_RPC = "/symbolicate_dump"
_FORM = "Content-Type: application/x-www-form-urlencoded"
_PART = b'--b\r\nContent-Disposition: form-data; name="minidump"; filename="x"\r\n\r\nx\r\n'


def posted(*bodies: bytes, content_type: str = "application/json", path: str = _BUILDS) -> Maker:
    """Each of the bodies, posted."""

    def make(_random: random.Random) -> Iterator[bytes]:
        for body in bodies:
            yield request(path, BEARER, f"Content-Type: {content_type}", method="POST", body=body)

    return make


def wrong_lengths(_random: random.Random) -> Iterator[bytes]:
    """Lengths that are none, several, or not that of the body."""
    for length in ("-1", "+5", "0x5", "5 5", "9" * 30, "", "1e3", "5, 5", "\u0665"):
        yield request(_BUILDS, BEARER, f"Content-Length: {length}", method="POST", body=b"hello")
    yield request(_BUILDS, BEARER, "Content-Length: 5", "Content-Length: 6", method="POST", body=b"hello!")
    yield request("/check_health", "Content-Length: 5", body=b"hello")


def chunked(_random: random.Random) -> Iterator[bytes]:
    """Chunks that are none, or too many, or have more beside them."""
    coding = "Transfer-Encoding: chunked"
    bodies = [
        b"zz\r\n",
        b"-1\r\nx\r\n0\r\n\r\n",
        b"5\r\nhelloXX0\r\n\r\n",
        b"f" * 40 + b"\r\n",
        b"1;" + b"e" * 9000 + b"\r\nx\r\n0\r\n\r\n",
    ]
    bodies += [
        b"0\r\nTrailer: x\r\n" * 50 + b"\r\n",
        b"1\r\nx\r\n" * 2000 + b"0\r\n\r\n",
        b"0\r\n\r\nGET /x HTTP/1.1\r\n\r\n",
    ]
    for body in bodies:
        yield request(_BUILDS, BEARER, coding, method="POST", body=body)
        yield request(_RPC, BEARER, coding, method="POST", body=body)


def smuggled(_random: random.Random) -> Iterator[bytes]:
    """Requests that two servers in a row may read as one, or as two."""
    second = b"GET /static/.devserver/secret HTTP/1.1\r\nHost: devserver\r\n\r\n"
    for coding in ("chunked", "Chunked", " chunked", "chunked, identity", "\tchunked", "x, chunked", "chunked\x0b"):
        lines = (BEARER, f"Transfer-Encoding: {coding}", "Content-Length: 4")
        yield request(_BUILDS, *lines, method="POST", body=b"0\r\n\r\n" + second)
    yield request("/check_health", "Content-Length: 0", body=second)
    yield request("/check_health", f"Content-Length: {len(second)}", body=second)


def multipart(_random: random.Random) -> Iterator[bytes]:
    """Forms of several parts: no boundary, no end, thousands of parts, names that lead elsewhere."""
    kinds = (
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=b",
        "multipart/mixed; boundary=b",
    )
    bodies = (
        b"",
        _PART,
        _PART + b"--b--\r\n",
        _PART * 3000 + b"--b--",
        _PART.replace(b'"x"', b'"../../x\0"') + b"--b--",
    )
    for kind in (*kinds, f"multipart/form-data; boundary={'b' * 5000}", 'multipart/form-data; boundary="b'):
        for body in bodies:
            yield request(_RPC, BEARER, f"Content-Type: {kind}", method="POST", body=body)


def charsets(_random: random.Random) -> Iterator[bytes]:
    """Charsets that nobody knows, or that do not fit."""
    for charset in ("nope", "utf-7", "utf-16", "idna", "rot13", "zlib", "x" * 900, '"'):
        yield request("/download", BEARER, f"{_FORM}; charset={charset}", method="POST", body=b"archive_url=%ff\xff")
        yield request(_BUILDS, BEARER, f"Content-Type: application/json; charset={charset}", method="POST", body=b"{}")


def orders(**values: object) -> list[bytes]:
    """Bodies that ask for a build to be staged, each with one of the values."""
    return [json.dumps({"archive_url": GOOD.url, name: value}).encode() for name, value in values.items()]


_WRONG = orders(artifacts=[["x"]], files=["../x"], clean="yes", lease={"seconds": -1}, async_=1, archive_url=["gs://x"])
_DEEP = (b"[" * 100_000, b'{"a":' * 50_000, b"[" * 900 + b"]" * 900)
_NUMBERS = (b"1e999", b"-" * 1000, b"9" * 100_000, b'{"archive_url": NaN}', b"Infinity")
_TEXTS = (b'"\\ud800"', b"\xff\xfe{}", b"\xef\xbb\xbf{}", b"{}\0", b"'x'", b'{"a":1,"a":2}', b"{}{}")

BODIES: dict[str, Maker] = {
    "wrong lengths": wrong_lengths,
    "chunks": chunked,
    "smuggled requests": smuggled,
    "multipart": multipart,
    "charsets": charsets,
    "JSON: wrong types": posted(*_WRONG),
    "JSON: too deep": posted(*_DEEP),
    "JSON: numbers": posted(*_NUMBERS),
    "JSON: texts": posted(*_TEXTS),
    "JSON: another type": posted(b"{}", b"<x/>", content_type="text/xml"),
    "too large": posted(b" " * 300_000, b"x=" + b"y" * 300_000, content_type="application/x-www-form-urlencoded"),
    "forms": posted(
        b"a=1&" * 5000,
        b"%",
        b"=&=&=",
        b"archive_url=%00",
        content_type="application/x-www-form-urlencoded",
        path="/download",
    ),
}
