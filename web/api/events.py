"""Streams of server-sent events: of one build, from its present state to its outcome, and of all builds for ever."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TypeVar

from staging.errors import NotStaged
from staging.overview import ArtifactView, BuildView
from staging.status import BuildStatus, Change, Event
from web.api.event_logs import EventLog, EventLogs
from web.api.schemas import Json, cause_json

_HEARTBEAT = 15.0  # seconds of silence after which a comment is sent
_NOTHING = b": still here\n\n"

View = TypeVar("View")


class EventStreams:
    """Every build's events, for any number of streams at once."""

    def __init__(
        self,
        view: Callable[[str], BuildView],
        is_under_way: Callable[[str], bool],
        views_under_way: Callable[[], list[BuildView]],
    ) -> None:
        """``view`` gives a build as it is now, ``is_under_way`` tells whether it is being staged, and
        ``views_under_way`` gives all that are.
        """
        self._view = view
        self._is_under_way = is_under_way
        self._views_under_way = views_under_way
        self._logs = EventLogs()

    def listen(self, status: BuildStatus, event: Event, change: Change) -> None:
        """A listener of the status board."""
        del change
        self._logs.add(status.build, _of_artifact(status.build, event.artifact, event))

    def listen_to_removals(self, build_path: str) -> None:
        """The same for its removals."""
        self._logs.add(build_path, _message("removed", {"build": build_path}))

    def close(self) -> None:
        """End the streams of all builds: the server stops."""
        self._logs.of_all.close()

    def stream(self, build_path: str, last_id: str) -> Iterator[bytes]:
        """The stream of one build, for a client whose last event was ``last_id``, if it had any.

        Raises:
            NotStaged: nothing is known of the build.

        """
        self._view(build_path)
        return self._told(build_path, last_id)

    def stream_all(self, last_id: str) -> Iterator[bytes]:
        """The stream of all builds, which begins with those that are being staged, and ends with the server; or where
        a client takes the events so slowly that some are forgotten: it comes back for the present state.
        """
        log = self._logs.of_all
        position = self._logs.position_of(last_id, log)
        if position is not None:
            return self._following_all(position, [])
        position, views = self._present(log, self._views_under_way)
        return self._following_all(position, self._snapshot(views, position))

    def _present(self, log: EventLog, view: Callable[[], View]) -> tuple[int, View]:
        """How things are, and the number of the last event that is in that; nothing is told twice."""
        while True:
            position = self._logs.last
            seen = view()
            with self._logs.lock:
                if not log.after(position):
                    return position, seen

    def _snapshot(self, views: list[BuildView], position: int) -> list[bytes]:
        """The messages that tell all of it; who has them all, and only who has, goes on behind ``position``."""
        messages = [
            _of_artifact(view.build_path, artifact.name, artifact) for view in views for artifact in view.artifacts
        ]
        return [*messages[:-1], *(self._logs.id_line(position) + message for message in messages[-1:])]

    def _told(self, build_path: str, last_id: str) -> Iterator[bytes]:
        try:
            with self._logs.followed(build_path) as log:
                yield from self._following(build_path, log, self._logs.position_of(last_id, log))
        except NotStaged:  # it was removed at this moment
            yield _message("removed", {"build": build_path})

    def _following(self, build_path: str, log: EventLog, position: int | None) -> Iterator[bytes]:
        """The events of a build behind ``position``; who does not know that, or missed some, begins with all of it."""
        while True:
            if position is None or position < log.forgotten:
                position, view = self._present(log, lambda: self._view(build_path))
                yield from self._snapshot([view], position)
            is_under_way = self._is_under_way(build_path)  # before the events: the last of them came before its end
            events = self._awaited(log, position, is_under_way)
            if events is None:
                continue
            if events:
                position = events[-1][0]
                yield b"".join(message for _, message in events)
            elif is_under_way:
                yield _NOTHING
            else:
                yield self._logs.id_line(position) + self._outcome(build_path)
                return

    def _following_all(self, position: int, first: list[bytes]) -> Iterator[bytes]:
        yield _NOTHING  # so that the client knows at once that it is connected
        yield from first
        log = self._logs.of_all
        while not log.is_closed:
            events = self._awaited(log, position, is_patient=True)
            if events is None:
                return
            position = events[-1][0] if events else position
            yield b"".join(message for _, message in events) or _NOTHING

    def _awaited(self, log: EventLog, position: int, is_patient: bool) -> list[tuple[int, bytes]] | None:
        """The events behind ``position``, waited for; none after a while, and None where some of them are forgotten."""
        with self._logs.lock:
            if is_patient and not log.is_closed and not log.after(position):
                log.changed.wait(_HEARTBEAT)
            return log.after(position) if position >= log.forgotten else None

    def _outcome(self, build_path: str) -> bytes:
        view = self._view(build_path)
        return _message("outcome", {"build": build_path, "state": view.state.value, "cause": _cause_of(view)})


def _message(kind: str, data: Json) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode()


def _of_artifact(build_path: str, name: str, told: Event | ArtifactView) -> bytes:
    """The message that tells how an artifact is."""
    return _message("artifact", {
        "build": build_path,
        "artifact": name,
        "state": told.state.value,
        "bytes_done": told.bytes_done,
        "bytes_total": told.bytes_total,
        "cause": cause_json(told.cause),
        "trouble": told.trouble,
    })  # fmt: skip


def _cause_of(view: BuildView) -> Json | None:
    if view.state.is_good:  # what somebody asked for by name beside it may have failed, and is no cause of this
        return None
    return next((cause_json(artifact.cause) for artifact in view.artifacts if artifact.cause is not None), None)
