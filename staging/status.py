"""What is known of every download: events in, states out, and whoever waits is woken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent import futures
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum
from threading import Lock
from time import time
from typing import Any

from staging.errors import CallerGone, Cancelled, DevServerError, error_from_json


class State(str, Enum):
    """Where an artifact is, or a build as a whole."""

    PENDING = "pending"
    DOWNLOADING = "downloading"
    STAGING = "staging"
    STAGED = "staged"
    FAILED = "failed"
    ABSENT = "absent"
    CANCELLED = "cancelled"

    @property
    def is_good(self) -> bool:
        """Whether there is nothing left to do, and nothing went wrong."""
        return self in (State.STAGED, State.ABSENT)

    @property
    def is_final(self) -> bool:
        """Whether a download changes it no more."""
        return self.is_good or self in (State.FAILED, State.CANCELLED)


@dataclass(frozen=True)
class Event:
    """One change of one artifact, whoever staged it and wherever.

    Attributes:
        build: the build path.
        artifact: its name in the catalogue.
        state: what it is now.
        bytes_done, bytes_total: of its objects, as fetched from the archive.
        cause: why, where it failed or was cancelled.
        note: what an operator should know of it, in a sentence.

    """

    build: str
    artifact: str
    state: State
    bytes_done: int = 0
    bytes_total: int = 0
    cause: DevServerError | None = None
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """The event as JSON-safe data."""
        return {**vars(self), "state": self.state.value, "cause": self.cause and self.cause.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Event:
        """The event that :meth:`to_json` wrote."""
        cause = error_from_json(data["cause"]) if data["cause"] else None
        return cls(**{**data, "state": State(data["state"]), "cause": cause})


Report = Callable[[Event], None]


@dataclass(frozen=True)
class Change:
    """What an event changed.

    Attributes:
        before: the artifact's event before it.
        settled_synchronous: whether it settled the outcome of the synchronous artifacts.
        settled: whether it settled that of the build.

    """

    before: Event
    settled_synchronous: bool
    settled: bool


class BuildStatus:
    """One download of one build: its artifacts' states, and those who wait for them.

    Waiting parks the caller's thread on a future that is set once, when its part of the outcome is known; events
    that only move bytes wake nobody.
    """

    def __init__(self, archive_url: str, build: str, artifacts: Mapping[str, bool]) -> None:
        """``artifacts`` maps the name of each to whether it is synchronous."""
        self.archive_url = archive_url
        self.build = build
        self.began_at = time()
        self.synchronous = frozenset(name for name, synchronous in artifacts.items() if synchronous)
        self._lock = Lock()
        self._latest = {name: Event(build, name, State.PENDING) for name in artifacts}
        self._synchronous_outcome: Future[None] = Future()
        self._outcome: Future[None] = Future()

    @property
    def artifacts(self) -> dict[str, Event]:
        """The latest event of every artifact, by name."""
        with self._lock:
            return dict(self._latest)

    @property
    def state(self) -> State:
        """The build's state, derived from its artifacts'."""
        return _derived_state(self.artifacts.values())

    @property
    def is_settled(self) -> bool:
        """Whether the outcome is known."""
        return self._outcome.done()

    def in_progress(self) -> list[str]:
        """The names of the artifacts that are being worked on."""
        return [name for name, event in self.artifacts.items() if event.state in (State.DOWNLOADING, State.STAGING)]

    def apply(self, event: Event) -> Change | None:
        """Take note of ``event`` and wake those it concerns; None where it changes nothing, a state being final."""
        with self._lock:
            before = self._latest[event.artifact]
            if before.state.is_final:
                return None
            self._latest[event.artifact] = event
            if not event.state.is_final:
                return Change(before, False, False)
            latest = list(self._latest.values())
            is_first = _settle(self._synchronous_outcome, self._first_ones(latest))
            return Change(before, is_first, _settle(self._outcome, latest))

    def begin(self) -> None:
        """Take note that the archive has the build: where no artifact is synchronous, nothing is left to wait for."""
        with self._lock:
            if not self.synchronous:
                _settle(self._synchronous_outcome, [])

    def _first_ones(self, latest: list[Event]) -> list[Event]:
        """The events that the synchronous outcome hangs on; before :meth:`begin`, any failure is one of them."""
        return [one for one in latest if one.artifact in self.synchronous or not self.synchronous]

    def wait_for_synchronous(self, timeout: float | None = None, gone: Future[None] | None = None) -> None:
        """Return once the synchronous artifacts are staged.

        Raises:
            DevServerError: the cause, if one of them failed.
            TimeoutError: after ``timeout`` seconds.
            CallerGone: once ``gone`` is done.

        """
        self._wait(self._synchronous_outcome, timeout, gone)

    def wait(self, timeout: float | None = None, gone: Future[None] | None = None) -> None:
        """Return once every artifact is staged; raises like :meth:`wait_for_synchronous`."""
        self._wait(self._outcome, timeout, gone)

    def _wait(self, outcome: Future[None], timeout: float | None, gone: Future[None] | None) -> None:
        awaited = [outcome] if gone is None else [outcome, gone]
        done = futures.wait(awaited, timeout, futures.FIRST_COMPLETED).done
        if not done:
            raise TimeoutError
        if outcome not in done:
            raise CallerGone(self.archive_url)
        error = outcome.exception()
        if isinstance(error, DevServerError):
            raise error.copy()
        if error is not None:
            raise error


Listener = Callable[[BuildStatus, Event, Change], None]


class StatusBoard:
    """The latest download of every build, and the listeners that are told of every event."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._builds: dict[str, BuildStatus] = {}
        self._listeners: list[Listener] = []
        self._readers: list[Callable[[str, str], None]] = []

    def subscribe(self, listener: Listener) -> None:
        """Call ``listener`` with every event from now on, in the thread that reports it."""
        self._listeners.append(listener)

    def subscribe_to_notes(self, reader: Callable[[str, str], None]) -> None:
        """Call ``reader`` with a build path and every sentence that an operator should know of it."""
        self._readers.append(reader)

    def note(self, build: str, text: str) -> None:
        """Tell the operator something of a build."""
        for reader in self._readers:
            reader(build, text)

    def show(self, status: BuildStatus) -> None:
        """Make ``status`` its build's latest."""
        with self._lock:
            self._builds[status.build] = status

    def latest(self, build: str) -> BuildStatus | None:
        """The latest download of the build, if this server knows one."""
        with self._lock:
            return self._builds.get(build)

    def report(self, status: BuildStatus, event: Event) -> None:
        """Apply ``event`` to ``status``, and tell the listeners if it changes anything."""
        change = status.apply(event)
        if change is not None:
            for listener in self._listeners:
                listener(status, event, change)


def _derived_state(events: Iterable[Event]) -> State:
    states = {event.state for event in events}
    for decisive in (State.FAILED, State.CANCELLED, State.STAGING, State.DOWNLOADING):
        if decisive in states:
            return decisive
    return State.PENDING if State.PENDING in states else State.STAGED


def _settle(outcome: Future[None], events: list[Event]) -> bool:
    """Set ``outcome`` if it is known by now: at the first failure, or when all is good. Whether it was set here."""
    bad = [event for event in events if event.state.is_final and not event.state.is_good]
    if outcome.done() or not (bad or all(event.state.is_good for event in events)):
        return False
    if bad:
        outcome.set_exception(bad[0].cause or Cancelled("the download was stopped"))
    else:
        outcome.set_result(None)
    return True
