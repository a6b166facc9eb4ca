"""Errors on the wire: which status an error has, and what its page looks like.

Clients of three generations read these pages. The cause is the last line of a ``<pre>``, as ``Kind: message``. An
archive or a build that fails is always 500: the oldest clients take 500 for "failed", and die of any other status.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from html import escape
from http import HTTPStatus
from typing import Any

import cherrypy

from staging.errors import DevServerError, RequestError, WaitTimedOut

_STATUSES: dict[type[DevServerError], HTTPStatus] = {
    RequestError: HTTPStatus.BAD_REQUEST,
    WaitTimedOut: HTTPStatus.GATEWAY_TIMEOUT,
    DevServerError: HTTPStatus.INTERNAL_SERVER_ERROR,
}

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

# What CherryPy says, with a 404, of a query string that is not UTF-8.
_UNREADABLE_QUERY = "The given query string could not be processed"

_OWN_WORDS = {
    HTTPStatus.NOT_FOUND: ("NotFound", "there is nothing at this address"),
    HTTPStatus.FORBIDDEN: ("Forbidden", "this address is not served"),
    HTTPStatus.METHOD_NOT_ALLOWED: ("MethodNotAllowed", "this address does not take that method"),
    HTTPStatus.INTERNAL_SERVER_ERROR: ("InternalFailure", "the devserver failed; its log says why"),
}


def status_of(error: DevServerError) -> HTTPStatus:
    """The HTTP status that tells a client of ``error``."""
    return next(status for kind, status in _STATUSES.items() if isinstance(error, kind))


def error_page(status: str, message: str, traceback: str, version: str) -> bytes:
    """CherryPy's hook for every answer that is an error; see ``error_page.default`` in its documentation."""
    del traceback, version
    code = HTTPStatus(int(status.split()[0]))
    if message.startswith(_UNREADABLE_QUERY):
        code = HTTPStatus.BAD_REQUEST
        cherrypy.serving.response.status = int(code)
    error = getattr(cherrypy.serving.request, "devserver_error", None)
    if isinstance(error, DevServerError):
        kind, text = error.kind, str(error)
    else:
        kind, text = _OWN_WORDS.get(code, (code.phrase.replace(" ", ""), message))
    return _render(code, kind, text).encode()


def _render(code: HTTPStatus, kind: str, text: str) -> str:
    headers = cherrypy.serving.response.headers
    headers["X-Content-Type-Options"] = "nosniff"
    if wants_json():
        headers["Content-Type"] = "application/problem+json"
        return json.dumps({"type": "about:blank", "title": kind, "status": int(code), "detail": text})
    headers["Content-Type"] = "text/html;charset=utf-8"
    title = f"{int(code)} {code.phrase}"
    cause = escape(f"{kind}: {text}".replace("\n", " "), quote=False)
    return _PAGE.format(title=title, cause=cause)


def wants_json() -> bool:
    """Whether the client prefers JSON to HTML; who says nothing gets HTML."""
    for accepted in cherrypy.serving.request.headers.elements("Accept") or []:
        if accepted.value in ("application/json", "application/problem+json"):
            return True
        if accepted.value in ("text/html", "application/xhtml+xml"):
            return False
    return False


def _raise_as_http_error(handler: Callable[..., Any], *args: Any, **parameters: Any) -> Any:
    try:
        return handler(*args, **parameters)
    except DevServerError as error:
        cherrypy.serving.request.devserver_error = error
        raise cherrypy.HTTPError(int(status_of(error)), error.kind) from error


def install() -> None:
    """Make the tool ``tools.devserver_errors``, which turns this project's errors into answers."""
    cherrypy._cperror._ie_friendly_error_sizes.clear()  # no answer is padded for a browser of the last century
    cherrypy.tools.devserver_errors = cherrypy._cptools.HandlerWrapperTool(
        newhandler=_raise_as_http_error, point="before_handler", name="devserver_errors"
    )
