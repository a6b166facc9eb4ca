"""What an error looks like to its reader: a page for people and old harnesses, problem details for programs.

Clients of three generations read these pages: the cause is the last line of a ``<pre>``, as ``Kind: message``.
"""

from __future__ import annotations

import json
from html import escape
from http import HTTPStatus

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title></head>
<body>
<h1>{title}</h1>
<pre>
{cause}
</pre>
<p><a href="/">The devserver's front page</a></p>
</body>
</html>
"""

_OWN_WORDS = {
    HTTPStatus.NOT_FOUND: ("NotFound", "there is nothing at this address"),
    HTTPStatus.FORBIDDEN: ("Forbidden", "this address is not served"),
    HTTPStatus.METHOD_NOT_ALLOWED: ("MethodNotAllowed", "this address does not take that method"),
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: ("RangeNotSatisfiable", "the file has none of the bytes asked for"),
    HTTPStatus.INTERNAL_SERVER_ERROR: ("InternalFailure", "the devserver failed; its log says why"),
}


def error_answer(code: HTTPStatus, accept: str, kind: str = "", text: str = "") -> tuple[str, bytes]:
    """The type and the body of an answer that tells of an error, in what the Accept header ``accept`` prefers.

    Without ``kind``, it is told in words of the status' own.
    """
    if not kind:
        kind, text = _OWN_WORDS.get(code, (code.phrase.replace(" ", ""), text or code.description))
    if prefers_json(accept):
        return "application/problem+json", problem(code, kind, text)
    title = f"{int(code)} {code.phrase}"
    cause = escape(f"{kind}: {text}".replace("\n", " "), quote=False)
    return "text/html;charset=utf-8", _PAGE.format(title=title, cause=cause).encode()


def problem(code: HTTPStatus, kind: str, text: str) -> bytes:
    """An error as problem details (RFC 9457), whose ``type`` is that of the kind for ever."""
    details = {"type": f"urn:devserver:error:{kind}", "title": kind, "status": int(code), "detail": text}
    return json.dumps(details).encode()


def prefers_json(accept: str) -> bool:
    """Whether the client that sent this Accept header prefers JSON to HTML; who says nothing gets HTML."""
    for accepted in accept.split(","):
        kind = accepted.partition(";")[0].strip().lower()
        if kind in ("application/json", "application/problem+json"):
            return True
        if kind in ("text/html", "application/xhtml+xml"):
            return False
    return False
