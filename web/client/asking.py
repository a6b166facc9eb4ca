"""One request, made until there is an answer: of the devserver that has the build, or of the next."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, TypeVar

import requests

from .addresses import shown
from .answers import error_of, no_answer, object_in
from .connection import CONNECT_TIMEOUT, Access, Headers, answered
from .devservers import Devservers
from .errors import (
    ClientError,
    NoDownload,
    NotHere,
    ServerBusy,
    ServerUnreachable,
    Silent,
    StillStaging,
)
from .events import LAST_KINDS, StatusEvent, streamed
from .retry import Retry
from .ring import key_of

ANSWER_TIMEOUT = 60.0  # seconds, of what does not wait for anything
_API = "/api/v1"
_HEADER = re.compile(rb"[^\x00-\x20\x7f]+")  # what may be in a header; a build with more is told apart by its URL
_NOT_IN_AN_ID = re.compile(r"[^A-Za-z0-9._:/@+=-]")  # what a devserver would put a _ for as well
T = TypeVar("T")


class Asking:
    """Asks devservers, for as long as they may be away.

    ``build``, a build path or an archive URL, says which of them is asked first; without one, it is the first that is
    well. One that cannot be reached gives way to the next, as does one that knows nothing of the build; one that has no
    room does not.
    """

    def __init__(self, urls: Sequence[str], patience: float, request_id: str, access: Access) -> None:
        """All of it is described at the client's own constructor."""
        self.devservers = Devservers(urls, access)
        self._patience = patience
        self._request_id = request_id
        self._access = access

    def each(self) -> list[Asking]:
        """One for each devserver; of several, none is waited for."""
        urls = self.devservers.all()
        if len(urls) == 1:
            return [self]
        return [Asking([url], 0.0, self._request_id, self._access) for url in urls]

    @property
    def first_url(self) -> str:
        """The URL of its devserver, where it is one; of several, of the first that was given."""
        return self.devservers.all()[0]

    def json(self, method: str, path: str, member: str = "", build: str = "", **request: Any) -> Any:
        """What the JSON API answers: an object that has this ``member``, or nothing where none is named."""

        def is_one(answer: requests.Response) -> bool:
            content = object_in(answer.content or b"{}")
            return content is not None and (not member or member in content)

        try:
            answer = self.answer(method, _API + path, ANSWER_TIMEOUT, build, is_one, **request)
        except StillStaging:
            raise ServerUnreachable(f"{self} does not answer") from None
        return object_in(answer.content or b"{}")

    def answer(
        self,
        method: str,
        path: str,
        timeout: float | None,
        build: str,
        is_one: Callable[[requests.Response], bool],
        **request: Any,
    ) -> requests.Response:
        """The answer to a request; where nobody is there, or has room, it is made again for a while.

        ``is_one`` says of what looks like a success whether it is a devserver's.
        """
        retry, named = Retry(timeout, self._patience), self._headers(build)

        def ask(url: str) -> requests.Response:
            left = retry.seconds_left()
            connecting = CONNECT_TIMEOUT if left is None else min(CONNECT_TIMEOUT, left)
            options = {"headers": named, "timeout": (connecting, left), **request}
            route = self._access.route_to(url)
            try:
                with answered(method, route, path, self._access, **options) as answer:
                    if not 200 <= answer.status_code < 300:
                        raise error_of(answer, route)
                    if not is_one(answer):
                        raise no_answer(route)
                    return answer
            except Silent:
                raise StillStaging(f"no answer after {timeout:g} s; the devserver goes on") from None

        while True:
            try:
                return self._asked(build, ask)
            except (ServerUnreachable, ServerBusy) as error:
                retry.wait_after(error)

    def events(self, path: str, build: str) -> Iterator[StatusEvent]:
        """The events of the JSON API's stream at ``path``, to the last one; what breaks off is gone on with."""
        last_id, named = "", self._headers(build)
        retry = Retry(None, self._patience)
        while True:
            ask = partial(self._stream, path=path, last_id=last_id, headers=named)
            try:
                for identity, event in self._asked(build, ask):
                    last_id = identity or last_id
                    retry = Retry(None, self._patience)
                    yield event
                    if event.kind in LAST_KINDS:
                        return
            except (ServerUnreachable, ServerBusy) as error:
                retry.wait_after(error)
            except NotHere as error:
                if not last_id:
                    raise
                retry.wait_after(error)  # who knows the build may be starting anew

    def _asked(self, build: str, ask: Callable[[str], T]) -> T:
        """What ``ask`` brings of the first devserver, by its URL, that is there and knows of the build."""
        first: ClientError | None = None
        for url in self.devservers.to_ask(build):
            try:
                return ask(url)
            except ServerUnreachable as error:
                self.devservers.lost(url)
                first = first or error
            except (NotHere, NoDownload) as error:
                first = first or error
        raise first or ServerUnreachable(f"{self} cannot be reached")

    def _stream(self, url: str, path: str, last_id: str, headers: Headers) -> Iterator[tuple[str, StatusEvent]]:
        """The events of one devserver; the first is here when this returns, and who breaks off is lost."""

        def events() -> Iterator[tuple[str, StatusEvent]]:
            try:
                yield from streamed(url, f"{_API}{path}", last_id, headers, self._access)
                error = ServerUnreachable(f"{shown(url)} ended the stream")
            except ServerUnreachable as cause:
                error = cause
            self.devservers.lost(url)
            raise error

        stream = events()
        return chain([next(stream)], stream)

    def _headers(self, build: str) -> Headers:
        """What names one call, however often it is tried, and for a web server in front, its build."""
        headers: Headers = {"X-Request-ID": _NOT_IN_AN_ID.sub("_", self._request_id) or secrets.token_hex(6)}
        key = key_of(build).encode(errors="replace")
        return {**headers, "X-Build-Path": key} if _HEADER.fullmatch(key) else headers

    def __str__(self) -> str:
        return ", ".join(map(shown, self.devservers.all()))
