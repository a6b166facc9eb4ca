"""The handler of /api/v1: finds the operation that a request is for, has it done, and answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from http import HTTPStatus
from typing import Any

import cherrypy

from staging.errors import (
    ArchiveNotAllowed,
    BuildBusy,
    BuildHeld,
    Cancelled,
    DevServerError,
    InvalidParameter,
    NoRoom,
    NoSuchLease,
    NotStaged,
    NotUnderWay,
    OtherSite,
    Overloaded,
    RequestError,
    ScopeMissing,
    TokenNeeded,
    UnknownArtifact,
)
from web.access import grants
from web.api.events import EventStreams
from web.api.openapi import document
from web.api.operations import EVENT_STREAM, OPERATIONS, PREFIX, Answer, Handlers, Operation, parsed_body
from web.api.schemas import SCHEMAS
from web.error_pages import RETRY_AFTER, problem
from web.http.clients import WaitingRoom
from web.http.gateway import SOCKET_KEY
from web.methods import refuse_encoded_body, refuse_other_sites

_STATUSES: dict[type[DevServerError], HTTPStatus] = {
    NotStaged: HTTPStatus.NOT_FOUND,
    NoSuchLease: HTTPStatus.NOT_FOUND,
    NoRoom: HTTPStatus.INSUFFICIENT_STORAGE,
    UnknownArtifact: HTTPStatus.BAD_REQUEST,
    ArchiveNotAllowed: HTTPStatus.FORBIDDEN,
    RequestError: HTTPStatus.BAD_REQUEST,
    BuildBusy: HTTPStatus.CONFLICT,
    BuildHeld: HTTPStatus.CONFLICT,
    NotUnderWay: HTTPStatus.CONFLICT,
    OtherSite: HTTPStatus.FORBIDDEN,
    Overloaded: HTTPStatus.SERVICE_UNAVAILABLE,
    TokenNeeded: HTTPStatus.UNAUTHORIZED,
    ScopeMissing: HTTPStatus.FORBIDDEN,
    Cancelled: HTTPStatus.SERVICE_UNAVAILABLE,
    DevServerError: HTTPStatus.INTERNAL_SERVER_ERROR,
}


class Api:
    """The JSON API."""

    def __init__(self, handlers: Handlers, streams: EventStreams, waiting_room: WaitingRoom, version: str) -> None:
        self._handlers = handlers
        self._streams = streams
        self._waiting_room = waiting_room
        self._document = json.dumps(document(version), indent=1).encode()
        # What a build's path ends with may be an action: the longer address comes first, and is the only one.
        operations = sorted(OPERATIONS, key=lambda operation: len(operation.path), reverse=True)
        self._routes = [(operation, _pattern(operation.path)) for operation in operations]

    @cherrypy.expose  # type: ignore[untyped-decorator]
    def default(self, *path: str, **query: Any) -> Any:
        """Answer any request below /api/v1."""
        body = self._answer_or_problem("/" + "/".join(path), query)
        if isinstance(body, bytes):  # and no stream, whose length nobody knows
            cherrypy.response.headers["Content-Length"] = str(len(body))
        return body

    def _answer_or_problem(self, address: str, query: dict[str, Any]) -> Any:
        try:
            return self._answered(address, query)
        except DevServerError as error:
            status = next(status for kind, status in _STATUSES.items() if isinstance(error, kind))
            cherrypy.response.headers.update(grants.challenge(error))
            return _problem(status, error.kind, str(error))

    def _answered(self, address: str, query: dict[str, Any]) -> Any:
        method = {"HEAD": "GET"}.get(cherrypy.request.method, cherrypy.request.method)
        if method != "GET":
            refuse_other_sites()
        if (method, address) == ("GET", "/openapi.json"):
            cherrypy.response.headers["Content-Type"] = "application/json"
            return self._document
        found = [(operation, match) for operation, pattern in self._routes if (match := pattern.fullmatch(address))]
        found = [one for one in found if one[0].path == found[0][0].path]
        for operation, match in found:
            if operation.method == method:
                return self._done(operation, match.groupdict(), query)
        if not found:
            return _problem(HTTPStatus.NOT_FOUND, "NotFound", f"there is nothing at {PREFIX}{address}")
        methods = [operation.method for operation, _ in found]
        cherrypy.response.headers["Allow"] = ", ".join([*methods, "HEAD"] if "GET" in methods else methods)
        return _problem(HTTPStatus.METHOD_NOT_ALLOWED, "MethodNotAllowed", f"{PREFIX}{address} does not take {method}")

    def _done(self, operation: Operation, in_path: dict[str, str], query: dict[str, Any]) -> Any:
        cherrypy.request.devserver_rpc = f"api.{operation.name}"
        if operation.scope:
            grants.require(operation.scope)
        known = {parameter.name for parameter in operation.parameters if not parameter.is_in_path}
        arguments: dict[str, Any] = {**in_path, **{name: value for name, value in query.items() if name in known}}
        for name, value in arguments.items():
            if not isinstance(value, str):
                raise InvalidParameter(name, "it was given more than once")
        if operation.body:
            arguments["body"] = parsed_body(SCHEMAS[operation.body], _body())
        if operation.media_type == EVENT_STREAM:
            return self._events(**arguments)
        answer: Answer = getattr(self._handlers, operation.name)(**arguments)
        cherrypy.response.status = int(answer.status)
        cherrypy.response.headers.update(answer.headers)
        if answer.body is None:
            return b""
        cherrypy.response.headers["Content-Type"] = "application/json"
        return json.dumps(answer.body).encode()

    def _events(self, build: str | None = None) -> Iterator[bytes]:
        """The event stream of a build, or of all, which holds a seat of those who wait."""
        last_id = cherrypy.request.headers.get("Last-Event-ID", "")
        streams = self._streams
        name = None if build is None else self._handlers.name_of(build)
        events = streams.stream_all(last_id) if name is None else streams.stream(name, last_id)
        # An nginx, whoever set it up, gathers what it passes on to pieces of some kilobytes unless it is told not to.
        unbuffered = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        cherrypy.response.headers.update({"Content-Type": EVENT_STREAM, **unbuffered})
        if cherrypy.request.method == "HEAD":
            return iter(())
        client = cherrypy.serving.request.wsgi_environ[SOCKET_KEY]
        return _Seated(events, self._waiting_room.seat(client))


class _Seated:
    """An iterator that holds a seat until it is closed, also where nobody ever asks it for anything."""

    def __init__(self, pieces: Iterator[bytes], seat: AbstractContextManager[Any]) -> None:
        self._pieces = pieces
        self._stack = ExitStack()
        self._stack.enter_context(seat)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._pieces)

    def close(self) -> None:
        """Give the seat back, and end what the pieces come from."""
        self._stack.close()
        getattr(self._pieces, "close", lambda: None)()


def _body() -> bytes:
    refuse_encoded_body()
    return bytes(cherrypy.request.rfile.read())


def _problem(status: HTTPStatus, kind: str, text: str) -> bytes:
    cherrypy.response.status = int(status)
    cherrypy.response.headers["Content-Type"] = "application/problem+json"
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        cherrypy.response.headers["Retry-After"] = str(RETRY_AFTER)
    return problem(status, kind, text)


def _pattern(path: str) -> re.Pattern[str]:
    """What the addresses of an operation look like; a build path may hold slashes, as they are or encoded.

    Nothing else does: two parts of any length would be looked for in every way that an address can be divided.
    """
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path.replace("{build}", "(?P<build>.+?)")))
