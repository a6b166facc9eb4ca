"""Streams of server-sent events: of one build, from its present state to its outcome, and of all builds for ever."""

from __future__ import annotations

import json
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from secrets import token_hex
from threading import Condition, Lock
from typing import TypeVar

from staging.errors import NotStaged
from staging.overview import BuildView
from staging.status import BuildStatus, Change, Event
from web.api.schemas import Json, cause_json

# What is remembered for clients that lost their connection; whoever comes back later is given the present state.
_EVENTS_REMEMBERED = 500  # of each build
_BUILDS_REMEMBERED = 100
_HEARTBEAT = 15.0  # seconds of silence after which a comment is sent
_NOTHING = b": still here\n\n"

View = TypeVar("View")


class EventStreams:
    """Every build's events, numbered, for any number of streams at once.

    Numbers are those of this server's run: a client that comes back to another run is given the present state.
    """

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
        self._run = token_hex(4)
        self._lock = Lock()
        self._last = 0
        self._is_closed = False
        self._logs: OrderedDict[str, _Log] = OrderedDict()
        self._of_all = _Log(self._lock, 0)

    def listen(self, status: BuildStatus, event: Event, change: Change) -> None:
        """A listener of the status board."""
        del change
        self._add(status.build, "artifact", {
            "build": status.build,
            "artifact": event.artifact,
            "state": event.state.value,
            "bytes_done": event.bytes_done,
            "bytes_total": event.bytes_total,
            "cause": cause_json(event.cause),
        })  # fmt: skip

    def listen_to_removals(self, build_path: str) -> None:
        """The same for its removals."""
        self._add(build_path, "removed", {"build": build_path})

    def close(self) -> None:
        """End the streams of all builds: the server stops."""
        with self._lock:
            self._is_closed = True
            self._of_all.changed.notify_all()

    def stream(self, build_path: str, last_id: str) -> Iterator[bytes]:
        """The stream of one build, for a client whose last event was ``last_id``, if it had any.

        Raises:
            NotStaged: nothing is known of the build.

        """
        self._view(build_path)
        with self._lock:
            log = self._log_of(build_path)
            log.followers += 1
            position = self._position_of(last_id, log)
        if position is not None:
            return self._following(build_path, log, position, [])
        position, view = self._present(log, lambda: self._view(build_path))
        return self._following(build_path, log, position, self._snapshot([view], position))

    def stream_all(self, last_id: str) -> Iterator[bytes]:
        """The stream of all builds, which begins with those that are being staged, and ends with the server."""
        log = self._of_all
        with self._lock:
            position = self._position_of(last_id, log)
        if position is not None:
            return self._following_all(position, [])
        position, views = self._present(log, self._views_under_way)
        return self._following_all(position, self._snapshot(views, position))

    def _add(self, build_path: str, kind: str, data: Json) -> None:
        with self._lock:
            self._last += 1
            message = self._id(self._last) + _message(kind, data)  # made once, for however many listen
            for log in (self._log_of(build_path), self._of_all):
                log.add(self._last, message)
                log.changed.notify_all()

    def _log_of(self, build_path: str) -> _Log:
        """The build's log; that of the build of which nothing was heard for longest gives way to a new one."""
        log = self._logs.get(build_path)
        if log is None:
            log = self._logs[build_path] = _Log(self._lock, self._last)
            if len(self._logs) > _BUILDS_REMEMBERED:
                self._forget_a_log()
        self._logs.move_to_end(build_path)
        return log

    def _forget_a_log(self) -> None:
        """Forget the log in which nothing happened for longest, of those that nobody follows."""
        for build_path, log in self._logs.items():
            if not log.followers:
                del self._logs[build_path]
                return

    def _position_of(self, last_id: str, log: _Log) -> int | None:
        """The number of the event after which a client goes on; None where that is not remembered."""
        run, _, number = last_id.partition("-")
        if run != self._run or not (number.isascii() and number.isdigit() and len(number) < len(str(2**63))):
            return None
        return int(number) if log.forgotten <= int(number) <= self._last else None

    def _present(self, log: _Log, view: Callable[[], View]) -> tuple[int, View]:
        """How things are, and the number of the last event that is in that; nothing is told twice."""
        while True:
            position = self._last
            seen = view()
            with self._lock:
                if not log.after(position):
                    return position, seen

    def _snapshot(self, views: list[BuildView], position: int) -> list[bytes]:
        """The messages that tell all of it; who has them all, and only who has, goes on behind ``position``."""
        messages = [
            _message("artifact", {
                "build": view.build_path,
                "artifact": artifact.name,
                "state": artifact.state.value,
                "bytes_done": artifact.bytes_done,
                "bytes_total": artifact.bytes_total,
                "cause": cause_json(artifact.cause),
            })
            for view in views
            for artifact in view.artifacts
        ]  # fmt: skip
        return [*messages[:-1], *(self._id(position) + message for message in messages[-1:])]

    def _following(self, build_path: str, log: _Log, position: int, first: list[bytes]) -> Iterator[bytes]:
        try:
            yield from first
            while True:
                is_under_way = self._is_under_way(build_path)  # before the events: the last of them came before its end
                with self._lock:
                    if is_under_way and not log.after(position):
                        log.changed.wait(_HEARTBEAT)
                    events = log.after(position)
                    position = events[-1][0] if events else position
                if events:
                    yield b"".join(message for _, message in events)
                elif is_under_way:
                    yield _NOTHING
                else:
                    yield self._id(position) + self._outcome(build_path)
                    return
        finally:
            with self._lock:
                log.followers -= 1

    def _outcome(self, build_path: str) -> bytes:
        try:
            view = self._view(build_path)
        except NotStaged:  # it was removed at this moment
            return _message("removed", {"build": build_path})
        return _message("outcome", {"build": build_path, "state": view.state.value, "cause": _cause_of(view)})

    def _following_all(self, position: int, first: list[bytes]) -> Iterator[bytes]:
        yield _NOTHING  # so that the client knows at once that it is connected
        yield from first
        while True:
            with self._lock:
                if not self._is_closed and not self._of_all.after(position):
                    self._of_all.changed.wait(_HEARTBEAT)
                events = self._of_all.after(position)
                position = events[-1][0] if events else position
                is_closed = self._is_closed
            yield b"".join(message for _, message in events) or _NOTHING
            if is_closed:
                return

    def _id(self, number: int) -> bytes:
        return f"id: {self._run}-{number}\n".encode()


class _Log:
    """A build's latest events, by number.

    Attributes:
        changed: is notified of every event.
        forgotten: the number of the last event that may have been this build's and is not here any more.
        followers: how many streams go on with it.

    """

    def __init__(self, lock: Lock, forgotten: int) -> None:
        self.changed = Condition(lock)
        self.forgotten = forgotten
        self.followers = 0
        self._events: deque[tuple[int, bytes]] = deque()

    def add(self, number: int, message: bytes) -> None:
        self._events.append((number, message))
        if len(self._events) > _EVENTS_REMEMBERED:
            self.forgotten = self._events.popleft()[0]

    def after(self, number: int) -> list[tuple[int, bytes]]:
        """The events after that one, the newest last."""
        if not self._events or self._events[-1][0] <= number:
            return []
        return [event for event in self._events if event[0] > number]


def _message(kind: str, data: Json) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode()


def _cause_of(view: BuildView) -> Json | None:
    if view.state.is_good:  # what somebody asked for by name beside it may have failed, and is no cause of this
        return None
    return next((cause_json(artifact.cause) for artifact in view.artifacts if artifact.cause is not None), None)
