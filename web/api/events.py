"""The event stream of a build: server-sent events, from its present state to its outcome."""

from __future__ import annotations

import json
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from secrets import token_hex
from threading import Condition, Lock

from staging.overview import BuildView
from staging.status import BuildStatus, Change, Event
from web.api.schemas import Json, cause_json

# What is remembered for clients that lost their connection; whoever comes back later is given the present state.
_EVENTS_REMEMBERED = 500  # of each build
_BUILDS_REMEMBERED = 100
_HEARTBEAT = 15.0  # seconds of silence after which a comment is sent


class EventStreams:
    """Every build's events, numbered, for any number of streams at once.

    Numbers are those of this server's run: a client that comes back to another run is given the present state.
    """

    def __init__(self, view: Callable[[str], BuildView]) -> None:
        """``view`` gives a build as it is now."""
        self._view = view
        self._run = token_hex(4)
        self._lock = Lock()
        self._last = 0
        self._logs: OrderedDict[str, _Log] = OrderedDict()

    def listen(self, status: BuildStatus, event: Event, change: Change) -> None:
        """A listener of the status board."""
        del change
        data = {
            "artifact": event.artifact,
            "state": event.state.value,
            "bytes_done": event.bytes_done,
            "bytes_total": event.bytes_total,
            "cause": cause_json(event.cause),
        }
        with self._lock:
            self._last += 1
            log = self._log_of(status.build)
            log.add(self._last, data)
            log.changed.notify_all()

    def stream(self, build_path: str, last_id: str) -> Iterator[bytes]:
        """The stream of one build, for a client whose last event was ``last_id``, if it had any.

        Raises:
            NotStaged: nothing is known of the build.

        """
        self._view(build_path)
        with self._lock:
            log = self._log_of(build_path)
            position = self._position_of(last_id, log)
        if position is not None:
            return self._following(build_path, log, position, [])
        position, view = self._present(build_path, log)
        return self._following(build_path, log, position, self._snapshot(view, position))

    def _log_of(self, build_path: str) -> _Log:
        """The build's log; that of the build of which nothing was heard for longest gives way to a new one."""
        log = self._logs.get(build_path)
        if log is None:
            log = self._logs[build_path] = _Log(self._lock, self._last)
            if len(self._logs) > _BUILDS_REMEMBERED:
                self._logs.popitem(last=False)
        self._logs.move_to_end(build_path)
        return log

    def _position_of(self, last_id: str, log: _Log) -> int | None:
        """The number of the event after which a client goes on; None where that is not remembered."""
        run, _, number = last_id.partition("-")
        if run != self._run or not (number.isascii() and number.isdigit() and len(number) < len(str(2**63))):
            return None
        return int(number) if log.forgotten <= int(number) <= self._last else None

    def _present(self, build_path: str, log: _Log) -> tuple[int, BuildView]:
        """The build as it is, and the number of the last event that is in that; nothing is told twice."""
        while True:
            position = self._last
            view = self._view(build_path)
            with self._lock:
                if not log.after(position):
                    return position, view

    def _snapshot(self, view: BuildView, position: int) -> list[bytes]:
        """The messages that tell all of it; who has them all, and only who has, goes on behind ``position``."""
        messages = [
            _message("artifact", {
                "artifact": artifact.name,
                "state": artifact.state.value,
                "bytes_done": artifact.bytes_done,
                "bytes_total": artifact.bytes_total,
                "cause": cause_json(artifact.cause),
            })
            for artifact in view.artifacts
        ]  # fmt: skip
        return [*messages[:-1], *(self._id(position) + message for message in messages[-1:])]

    def _following(self, build_path: str, log: _Log, position: int, first: list[bytes]) -> Iterator[bytes]:
        yield from first
        while True:
            view = self._view(build_path)  # before the events: what it knows of the outcome, they all came before
            with self._lock:
                if view.is_under_way and not log.after(position):
                    log.changed.wait(_HEARTBEAT)
                events = log.after(position)
            for position, data in events:
                yield self._id(position) + _message("artifact", data)
            if not events and not view.is_under_way:
                outcome = {"state": view.state.value, "cause": _cause_of(view)}
                yield self._id(position) + _message("outcome", outcome)
                return
            if not events:
                yield b": still here\n\n"

    def _id(self, number: int) -> bytes:
        return f"id: {self._run}-{number}\n".encode()


class _Log:
    """A build's latest events, by number.

    Attributes:
        changed: is notified of every event.
        forgotten: the number of the last event that may have been this build's and is not here any more.

    """

    def __init__(self, lock: Lock, forgotten: int) -> None:
        self.changed = Condition(lock)
        self.forgotten = forgotten
        self._events: deque[tuple[int, Json]] = deque()

    def add(self, number: int, data: Json) -> None:
        self._events.append((number, data))
        if len(self._events) > _EVENTS_REMEMBERED:
            self.forgotten = self._events.popleft()[0]

    def after(self, number: int) -> list[tuple[int, Json]]:
        """The events after that one, the newest last."""
        if not self._events or self._events[-1][0] <= number:
            return []
        return [event for event in self._events if event[0] > number]


def _message(kind: str, data: Json) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode()


def _cause_of(view: BuildView) -> Json | None:
    return next((cause_json(artifact.cause) for artifact in view.artifacts if artifact.cause is not None), None)
