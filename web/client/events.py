"""The stream of a build's events, parsed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import requests

from .answers import error_of, no_answer, object_in
from .connection import CONNECT_TIMEOUT, Access, Headers, answered

LAST_KINDS = ("outcome", "removed")
_SILENCE = 60.0  # seconds; the server says something every fifteen


class StatusEvent(NamedTuple):
    """One event of a build.

    Attributes:
        kind: ``artifact``, or for the last one ``outcome``, or ``removed`` where the build was taken away.
        data: of an artifact its name (``artifact``), ``state``, ``bytes_done``, ``bytes_total`` and ``cause``; of the
            outcome ``state`` and ``cause``.

    """

    kind: str
    data: Mapping[str, Any]


def streamed(url: str, path: str, last_id: str, headers: Headers, access: Access) -> Iterator[tuple[str, StatusEvent]]:
    """The events of one connection, behind the one that ``last_id`` names.

    Raises:
        ClientError

    """
    headers = {**headers, "Last-Event-ID": last_id} if last_id else headers
    timeout, route = (CONNECT_TIMEOUT, _SILENCE), access.route_to(url)
    with answered("GET", route, path, access, headers=headers, stream=True, timeout=timeout) as answer:
        if answer.status_code != 200:
            raise error_of(answer, route)
        if not answer.headers.get("Content-Type", "").startswith("text/event-stream"):
            raise no_answer(route)
        yield from _parsed_events(answer)


def _parsed_events(answer: requests.Response) -> Iterator[tuple[str, StatusEvent]]:
    """The events of a stream, with their numbers (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""
    fields: dict[str, str] = {}
    for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
        if not line and "data" in fields:
            data = object_in(fields["data"])
            if data is None:
                raise requests.exceptions.InvalidJSONError("an event that is none")
            yield fields.get("id", ""), StatusEvent(fields.get("event", ""), data)
        if not line:
            fields = {}
        name, _, value = line.partition(":")
        if name:
            fields[name] = value.removeprefix(" ")
