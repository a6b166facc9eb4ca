"""The event stream of a build: server-sent events, from its present state to its outcome."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from secrets import token_hex
from threading import Condition

from staging.overview import BuildView
from staging.status import BuildStatus, Change, Event
from web.api.schemas import Json, cause_json

_REMEMBERED = 2000  # events of each build, for clients that lost their connection
_HEARTBEAT = 15.0  # seconds of silence after which a comment is sent


class EventStreams:
    """Every build's events, numbered, for any number of streams at once.

    Numbers are those of this server's run: a client that comes back to another run is given the present state.
    """

    def __init__(self, view: Callable[[str], BuildView]) -> None:
        """``view`` gives a build as it is now."""
        self._view = view
        self._run = token_hex(4)
        self._changed = Condition()
        self._builds: dict[str, _Log] = {}

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
        with self._changed:
            log = self._builds.setdefault(status.build, _Log())
            log.last += 1
            log.events.append((log.last, data))
            self._changed.notify_all()

    def stream(self, build_path: str, last_id: str) -> Iterator[bytes]:
        """The stream of one build, for a client whose last event was ``last_id``, if it had any.

        Raises:
            NotStaged: nothing is known of the build.

        """
        position, first = self._beginning(build_path, last_id)
        return self._following(build_path, position, first)

    def _beginning(self, build_path: str, last_id: str) -> tuple[int, list[bytes]]:
        """After which event the stream goes on, and what is sent before that."""
        with self._changed:
            log = self._builds.setdefault(build_path, _Log())
            position = log.last
            run, _, number = last_id.partition("-")
            if run == self._run and number.isdigit() and log.has_after(int(number)):
                return int(number), []
        view = self._view(build_path)
        return position, [
            self._message(position, "artifact", {
                "artifact": artifact.name,
                "state": artifact.state.value,
                "bytes_done": artifact.bytes_done,
                "bytes_total": artifact.bytes_total,
                "cause": cause_json(artifact.cause),
            })
            for artifact in view.artifacts
        ]  # fmt: skip

    def _following(self, build_path: str, position: int, first: list[bytes]) -> Iterator[bytes]:
        yield from first
        while True:
            view = self._view(build_path)
            with self._changed:
                log = self._builds[build_path]
                if log.last == position and view.is_under_way:
                    self._changed.wait(_HEARTBEAT)
                events = [(number, data) for number, data in log.events if number > position]
            for position, data in events:
                yield self._message(position, "artifact", data)
            if not events and not view.is_under_way:
                yield self._message(position, "outcome", {"state": view.state.value, "cause": _cause_of(view)})
                return
            if not events:
                yield b": still here\n\n"

    def _message(self, number: int, kind: str, data: Json) -> bytes:
        return f"id: {self._run}-{number}\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode()


@dataclass
class _Log:
    """A build's latest events, and the number of the last."""

    last: int = 0
    events: deque[tuple[int, Json]] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    def has_after(self, number: int) -> bool:
        """Whether every event after that one is remembered."""
        return number <= self.last and (number == self.last or (bool(self.events) and self.events[0][0] <= number + 1))


def _cause_of(view: BuildView) -> Json | None:
    return next((cause_json(artifact.cause) for artifact in view.artifacts if artifact.cause is not None), None)
