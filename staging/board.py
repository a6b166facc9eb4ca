"""The downloads of every build, and those who are told of all that happens to them."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock, RLock

from staging import request_ids
from staging.status import BuildStatus, Change, Event

# Of what failed, so much is remembered: harnesses try for files that are not there all day long.
_MOST_OF_A_BUILD = 20  # downloads
_MOST_BUILDS = 500

Listener = Callable[[BuildStatus, Event, Change], None]


@dataclass(frozen=True)
class Note:
    """What an operator should know of a build that is no event of an artifact.

    Attributes:
        build: the build path.
        text: a sentence.
        request_id: of the request for whose sake it came about.
        retry: as that of an event.

    """

    build: str
    text: str
    request_id: str = ""
    retry: str = ""


class StatusBoard:
    """The downloads of every build that are under way or went wrong, and the listeners that are told of every event.

    What went well is in the manifest.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._telling = RLock()
        self._builds: dict[str, list[BuildStatus]] = {}
        self._listeners: list[tuple[Listener, bool]] = []
        self._beginning_listeners: list[Callable[[BuildStatus], None]] = []
        self._readers: list[Callable[[Note], None]] = []
        self._removal_listeners: list[Callable[[str], None]] = []

    def subscribe(self, listener: Listener, of_others: bool = False) -> None:
        """Call ``listener`` with every event from now on, one at a time, in the thread that reports it; with those of
        other devservers, where it wants them.
        """
        self._listeners.append((listener, of_others))

    def subscribe_to_beginnings(self, listener: Callable[[BuildStatus], None]) -> None:
        """Call ``listener`` with every download that is shown from now on."""
        self._beginning_listeners.append(listener)

    def subscribe_to_notes(self, reader: Callable[[Note], None]) -> None:
        """Call ``reader`` with every note."""
        self._readers.append(reader)

    def subscribe_to_removals(self, listener: Callable[[str], None]) -> None:
        """Call ``listener`` with the path of every build that is removed."""
        self._removal_listeners.append(listener)

    def note(self, build: str, text: str, retry: str = "") -> None:
        """Tell the operator something of a build; ``retry`` as in :class:`Note`."""
        note = Note(build, text, request_ids.current(), retry)
        for reader in self._readers:
            reader(note)

    def show(self, status: BuildStatus) -> None:
        """Add a download; what became of its artifacts in earlier ones is forgotten."""
        with self._lock:
            others = self._builds.pop(status.build, [])
            for other in others:
                other.supersede(status.artifacts)
            self._builds[status.build] = [*filter(_is_worth_showing, others), status][-_MOST_OF_A_BUILD:]
            if len(self._builds) > _MOST_BUILDS:
                self._forget_the_oldest()
        for listener in self._beginning_listeners:
            listener(status)

    def downloads(self, build: str) -> list[BuildStatus]:
        """The build's downloads that are shown, the newest first."""
        with self._lock:
            return list(reversed(self._builds.get(build, ())))

    def is_under_way(self, build: str) -> bool:
        """Whether a download of the build is not over; it is not before the listeners were told of its last event."""
        with self._telling:
            return not all(status.is_over for status in self.downloads(build))

    def builds(self) -> list[str]:
        """The builds that have a download that is shown."""
        with self._lock:
            return list(self._builds)

    def forget_failures(self, build: str) -> None:
        """Show the build's downloads no more that are over."""
        with self._lock:
            self._keep(build, [one for one in self._builds.get(build, ()) if not one.is_over])

    def dismiss(self, build: str, artifact: str) -> None:
        """Show no more that an artifact of the build failed, or was cancelled."""
        with self._lock:
            downloads = self._builds.get(build, ())
            for status in downloads:
                status.supersede([artifact])
            self._keep(build, [*filter(_is_worth_showing, downloads)])

    def removed(self, build: str, how: str = "removed") -> None:
        """Tell that the build was removed, and how."""
        self.forget_failures(build)
        self.note(build, how)
        for listener in self._removal_listeners:
            listener(build)

    def report(self, status: BuildStatus, *events: Event) -> None:
        """Apply ``events`` to ``status``, all at once, and tell the listeners of those that change anything."""
        with self._telling:  # so that they hear of everything in the order in which it came
            changes = status.apply(events)
            for event, change in changes:
                self._tell(status, event, change)
        if changes and status.is_over:
            with self._lock:
                self._keep(status.build, [*filter(_is_worth_showing, self._builds.get(status.build, ()))])

    def _tell(self, status: BuildStatus, event: Event, change: Change) -> None:
        """Tell the listeners; what goes wrong with one of them is for the operator, and fails no download."""
        for listener, wants_others in self._listeners:
            if status.is_followed and not wants_others:
                continue
            try:
                listener(status, event, change)
            except Exception:
                self.note(status.build, f"a listener failed:\n{traceback.format_exc()}")

    def _keep(self, build: str, downloads: list[BuildStatus]) -> None:
        if downloads:
            self._builds[build] = downloads
        else:
            self._builds.pop(build, None)

    def _forget_the_oldest(self) -> None:
        for build, downloads in self._builds.items():
            if all(one.is_over for one in downloads):
                del self._builds[build]
                return


def _is_worth_showing(status: BuildStatus) -> bool:
    return status.is_worth_showing
