"""A client of the devserver, for test harnesses: ``Client("http://devserver:8080").download("gs://...")``."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from html import unescape
from typing import Any, NamedTuple
from urllib.parse import quote

import requests

_CONNECT_TIMEOUT = 10.0  # seconds
_ANSWER_TIMEOUT = 60.0  # seconds, of what does not wait for anything
_TRIES = 5  # of a request that found no server, or one without room
_LONGEST_PAUSE = 10.0  # seconds between two of them
_STREAM_SILENCE = 60.0  # seconds; the server says something every fifteen
_CAUSE = re.compile(r"(?m)^(.*)\n\s*</pre>")


class ClientError(Exception):
    """Anything that went wrong, as one line."""


class ServerUnreachable(ClientError):
    """The devserver cannot be reached, or broke off."""


class ServerBusy(ClientError):
    """The devserver has no room for another client that waits."""


class RequestRefused(ClientError):
    """The request is wrong: asking again changes nothing."""


class StagingFailed(ClientError):
    """The build cannot be staged; the text begins with the kind of the cause."""


class StillStaging(ClientError):
    """The time that the caller gave was not enough; the devserver goes on."""


class StatusEvent(NamedTuple):
    """One event of a build.

    Attributes:
        kind: ``artifact``, or ``outcome`` for the last one.
        data: of an artifact its name (``artifact``), ``state``, ``bytes_done``, ``bytes_total`` and ``cause``; of the
            outcome ``state`` and ``cause``.

    """

    kind: str
    data: Mapping[str, Any]


class Client:
    """Asks one devserver. Any number of threads may use one client."""

    def __init__(self, url: str) -> None:
        """``url`` is the devserver's: ``http://devserver:8080``."""
        self._url = url.rstrip("/")

    def download(self, archive_url: str, timeout: float | None = None) -> None:
        """Stage a build; returns once what a device needs first is staged.

        Raises:
            StagingFailed, RequestRefused, ServerUnreachable, ServerBusy
            StillStaging: ``timeout`` seconds were not enough.

        """
        self._ask("/download", {"archive_url": archive_url}, timeout)

    def wait_for_status(self, archive_url: str, timeout: float | None = None) -> None:
        """Return once all of a build is staged; raises like :meth:`download`."""
        limit = {} if timeout is None else {"timeout": f"{timeout:g}"}
        longest = None if timeout is None else timeout + _ANSWER_TIMEOUT
        self._ask("/wait_for_status", {"archive_url": archive_url, **limit}, longest)

    def stage(
        self,
        archive_url: str,
        artifacts: Sequence[str] = (),
        files: Sequence[str] = (),
        clean: bool = False,
        in_background: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Stage what is named of a build; returns once it is, or at once with ``in_background``.

        Raises like :meth:`download`.
        """
        options = {"clean": str(clean), "async": str(in_background)}
        self._ask("/stage", {**_named(archive_url, artifacts, files), **options}, timeout)

    def is_staged(self, archive_url: str, artifacts: Sequence[str] = (), files: Sequence[str] = ()) -> bool:
        """Whether what is named of a build is staged.

        Raises:
            StagingFailed: the last attempt to stage a part of it failed.
            RequestRefused, ServerUnreachable, ServerBusy

        """
        return self._ask("/is_staged", _named(archive_url, artifacts, files), _ANSWER_TIMEOUT) == "True"

    def events(self, build_path: str) -> Iterator[StatusEvent]:
        """The events of a build, from its present state to its outcome; a stream that breaks off is gone on with.

        Raises:
            RequestRefused: nothing is known of the build.
            ServerUnreachable: for longer than a few tries.

        """
        address = f"{self._url}/api/v1/builds/{quote(build_path, safe='')}/events"
        last_id, failures = "", 0
        while True:
            try:
                for identity, event in _streamed(address, last_id):
                    last_id, failures = identity or last_id, 0
                    yield event
                    if event.kind == "outcome":
                        return
                cause: Exception = ServerUnreachable("it ended the stream")
            except (requests.RequestException, ServerBusy) as error:
                cause = error
            failures += 1
            if failures == _TRIES:
                raise ServerUnreachable(f"{self._url} cannot be reached: {type(cause).__name__}") from cause
            time.sleep(_pause(failures))

    def _ask(self, method: str, query: Mapping[str, str], timeout: float | None) -> str:
        """The text of the answer; a server that is not there, or has no room, is asked again a few times."""
        deadline = None if timeout is None else time.monotonic() + timeout
        failures = 0
        while True:
            left = None if deadline is None else max(0.001, deadline - time.monotonic())
            try:
                answer = requests.get(self._url + method, query, timeout=(_CONNECT_TIMEOUT, left))
                if answer.status_code == 200:
                    return answer.text
                error = _error_of(answer)
            except requests.ReadTimeout:
                raise StillStaging(f"no answer after {timeout:g} s; the devserver goes on") from None
            except requests.RequestException as cause:
                error = ServerUnreachable(f"{self._url} cannot be reached: {type(cause).__name__}")
            failures += 1
            if failures == _TRIES or not isinstance(error, ServerUnreachable | ServerBusy):
                raise error
            time.sleep(_pause(failures))


def _named(archive_url: str, artifacts: Sequence[str], files: Sequence[str]) -> dict[str, str]:
    return {"archive_url": archive_url, "artifacts": ",".join(artifacts), "files": ",".join(files)}


def _pause(failures: int) -> float:
    return min(0.5 * 2.0 ** (failures - 1), _LONGEST_PAUSE)


def _error_of(answer: requests.Response) -> ClientError:
    """What an answer that is an error says, on whichever of the two kinds of page."""
    if "json" in answer.headers.get("Content-Type", ""):
        details = answer.json()
        cause = f"{details.get('title', '')}: {details.get('detail', '')}"
    else:
        match = _CAUSE.search(answer.text)
        cause = unescape(match[1]) if match else f"status {answer.status_code}"
    if answer.status_code == 503:
        return ServerBusy(cause)
    if answer.status_code == 504:
        return StillStaging(cause)
    return StagingFailed(cause) if answer.status_code >= 500 else RequestRefused(cause)


def _streamed(address: str, last_id: str) -> Iterator[tuple[str, StatusEvent]]:
    """The events of one connection, behind the one that ``last_id`` names."""
    headers = {"Last-Event-ID": last_id} if last_id else {}
    with requests.get(address, headers=headers, stream=True, timeout=(_CONNECT_TIMEOUT, _STREAM_SILENCE)) as answer:
        if answer.status_code != 200:
            raise _error_of(answer)
        yield from _parsed_events(answer)


def _parsed_events(answer: requests.Response) -> Iterator[tuple[str, StatusEvent]]:
    """The events of a stream, with their numbers (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""
    fields: dict[str, str] = {}
    for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
        if not line and "data" in fields:
            yield fields.get("id", ""), StatusEvent(fields.get("event", ""), json.loads(fields["data"]))
        if not line:
            fields = {}
        name, _, value = line.partition(":")
        if name:
            fields[name] = value.removeprefix(" ")
