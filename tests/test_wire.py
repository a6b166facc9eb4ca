"""Whatever bytes come over the wire, each answer is the devserver's own, with a status, a cause, and no insides."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import pytest

from tests.servers import PROJECT, DevServer

CRLF = b"\r\n"
HOST = b"Host: localhost"
FORM = b"Content-Type: application/x-www-form-urlencoded"
# Words and places that no answer has.
TELLING = (b"CherryPy", b"cheroot", b"Cheroot", b"Traceback", b"site-packages", b"Python/", str(PROJECT).encode())
CAUSE = re.compile(rb"<pre>[^<]*\n(?P<kind>[A-Z]\w+): [^\n]+\n</pre>")


class Answer(NamedTuple):
    """One answer as it came."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


class Case(NamedTuple):
    """What is sent, and the status that it should have; 0 where the connection is closed without a word."""

    status: int
    sent: bytes


def get(
    status: int,
    *lines: bytes,
    target: bytes = b"/check_health",
    method: bytes = b"GET",
    version: bytes = b"HTTP/1.1",
    host: bytes = HOST,
) -> Case:
    head = [method + b" " + target + b" " + version, *([host] if host else []), *lines, b"Connection: close"]
    return Case(status, CRLF.join([*head, b"", b""]))


def post(status: int, body: bytes, *lines: bytes, target: bytes = b"/builds/target/version") -> Case:
    case = get(status, *lines, b"Content-Length: %d" % len(body), target=target, method=b"POST")
    return Case(status, case.sent + body)


def cookie(status: int, text: bytes, target: bytes = b"/") -> Case:
    return get(status, b"Cookie: " + text, target=target)


PAGES = (b"/", b"/check_health", b"/api/v1/builds", b"/index", b"/metrics", b"/static/", b"/doc/stage")
ODD_COOKIES = (
    b"a[b]=c",
    b"$Version=1; x=y",
    b"path=/x",
    b"expires=now",
    b"a=\xff\xfe",
    b'a="\\400"',
    b"\xc3\xbc=1",
    b"=;=;=",
    b";;;",
    b"a=b" * 900,
    b"{}={}",
    b"a b=c; d=e",
    b"form:tree-hi=1",
    b"SM#/#smFieldset=x",
    b"__utmzz=utmcsr=(direct)|utmcmd=(none)|utmccn=(not set)",
)
ENCODED_WORDS = (b"=?nocharset?q?a?=", b"=?utf-8?b?!!!?=", b"=?idna?q?=ff?=", b"=?utf-8?q?=ff=fe?=", b"=?x?x?x?=")
CASES = {
    **{f"cookie {text[:20]!r} at {page!r}": cookie(200, text, page) for text in ODD_COOKIES for page in PAGES},
    **{
        f"{name!r}: {word!r} at {page!r}": get(200, name + b": " + word, target=page)
        for name in (b"X-Lab", b"User-Agent", b"Accept", b"X-Request-Id", b"Content-Type")
        for word in ENCODED_WORDS
        for page in PAGES[:4]
    },
    "an encoded word as a host": get(200, host=b"Host: =?nocharset?q?a?="),
    **{f"no host at {page!r}": get(400, host=b"", target=page) for page in PAGES},
    "no host in HTTP/1.0": get(200, host=b"", version=b"HTTP/1.0"),
    "an empty host": get(200, host=b"Host:"),
    "two hosts": get(400, b"Host: other"),
    **{
        f"version {version!r}": get(status, version=version)
        for status, version in (
            (505, b"HTTP/2.0"),
            (505, b"HTTP/0.9"),
            (505, b"HTTP/1.2"),
            (400, b"HTTP/1"),
            (400, b"HTTP/1.1.1"),
            (400, b"HTTP/1.x"),
            (400, b"HTTP/+1.1"),
            (400, b"HTTP/01.1"),
            (400, b"HTTP/1.01"),
            (400, b"HTTP/-1.1"),
            (400, b"HTTP/" + b"9" * 5000 + b".1"),
            (400, b"HTTP/1.\xd9\xa1"),
            (400, b"FTP/1.1"),
            (400, b"http/1.1"),
        )
    },
    "the old simple request": Case(400, b"GET /\r\n\r\n"),
    "the preface of HTTP/2": Case(505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "a hello of TLS": Case(400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) + b"\r\n"),
    "noise": Case(400, bytes(range(128, 256)) + b"\r\n\r\n"),
    "bare line feeds": Case(400, b"GET / HTTP/1.1\nHost: x\n\n"),
    "nothing but empty lines": Case(400, b"\r\n\r\n\r\n"),
    "a proxy's greeting": Case(400, b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    **{
        f"target {target[:40]!r}": get(status, target=target)
        for status, target in (
            (404, b"//["),
            (200, b"//check_health"),
            (400, b"http://["),
            (400, b"http://[::1/"),
            (404, b"//[x]/"),
            (400, b"http://x]y/"),
            (400, b"*"),
            (400, b"check_health"),
            (400, b"javascript:alert(1)"),
            (400, b"ftp://x/check_health"),
            (400, b"file:///check_health"),
            (200, b"http://devserver/check_health"),
            (200, b"HTTP://devserver:80/check_health"),
            (400, b"http:///check_health"),
            (400, b"http://user@devserver/check_health"),
            (404, b"/%"),
            (404, b"/%zz"),
            (404, b"/%ff%fe"),
            (400, b"/\xff\xfe"),
            (400, b"/nothing?a=%FF"),
            (400, b"/check_health?a=%FF"),
            (400, b"/check_health?%FF"),
            (400, b"/check_health?\xff=1"),
            (200, b"/check_health?a=%"),
            (200, b"/check_health?a=%zz&&&==&=1"),
            (200, b"/check_health?self=1"),
            (404, b"/doc/%FF"),
            (404, b"/static/%FF"),
            (404, b"/static/%00"),
            (404, b"/builds/%FF%FE"),
            (404, b"/api/v1/%FF"),
            (400, b"/api/v1/builds?a=%FF"),
            (404, b"/assets/%FF"),
            (404, b"/assets/%00"),
            (404, b"/assets/" + b"x" * 5000),
            (404, b"/" + b"x/" * 9000),
            (404, b"/favicon.ico/x"),
        )
    },
    **{
        f"method {method!r}": get(status, method=method)
        for status, method in (
            (405, b"CONNECT"),
            (405, b"OPTIONS"),
            (405, b"TRACE"),
            (405, b"BREW"),
            (400, b"get"),
            (400, b"G\xffT"),
            (400, b"G(T"),
            (400, b"\x00"),
            (405, b"G" * 3000),
        )
    },
    "CONNECT to a host": get(405, target=b"devserver:80", method=b"CONNECT"),
    "OPTIONS of all": get(400, target=b"*", method=b"OPTIONS"),
    **{
        f"expectation {text!r} in {version!r}": get(status, b"Expect: " + text, version=version)
        for status, text, version in (
            (100, b"100-continue", b"HTTP/1.1"),
            (100, b"100-Continue", b"HTTP/1.1"),
            (100, b"100-CONTINUE ", b"HTTP/1.1"),
            (200, b"100-continue", b"HTTP/1.0"),
            (200, b"100-Continue", b"HTTP/1.0"),
            (417, b"200-ok", b"HTTP/1.1"),
            (417, b"100-continue, x", b"HTTP/1.1"),
            (417, b"x", b"HTTP/1.0"),
            (200, b"", b"HTTP/1.1"),
        )
    },
    "an expectation before a length that is none": get(400, b"Expect: 100-continue", b"Content-Length: x"),
    "two expectations": get(400, b"Expect: 100-continue", b"Expect: 100-continue"),
    **{
        f"coding {text!r}": get(status, b"Transfer-Encoding: " + text, method=b"POST", target=b"/builds/a/b")
        for status, text in (
            (501, b"gzip"),
            (501, b"identity"),
            (501, b"x" * 4000),
            (501, b"\xff"),
            (501, b'"chunked"'),
            (400, b"chunked, chunked"),
            (400, b","),
        )
    },
    **{
        f"chunks {body[:30]!r}": Case(
            status,
            get(0, FORM, b"Transfer-Encoding: chunked", method=b"POST", target=b"/builds/a/b").sent + body,
        )
        for status, body in (
            (400, b"x\r\n"),
            (400, b"-1\r\n"),
            (400, b"1\r\nab\r\n0\r\n\r\n"),
            (400, b"1;x=\xff\r\n"),
            (400, b"\r\n"),
            (400, b"3\r\na=b\r\n0\r\nTrailer: x\r\n\r\n"),
        )
    },
    **{
        f"body of {kind!r}": post(status, body, b"Content-Type: " + kind)
        for status, kind, body in (
            (400, b"multipart/form-data", b"--x\r\n\r\n\r\n--x--\r\n"),
            (400, b"multipart/form-data; boundary=", b"x"),
            (400, b"multipart/form-data; boundary=\xff", b"x"),
            (400, b"multipart/form-data; boundary=" + b"x" * 300, b"x"),
            (400, b"multipart/mixed", b"x"),
            (400, b"multipart", b"x"),
            (400, b"multipart/form-data; boundary=x", b"--x\r\n"),
            (400, b"multipart/form-data; boundary=x", b"--x\r\nno header\r\n\r\n\r\n--x--\r\n"),
            (400, b"multipart/form-data; boundary=x", b"--x\n\n--x--\n"),
            (
                400,
                b"multipart/form-data; boundary=x",
                b"--x\r\nContent-Disposition: form-data; name=a; filename*=x\r\n\r\n1\r\n--x--\r\n",
            ),
            (
                400,
                b"multipart/form-data; boundary=x",
                b"--x\r\nContent-Type: text/plain; charset=no\r\nContent-Disposition: x; name=a\r\n\r\n1\r\n--x--",
            ),
            (400, b"multipart/form-data; boundary=x", b"--x\r\n\r\n\r\n" * 20_000 + b"--x--\r\n"),
            (400, b"multipart/form-data; boundary=x", b"--x\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n" * 90),
            (400, b"application/x-www-form-urlencoded; charset=nope", b"a=b"),
            (400, b"application/x-www-form-urlencoded; charset=undefined", b"a=b"),
            (400, b"application/x-www-form-urlencoded; charset=hex", b"a=b"),
            (400, b"application/x-www-form-urlencoded; charset=\xff", b"a=b"),
            (400, b'application/x-www-form-urlencoded; charset="', b"a=b"),
            (400, b"application/x-www-form-urlencoded", b"a=%FF"),
            (400, b"application/x-www-form-urlencoded", b"&".join(b"p%d=" % number for number in range(20_000))),
            (400, b"application/json", b"{"),
            (400, b"\xff/\xff;;;=", b"x"),
            (400, b"", b"x"),
            (400, b";", b"x"),
        )
    },
    "a disposition of a request": get(200, b"Content-Disposition: x; filename*=x"),
    **{
        f"{name!r}: {text[:30]!r} at {page!r}": get(status, name + b": " + text, target=page)
        for page in (b"/static/", b"/assets/devserver.css", b"/", b"/favicon.ico")
        for status, name, text in (
            (200, b"Accept", b"text/html;q=NaN"),
            (200, b"Accept", b"*/*;q=x, ,;;=,"),
            (200, b"Accept-Encoding", b"gzip;q=NaN, identity;q=0"),
            (200, b"Accept-Charset", b"nope;q=x"),
            (200, b"If-Modified-Since", b"yesterday"),
            (200, b"If-Modified-Since", b"Thu, 99 Foo 99999 99:99:99 GMT"),
            (200, b"If-None-Match", b'W/"'),
            (200, b"Authorization", b"Basic \xff"),
            (200, b"Authorization", b"Digest username="),
            (200, b"Authorization", b"Bearer"),
            (200, b"Referer", b"http://["),
            (200, b"Origin", b"http://[x"),
            (200, b"X-Forwarded-Proto", b"javascript"),
            (200, b"X-Forwarded-Host", b"[" * 50),
            (200, b"X-Forwarded-For", b"\xff,,,"),
            (200, b"Connection", b"Host, close"),
            (200, b"Upgrade", b"h2c"),
            (200, b"Sec-WebSocket-Key", b"x"),
        )
    },
    **{
        f"range {text[:30]!r} at {page!r}": get(200, b"Range: " + text, target=page)
        for page in (b"/assets/devserver.css", b"/favicon.ico")
        for text in (
            b"bytes=a-b",
            b"bytes=-",
            b"bytes=1",
            b"bytes=" + b"0-," * 600,
            b"bytes=" + b"9" * 5000 + b"-",
            b"x",
        )
    },
    "a page of another site with an address that is none": get(
        403,
        b"User-Agent: Mozilla/5.0",
        b"Referer: http://[",
        target=b"/download?archive_url=gs://a/b/c",
        host=b"Host: [::1]",
    ),
    "a head of a bad request": get(400, b"Bad header", method=b"HEAD"),
    "a head of nothing": get(404, target=b"/nothing", method=b"HEAD"),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    server = DevServer(tmp_path_factory.mktemp("wire"))
    yield server
    server.close()


def sent(server: DevServer, data: bytes) -> bytes:
    """All that comes back, once the client has said that it will send no more."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        with suppress(OSError):
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(65536), b""))


def parsed(answer: bytes) -> Answer:
    head, separator, body = answer.partition(CRLF * 2)
    first, *lines = head.split(CRLF)
    match = re.fullmatch(rb"HTTP/1\.1 (\d{3}) [ -~]+", first)
    assert match, answer[:500]
    assert separator, answer[:500]
    headers = dict(line.lower().split(b": ", 1) for line in lines)
    if headers.get(b"transfer-encoding") == b"chunked":
        body = b"".join(body.split(CRLF)[1::2])
        headers[b"content-length"] = b"%d" % len(body)
    return Answer(int(match[1]), headers, body)


def check_cause(answer: Answer) -> None:
    """Assert that an error is told as all are."""
    if answer.headers[b"content-type"] == b"application/problem+json":
        assert {"type", "title", "status", "detail"} <= set(json.loads(answer.body))
    else:
        assert CAUSE.search(answer.body), answer.body[:1000]


@pytest.mark.parametrize("name", CASES)
def test_every_answer_is_the_devservers_own(server: DevServer, name: str) -> None:
    case = CASES[name]
    answer = sent(server, case.sent)
    assert not [word for word in TELLING if word in answer], answer[:2000]
    found = parsed(answer)
    assert found.status == case.status, answer[:2000]
    if found.status >= 400 and not case.sent.startswith(b"HEAD "):
        check_cause(found)
        assert int(found.headers[b"content-length"]) == len(found.body)
    if case.sent.startswith(b"HEAD "):
        assert found.body == b""


def test_nothing_of_it_is_a_failure_in_the_log(server: DevServer) -> None:
    for case in CASES.values():
        sent(server, case.sent)
    assert "Traceback" not in server.log
    assert "Error" not in server.log.replace(str(PROJECT), "")
