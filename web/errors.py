"""Errors on the wire: which status an error has.

An archive or a build that fails is always 500: the oldest clients take 500 for "failed", and die of any other status.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import cherrypy

from staging.errors import (
    BuildBusy,
    BuildHeld,
    CallerGone,
    DevServerError,
    InternalFailure,
    NoRoom,
    NoStackwalker,
    NotUnderWay,
    OtherSite,
    Overloaded,
    RequestError,
    ScopeMissing,
    TokenNeeded,
    WaitTimedOut,
    as_devserver_error,
)
from staging.threads import in_a_line
from web import rendering
from web.access.grants import challenge
from web.error_pages import RETRY_AFTER, error_answer
from web.http.clients import TooManyWaiting
from web.parameters import check_count

_STATUSES: dict[type[DevServerError], HTTPStatus] = {
    RequestError: HTTPStatus.BAD_REQUEST,
    WaitTimedOut: HTTPStatus.GATEWAY_TIMEOUT,
    NoRoom: HTTPStatus.INSUFFICIENT_STORAGE,
    BuildBusy: HTTPStatus.CONFLICT,
    BuildHeld: HTTPStatus.CONFLICT,
    NotUnderWay: HTTPStatus.CONFLICT,
    NoStackwalker: HTTPStatus.NOT_IMPLEMENTED,
    OtherSite: HTTPStatus.FORBIDDEN,
    Overloaded: HTTPStatus.SERVICE_UNAVAILABLE,
    TokenNeeded: HTTPStatus.UNAUTHORIZED,
    ScopeMissing: HTTPStatus.FORBIDDEN,
    CallerGone: HTTPStatus.REQUEST_TIMEOUT,  # which nobody reads
    DevServerError: HTTPStatus.INTERNAL_SERVER_ERROR,
}

# What CherryPy says, with a 404, of a query string that is not UTF-8.
_UNREADABLE_QUERY = "The given query string could not be processed"


def status_of(error: DevServerError) -> HTTPStatus:
    """The HTTP status that tells a client of ``error``."""
    return next(status for kind, status in _STATUSES.items() if isinstance(error, kind))


def error_page(status: str, message: str, traceback: str, version: str) -> bytes:
    """CherryPy's hook for every answer that is an error; see ``error_page.default`` in its documentation."""
    del traceback, version
    request, response = cherrypy.serving.request, cherrypy.serving.response
    code = HTTPStatus(int(status.split()[0]))
    if message.startswith(_UNREADABLE_QUERY):
        code = HTTPStatus.BAD_REQUEST
        response.status, message = int(code), "the query is not UTF-8"
    error = getattr(request, "devserver_error", None)
    kind = error.kind if isinstance(error, DevServerError) else ""
    accept = "application/json" if _is_for_programs(request) else request.headers.get("Accept", "")
    content_type, body = error_answer(code, accept, kind, str(error) if kind else message)
    response.headers.update({**rendering.HEADERS, "Content-Type": content_type})
    if isinstance(error, DevServerError):
        response.headers.update(challenge(error))
    if code is HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = str(RETRY_AFTER)
    return body


def _is_for_programs(request: Any) -> bool:
    """Whether the request is for an address that answers in JSON alone."""
    app = getattr(request, "app", None)
    return app is not None and app.script_name.startswith("/api")


def _raise_as_http_error(handler: Callable[..., Any], *args: Any, **parameters: Any) -> Any:
    try:
        check_count(cherrypy.serving.request.params)
        return handler(*args, **parameters)
    except DevServerError as error:
        raise _http_error(error) from error
    except OSError as error:
        cause = as_devserver_error(error, cherrypy.serving.request.path_info)
        if isinstance(cause, InternalFailure):
            raise
        cherrypy.log(in_a_line(cause), "DEVSERVER")
        raise _http_error(cause) from error
    except TooManyWaiting:
        raise cherrypy.HTTPError(503, "as many clients are waiting as may; try again in a few seconds") from None


def _http_error(error: DevServerError) -> cherrypy.HTTPError:
    cherrypy.serving.request.devserver_error = error
    return cherrypy.HTTPError(int(status_of(error)), error.kind)


def _last_resort(_details: bytes | str | None = None) -> tuple[bytes, list[tuple[bytes, bytes]], list[bytes]]:
    """The answer where the page of an error failed itself: status, headers and body, as CherryPy has them."""
    code = HTTPStatus.INTERNAL_SERVER_ERROR
    content_type, body = error_answer(code, "")
    headers = {**rendering.HEADERS, "Content-Type": content_type, "Content-Length": str(len(body))}
    return f"{int(code)} {code.phrase}".encode(), [(k.encode(), v.encode()) for k, v in headers.items()], [body]


def install() -> None:
    """Make the tool ``tools.devserver_errors``, which turns this project's errors into answers."""
    cherrypy._cperror._ie_friendly_error_sizes.clear()  # no answer is padded for a browser of the last century
    cherrypy._cperror.bare_error = cherrypy._cprequest.bare_error = _last_resort  # in place of CherryPy's own page
    cherrypy.tools.devserver_errors = cherrypy._cptools.HandlerWrapperTool(
        newhandler=_raise_as_http_error, point="before_handler", name="devserver_errors"
    )
