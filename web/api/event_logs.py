"""The latest events of every build and of all, by number, for streams to follow."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from secrets import token_hex
from threading import Condition, Lock

# What is remembered for clients that lost their connection; whoever comes back later is given the present state.
_EVENTS_REMEMBERED = 500  # of each build
_BUILDS_REMEMBERED = 50  # beside those that somebody follows


class EventLogs:
    """Every build's events, numbered, for any number of followers at once.

    Numbers are those of this server's run: a client that comes back to another run is given the present state.

    Attributes:
        lock: held while any of the logs changes or is looked at; their conditions are of it.
        last: the number of the latest event of all.
        of_all: the log of all builds.

    """

    def __init__(self) -> None:
        self.lock = Lock()
        self.last = 0
        self.of_all = EventLog(self.lock, 0)
        self._run = token_hex(4)
        self._logs: OrderedDict[str, EventLog] = OrderedDict()

    def add(self, build_path: str, message: bytes) -> None:
        """Number the message, and put it into the build's log and that of all."""
        with self.lock:
            self.last += 1
            numbered = self.id_line(self.last) + message  # made once, for however many listen
            for log in (self._of(build_path), self.of_all):
                log.add(self.last, numbered)
                log.changed.notify_all()

    @contextmanager
    def followed(self, build_path: str) -> Iterator[EventLog]:
        """The build's log, which is kept for as long as somebody follows it."""
        with self.lock:
            log = self._of(build_path)
            log.followers += 1
        try:
            yield log
        finally:
            with self.lock:
                log.followers -= 1

    def position_of(self, last_id: str, log: EventLog) -> int | None:
        """The number of the event after which a client goes on; None where that is not remembered."""
        run, _, number = last_id.partition("-")
        if run != self._run or not (number.isascii() and number.isdigit() and len(number) < len(str(2**63))):
            return None
        with self.lock:
            return int(number) if log.forgotten <= int(number) <= self.last else None

    def id_line(self, number: int) -> bytes:
        """The line of a message that tells its number."""
        return f"id: {self._run}-{number}\n".encode()

    def _of(self, build_path: str) -> EventLog:
        """The build's log; where there are many, that in which nothing happened for longest gives way to a new one."""
        log = self._logs.pop(build_path, None)
        if log is None:
            if len(self._logs) >= _BUILDS_REMEMBERED:
                self._forget_one()
            log = EventLog(self.lock, self.last)
        self._logs[build_path] = log
        return log

    def _forget_one(self) -> None:
        """Forget the log in which nothing happened for longest, of those that nobody follows."""
        for build_path, log in self._logs.items():
            if not log.followers:
                del self._logs[build_path]
                return


class EventLog:
    """The latest events of a build, or of all, by number.

    Attributes:
        changed: is notified of every event.
        forgotten: the number of the last event that may have been of this log and is not here any more.
        followers: how many streams go on with it.
        is_closed: whether nobody should wait for another event.

    """

    def __init__(self, lock: Lock, forgotten: int) -> None:
        self.changed = Condition(lock)
        self.forgotten = forgotten
        self.followers = 0
        self.is_closed = False
        self._events: deque[tuple[int, bytes]] = deque()

    def add(self, number: int, message: bytes) -> None:
        """Add an event; the oldest of many is forgotten."""
        self._events.append((number, message))
        if len(self._events) > _EVENTS_REMEMBERED:
            self.forgotten = self._events.popleft()[0]

    def close(self) -> None:
        """Let nobody wait any longer."""
        with self.changed:
            self.is_closed = True
            self.changed.notify_all()

    def after(self, number: int) -> list[tuple[int, bytes]]:
        """The events after that one, the newest last."""
        if not self._events or self._events[-1][0] <= number:
            return []
        return [event for event in self._events if event[0] > number]
