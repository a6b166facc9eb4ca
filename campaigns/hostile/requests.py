"""Hostile requests, by kind: what stands in the request line and in the headers, as bytes for the wire."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple
from urllib.parse import quote

from tests.builds import Build
from tests.test_hostile import API, AROUND, BEARER, NO_URLS, PARAMETERS, URLS, Attack

GOOD = Build()
FILE = f"/static/{GOOD.path}/update.gz"
STAGE = f"/stage?archive_url={GOOD.url}"
BROWSER = "User-Agent: Mozilla/5.0 (X11; Linux x86_64)"
PATHS = ("/", "/check_health", FILE, "/api/v1/builds", f"/builds/{GOOD.path}", "/metrics", f"{STAGE}&artifacts=x")
HOST = "Host: devserver"


class HostileRequest(NamedTuple):
    """One request of a kind.

    Attributes:
        kind: what is wrong with it.
        content: the bytes that go over the wire.
        method: to know whether the answer has a body; empty where there is no telling.

    """

    kind: str
    content: bytes
    method: str = "GET"


Maker = Callable[[random.Random], Iterator[bytes]]


def request(target: str, *headers: str, method: str = "GET", body: bytes = b"", version: str = "HTTP/1.1") -> bytes:
    """The bytes of a request that asks for the connection to be closed; a body has its length stated."""
    lines = [f"{method} {target} {version}", "Connection: close", *headers]
    names = [line.partition(":")[0].strip().lower() for line in headers]
    if "host" not in names:
        lines.append(HOST)
    if body and not {"content-length", "transfer-encoding"} & {*names}:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body


def of_suite(attacks: Sequence[Attack]) -> Maker:
    """The requests of the test suite of the same name; but none that removes the good build, which it may where there
    are no tokens.
    """

    def make(_random: random.Random) -> Iterator[bytes]:
        for one in attacks:
            removes = (one.method, one.target) == (
                "DELETE",
                f"/api/v1/builds/{GOOD.path}",
            ) or "clean=true" in one.target
            if not removes:
                yield request(one.target, *one.headers, method=one.method, body=one.body)

    return make


def with_headers(*lines: str, paths: Sequence[str] = PATHS[:4]) -> Maker:
    """Each of the header lines, on some paths."""

    def make(_random: random.Random) -> Iterator[bytes]:
        for line in lines:
            for path in paths:
                yield request(path, *line.split("\n"))

    return make


def targets(*targets: str) -> Maker:
    """Each of the request targets."""

    def make(_random: random.Random) -> Iterator[bytes]:
        for target in targets:
            yield request(target, BEARER)

    return make


def methods(_random: random.Random) -> Iterator[bytes]:
    """Methods that no path has."""
    for method in (
        "TRACE",
        "CONNECT",
        "PROPFIND",
        "get",
        "G\tT",
        "GET/",
        "\x7f",
        "M" * 9000,
        "OPTIONS",
        "PRI",
        "DEBUG",
    ):
        for path in PATHS[:3]:
            yield request(path, method=method)


def versions(_random: random.Random) -> Iterator[bytes]:
    """Versions of HTTP that are none, or not spoken."""
    for version in ("HTTP/0.9", "HTTP/1.2", "HTTP/2.0", "HTTP/9.9", "http/1.1", "HTTP/1", "HTTP/1.1 x", "HTCPCP/1.0"):
        yield request("/", version=version)
        yield request(FILE, version=version)
    yield b"GET /\r\n\r\n"
    yield b"GET\r\n\r\n"


def old_clients(_random: random.Random) -> Iterator[bytes]:
    """HTTP/1.0, without ``Host``, as health checks of load balancers ask."""
    for path in PATHS:
        yield f"GET {path} HTTP/1.0\r\n\r\n".encode()
        yield f"GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n".encode()
        yield f"HEAD {path} HTTP/1.0\r\nConnection: close\r\n\r\n".encode()


def broken_heads(_random: random.Random) -> Iterator[bytes]:
    """Heads that end nowhere, in other ends of line, or before they begin."""
    whole = request("/check_health")
    yield from (b"\r\n" * 50 + whole, whole.replace(b"\r\n", b"\n"), whole.replace(b"\r\n", b"\r"), b"\0" * 2000)
    yield from (whole[:length] for length in (1, 10, 25, len(whole) - 1))
    yield from (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(80), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    yield from (b"\xff\xfe\xfd\r\n\r\n", b"SSH-2.0-OpenSSH_9.9\r\n", b"EHLO x\r\n\r\n", b"*1\r\n$4\r\nPING\r\n")


def large_heads(_random: random.Random) -> Iterator[bytes]:
    """Heads at, and beyond, what a head may have."""
    for size in (4_000, 9_000, 31_000, 33_000, 70_000):
        yield request(f"/check_health?x={'x' * size}")
        yield request(f"/static/{'x/' * (size // 2)}")
        yield request("/check_health", f"X-Large: {'x' * size}")
        yield request("/check_health", f"Cookie: a={'x' * size}")
    for count in (90, 101, 1000):
        yield request("/check_health", *(f"X-{number}: x" for number in range(count)))


def flipped(source: random.Random) -> Iterator[bytes]:
    """Good requests, some bytes of which became others; not those that have the connection end with the answer."""
    good = [request(path, BEARER, "Range: bytes=0-9", "Accept: application/json", BROWSER) for path in PATHS]
    for _ in range(60):
        content = bytearray(source.choice(good))
        ends = content.index(b"\r\nConnection: close\r\n")
        others = [at for at in range(len(content)) if not ends <= at < ends + len(b"\r\nConnection: close\r\n")]
        for _ in range(source.randint(1, 4)):
            content[source.choice(others)] = source.randrange(256)
        yield bytes(content)


def globs(_random: random.Random) -> Iterator[bytes]:
    """Patterns of files that take long to match, or match all."""
    for pattern in ("*?" * 10 + "X", "*" * 3000, "?" * 3000, "*a" * 400, "**/" * 200 + "x", "[" * 500, "{a}_{b}" * 100):
        yield request(f"{STAGE}&files={quote(pattern)}", BEARER)
        yield request(f"/is_staged?archive_url={GOOD.url}&files={quote(pattern)}", BEARER)


def leases(_random: random.Random) -> Iterator[bytes]:
    """Leases that are none, and leases of builds that do not come."""
    for lease in ("-1", "0", "nan", "inf", "1e400", "9" * 400, "x", "3600:" + "h" * 500, "3600:a%00b"):
        yield request(f"/download?archive_url={GOOD.url}&lease={lease}", BEARER)
    for number in range(20):
        yield request(f"/stage?archive_url=gs://{GOOD.bucket}/no/such{number}&artifacts=stateful&lease=3600", BEARER)


def path_spellings(*names: str) -> Maker:
    """Ways to spell a path out of ``/static``, or into the records."""
    spelt = [quote(name, safe="/.%\\") for name in names]
    return targets(*(f"/static/{name}" for name in spelt), *(f"/static/{GOOD.path}/{name}" for name in spelt))


_OUT = ("../" * n + "secret" for n in range(1, 6))
_RECORDS = (".devserver/manifest.json", ".devserver%2fmanifest.json", "%2edevserver/manifest.json", ".DEVSERVER/x")
_ODD_NAMES = (
    "a%00b",
    "a%0ab",
    "a%0d%0aX: y",
    "%ff",
    "%c0%ae%c0%ae/secret",
    "\u202e",
    "\\..\\secret",
    "a//b",
    "./a",
    "~",
)
_OTHER_SITES = ("Origin: http://evil.example", "Referer: http://evil.example/", "Sec-Fetch-Site: cross-site")
_CONDITIONS = ("If-Match", "If-None-Match", "If-Range", "If-Modified-Since", "If-Unmodified-Since")
_NO_DATES = ("yesterday", "Thu, 99 Foo 99999 99:99:99 GMT", '"' * 50, 'W/"x', "*, *", "9" * 3000, "\u0661")
_RANGES = ("bytes=-0", "bytes=5-1", f"bytes={'9' * 5000}-", "bytes=" + "0-0," * 2000, "bytes=a-b", "bytes=--1", "x=1-")
_COOKIES = (
    "=;=;=",
    "a b=c",
    "devserver-form=x; {}=y",
    "a={json}",
    'x="unclosed',
    "\u00fc=\u00fc",
    "a=b\x01",
    ",;,",
    "$Version=9",
)
_FORWARDED = (
    "X-Forwarded-Host: evil.example",
    "X-Forwarded-Proto: javascript",
    "X-Forwarded-For: \x00, ::ffff:1.2.3.4",
)

KINDS: dict[str, Maker] = {
    "suite: archive URLs": of_suite(URLS),
    "suite: parameters": of_suite(PARAMETERS),
    "suite: JSON API": of_suite(API),
    "suite: around the request": of_suite(AROUND),
    "methods": methods,
    "versions": versions,
    "old clients": old_clients,
    "broken heads": broken_heads,
    "large heads": large_heads,
    "flipped bytes": flipped,
    "globs": globs,
    "leases": leases,
    "paths out": path_spellings(*_OUT, *(name.replace("..", "%2e%2e") for name in ("../secret", "../../secret"))),
    "paths out, encoded twice": path_spellings("%252e%252e/secret", "..%252fsecret", "..%5csecret", "..;/secret"),
    "records": path_spellings(*_RECORDS),
    "odd names": path_spellings(*_ODD_NAMES),
    "absolute targets": targets(
        "http://evil.example/", "https://x/check_health", "//evil.example/x", "*", "evil:443", "?", "#"
    ),
    "redirects elsewhere": targets(
        "//evil.example", "/\\evil.example", f"/builds/{GOOD.path}/", "/static", "/builds//x", "/doc"
    ),
    "hosts": with_headers(
        "Host: evil.example",
        'Host: "><script>alert(1)</script>',
        "Host: a\nHost: b",
        "Host: [::1",
        "Host: :80",
        "Host: x@y",
    ),
    "browsers under another name": with_headers(*(f"Host: evil.example\n{BROWSER}\n{line}" for line in _OTHER_SITES)),
    "other sites": with_headers(
        *(f"{BROWSER}\n{line}" for line in _OTHER_SITES), paths=(f"{STAGE}&artifacts=stateful&clean=true",)
    ),
    "forwarded headers": with_headers(
        *_FORWARDED, f'Forwarded: for="{"x" * 900}"', "X-Real-IP: x", "X-Forwarded-For: " + "1.1.1.1," * 900
    ),
    "cookies": with_headers(*(f"Cookie: {cookie}" for cookie in _COOKIES)),
    "encoded words": with_headers(
        "X: =?nocharset?q?a?=", "Accept: =?utf-8?b?!!!?=", "Cookie: =?x?q?a?=", "Host: =?nocharset?q?a?="
    ),
    "ranges": with_headers(*(f"Range: {text}" for text in _RANGES), paths=(FILE, "/")),
    "conditions": with_headers(*(f"{name}: {text}" for name in _CONDITIONS for text in _NO_DATES), paths=(FILE,)),
    "what is accepted": with_headers(
        *(f"Accept: {text}" for text in ("text/html;q=NaN", ";;,,", "*" * 5000, "a/b;q=1e999", "application/json;q=-1"))
    ),
    "encodings": with_headers(
        "Accept-Encoding: gzip;q=x", "Accept-Encoding: " + "br," * 900, "Accept-Charset: nope", "TE: trailers, x;q=9"
    ),
    "expectations": with_headers("Expect: 100-Continue", "Expect: 200-ok", "Expect: ", "Expect: 100-continue, x"),
    "connections": with_headers(
        "Connection: close, Host", "Upgrade: h2c", "Upgrade: websocket\nSec-WebSocket-Key: x", "Connection: \x0b"
    ),
    "tokens": with_headers(
        *(
            f"Authorization: {text}"
            for text in ("Basic !!!", "Bearer", "Digest x", "Bearer \u00fc", "x" * 9000, "Basic " + "A" * 8000)
        )
    ),
    "header syntax": with_headers("X", ": x", "X : 1", " X: folded", "X\x00: 1", "X: a\x00b", "(): x", "X-\u2028: y"),
    "scripts in names": targets(
        *(
            f"{path}{quote('<script>alert(1)</script>')}"
            for path in ("/", "/builds/", "/static/", "/doc/", "/latestbuild?target=")
        )
    ),
    "archive elsewhere": targets(*(f"/download?archive_url={quote(url, safe='')}" for url in NO_URLS[:12])),
    "names of Python": targets(
        "/__init__", "/index/__globals__", "/download/__code__", "/_cp_config", "/api/__class__"
    ),
    "repeated parameters": targets(
        f"{STAGE}&artifacts=a&artifacts=b", "/latestbuild?target=a&target=b", "/x?" + "a=1&" * 500
    ),
    "broken escapes": targets(
        "/static/%", "/static/%zz", "/latestbuild?target=%ff%fe", "/latestbuild?target=%", "/%00", "/?%00=%00"
    ),
}


def hostile_requests(source: random.Random) -> Iterator[HostileRequest]:
    """All of them, in the order of the kinds."""
    from campaigns.hostile.bodies import BODIES

    for kind, make in {**KINDS, **BODIES}.items():
        for content in make(source):
            yield HostileRequest(kind, content, content.split(b" ", 1)[0].decode("latin-1"))
