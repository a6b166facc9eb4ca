"""What is known of one download: events in, states out, and whoever waits is woken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent import futures
from concurrent.futures import Future
from dataclasses import dataclass, replace
from enum import Enum
from threading import Lock
from time import monotonic
from typing import Any

from staging.clock import CLOCK
from staging.errors import CallerGone, Cancelled, DevServerError
from staging.records.decoding import Count, Text, as_data


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
        bytes_fetched: that came from the archive in this download: more than ``bytes_done`` where some came twice,
            fewer where some were there already, or came from peers.
        bytes_from_peers: that came from other devservers instead.
        retry: the kind of the error after which something is tried again.
        trouble: what is being tried again at the moment, and why; empty where all goes well.

    """

    build: Text
    artifact: Text
    state: State
    bytes_done: Count = 0
    bytes_total: Count = 0
    cause: DevServerError | None = None
    note: Text = ""
    bytes_fetched: Count = 0
    bytes_from_peers: Count = 0
    retry: Text = ""
    trouble: Text = ""

    def to_json(self) -> Any:
        """The event as JSON-safe data."""
        return as_data(self)


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
    """One download of one build: the states of the artifacts it stages, and those who wait for them.

    Waiting parks the caller's thread on a future that is set once, when its part of the outcome is known; events
    that only move bytes wake nobody.
    """

    def __init__(
        self,
        archive_url: str,
        build: str,
        artifacts: Mapping[str, bool],
        request_id: str = "",
        is_followed: bool = False,
    ) -> None:
        """``artifacts`` maps the name of each to whether it is synchronous; ``request_id`` is of who asked first.

        ``is_followed`` says that it is another devserver's, and shown here as well.
        """
        self.is_followed = is_followed
        self.is_abandoned = False  # by that devserver, which is no more: what is open of it may be ordered here
        self.archive_url = archive_url
        self.build = build
        self.request_id = request_id
        self.began_at = CLOCK.now()
        self._began = monotonic()
        self.synchronous = frozenset(name for name, synchronous in artifacts.items() if synchronous)
        self._lock = Lock()
        self._latest = {name: Event(build, name, State.PENDING) for name in artifacts}
        self._superseded: set[str] = set()
        self._begun: Future[None] = Future()
        self._outcome: Future[None] = Future()
        self._outcomes: dict[frozenset[str], Future[None]] = {frozenset(artifacts): self._outcome}
        if self.synchronous:
            self._outcomes.setdefault(self.synchronous, Future())

    @property
    def seconds(self) -> float:
        """How long ago it began."""
        return monotonic() - self._began

    @property
    def artifacts(self) -> dict[str, Event]:
        """The latest event of every artifact, by name."""
        with self._lock:
            return dict(self._latest)

    @property
    def shown(self) -> dict[str, Event]:
        """The same, but for those that another download has staged, or tried to, since this one failed."""
        with self._lock:
            return {name: event for name, event in self._latest.items() if name not in self._superseded}

    @property
    def state(self) -> State:
        """The state of all of it, derived from the artifacts'."""
        return derived_state(event.state for event in self.artifacts.values())

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is under way; after a failure, some of it may be."""
        return all(event.state.is_final for event in self.artifacts.values())

    @property
    def is_worth_showing(self) -> bool:
        """Whether the manifest does not say all of it: something is under way, or failed and was not tried again."""
        return not all(event.state.is_good for event in self.shown.values())

    def supersede(self, names: Iterable[str]) -> None:
        """Take note that what became of these artifacts here does not count any more."""
        with self._lock:
            over = {name for name, event in self._latest.items() if event.state.is_final}
            self._superseded |= over.intersection(names)

    def is_under_way(self, name: str) -> bool:
        """Whether the artifact is one of this download's, its outcome is open, and somebody is at it."""
        event = self._latest.get(name)
        return event is not None and not event.state.is_final and not self.is_abandoned

    def in_progress(self) -> list[str]:
        """The names of the artifacts that are being worked on."""
        return [name for name, event in self.artifacts.items() if event.state in (State.DOWNLOADING, State.STAGING)]

    def apply(self, events: Iterable[Event]) -> list[tuple[Event, Change]]:
        """Take note of ``events``, all at once, and wake those they concern.

        Returns: those that changed anything, a final state being changed by none.

        """
        with self._lock:
            were_done = self._are_done()
            news = []
            for told in events:
                before = self._latest[told.artifact]
                # Who gives up says nothing of bytes; and none that came are taken back.
                done, total = max(told.bytes_done, before.bytes_done), max(told.bytes_total, before.bytes_total)
                event = replace(
                    told,
                    bytes_done=done,
                    bytes_total=total,
                    bytes_fetched=max(told.bytes_fetched, before.bytes_fetched),
                    bytes_from_peers=max(told.bytes_from_peers, before.bytes_from_peers),
                )
                if not before.state.is_final:
                    self._latest[event.artifact] = event
                    news.append((event, before))
            self._settle(event for event, _ in news if event.state.is_final)
            changes = [(event, Change(before, False, False)) for event, before in news]
            if changes:
                event, before = news[-1]
                settled = [done and not was for done, was in zip(self._are_done(), were_done, strict=True)]
                changes[-1] = (event, Change(before, *settled))
            return changes

    def _are_done(self) -> tuple[bool, bool]:
        """Whether the outcome of the synchronous artifacts is known, and that of all."""
        return self._first_outcome().done(), self._outcome.done()

    def _settle(self, final: Iterable[Event]) -> None:
        """Wake those whose outcome is known by events that are final."""
        is_any = False
        for event in final:
            is_any = True
            if not event.state.is_good and not self._begun.done():
                self._begun.set_exception(_cause(event))
        if is_any:
            for names, outcome in self._outcomes.items():
                _settle(outcome, [self._latest[name] for name in names])
            if not self._begun.done() and all(event.state.is_final for event in self._latest.values()):
                self._begun.set_result(None)

    @property
    def has_begun(self) -> bool:
        """Whether it is known that the archive has all that is wanted, or what became of it."""
        return self._begun.done()

    def begin(self) -> None:
        """Take note that the archive has all that is wanted: where no artifact is synchronous, nobody waits longer."""
        with self._lock:
            if not self._begun.done():
                self._begun.set_result(None)

    def wait_for_synchronous(
        self, timeout: float | None = None, gone: Future[None] | None = None, names: Iterable[str] | None = None
    ) -> None:
        """Return once the synchronous artifacts are staged, or those of the ``names``; where there are none, once
        staging has begun.

        Raises:
            DevServerError: the cause, if one of them failed.
            TimeoutError: after ``timeout`` seconds.
            CallerGone: once ``gone`` is done.

        """
        awaited = self.synchronous.intersection(self.synchronous if names is None else names)
        self._wait(self._outcome_of(awaited) if awaited else self._begun, timeout, gone)

    def wait(
        self, timeout: float | None = None, gone: Future[None] | None = None, names: Iterable[str] | None = None
    ) -> None:
        """Return once every artifact is staged, or those of the ``names``; raises like :meth:`wait_for_synchronous`."""
        self._wait(self._outcome if names is None else self._outcome_of(frozenset(names)), timeout, gone)

    def _first_outcome(self) -> Future[None]:
        return self._outcomes[self.synchronous] if self.synchronous else self._begun

    def _outcome_of(self, names: frozenset[str]) -> Future[None]:
        with self._lock:
            if names not in self._outcomes:
                self._outcomes[names] = Future()
                _settle(self._outcomes[names], [self._latest[name] for name in names])
            return self._outcomes[names]

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


def derived_state(states: Iterable[State]) -> State:
    """The state of a whole whose parts are in ``states``."""
    present = set(states) or {State.PENDING}
    for decisive in (State.FAILED, State.CANCELLED, State.STAGING, State.DOWNLOADING):
        if decisive in present:
            return decisive
    return State.PENDING if State.PENDING in present else State.STAGED


def _cause(event: Event) -> DevServerError:
    return event.cause or Cancelled("the download was stopped")


def _settle(outcome: Future[None], events: list[Event]) -> None:
    """Set ``outcome`` if it is known by now: at the first failure, or when all is good."""
    bad = [event for event in events if event.state.is_final and not event.state.is_good]
    bad.sort(key=lambda event: event.state is not State.FAILED)  # a cause of its own comes first
    if outcome.done() or not (bad or all(event.state.is_good for event in events)):
        return
    if bad:
        outcome.set_exception(_cause(bad[0]))
    else:
        outcome.set_result(None)
