"""What a server may answer to a hostile request, and what it may never say."""

from __future__ import annotations

import re
from collections.abc import Sequence

from campaigns.hostile.lab import SECRET_TEXT, Way
from campaigns.hostile.requests import HostileRequest
from staging.errors import error_classes
from tests.test_hostile import OF_THE_WIRE, SECRET

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")
_CAUSE = re.compile(r"(?m)^(\w+): .*\n\s*</pre>")
_DECLARED = {
    *(100, 200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308),
    *(400, 401, 403, 404, 405, 406, 408, 409, 411, 412, 413, 414, 415, 416, 417, 421, 422, 429, 431),
    *(500, 501, 502, 503, 504, 505, 507),
}
_PRECONDITION_FAILED = 412
_COMES_BACK = (502, 503, 504)
_KINDS = {*error_classes(), *OF_THE_WIRE, "HTTPVersionNotSupported", "NotRunning"} - {"InternalFailure"}
_NEVER = ("Traceback (most recent", 'File "/', "site-packages", "CherryPy", "cherrypy", "cheroot", "root:x:0", SECRET)
# Kinds of requests that do not end: a client that says so may be told nothing.
UNFINISHED = {"broken heads", "flipped bytes", "versions", "smuggled requests", "chunks", "wrong lengths"}


def problems(kind: str, answer: bytes, paths: Sequence[str], secret_text: str, method: str = "GET") -> list[str]:
    """What is wrong with the answer to a request of ``kind``, in a few words each.

    Args:
        kind: of the request.
        answer: all bytes of it.
        paths: of the host, none of which an answer may have.
        secret_text: the content of files that nobody may read.
        method: of the request.

    """
    if not answer:
        return [] if kind in UNFINISHED else ["no answer"]
    text = answer.decode("utf-8", "replace")
    found = [f"it says {word!r}" for word in (*_NEVER, *paths, secret_text) if word in text]
    if "<script>alert(1)" in text:
        found.append("a name is a script")
    match = _STATUS.match(answer)
    if match is None:
        # HTTP/0.9 has no status line, and what is no HTTP at all may be answered by TLS.
        return found if kind in UNFINISHED else [*found, f"no status line: {answer[:40]!r}"]
    status = int(match[1])
    if status not in _DECLARED:
        found.append(f"{status} is not declared")
    return found + (_of_error(status, text) if status >= 400 and method != "HEAD" else [])


def _of_error(status: int, text: str) -> list[str]:
    """What is wrong with an error page or with problem details."""
    head, _, body = text.partition("\r\n\r\n")
    if status == _PRECONDITION_FAILED and not body:  # a condition that does not hold needs no words
        return []
    if status in _COMES_BACK and "retry-after:" not in head.lower():
        return [f"{status} without Retry-After"]
    if "application/problem+json" in head:
        kinds = re.findall(r'"(?:kind|title|type)": ?"([^"]+)"', body)
    else:
        kinds = _CAUSE.findall(body)
    if not kinds:
        return [f"{status} without a cause: {body[:80]!r}"]
    if status >= 500 and not _KINDS & {kind.rpartition("/")[2] for kind in kinds}:
        return [f"{status} {kinds[0]} is not declared"]
    return []


def ask_and_judge(way: Way, request: HostileRequest, paths: Sequence[str]) -> list[str]:
    """What is wrong with the answer that the request has by that way."""
    try:
        answer = way.ask(request.content, request.kind in UNFINISHED)
    except TimeoutError:
        return ["no end of an answer"]
    except OSError as error:
        return [f"{error!r}"]
    # What goes before an answer is none.
    while answer.startswith(b"HTTP/1.1 100 "):
        answer = answer.partition(b"\r\n\r\n")[2]
    return problems(request.kind, answer, paths, SECRET_TEXT, request.method)
