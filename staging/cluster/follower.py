"""Shows the downloads of the other devservers, so that whoever asks this one is told the same.

When a devserver dies, its downloads are orphans: this one, or another, takes its orders up, and what becomes of them
settles what was shown of the orphans.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from threading import Event as Flag
from time import monotonic

import redis

from staging import threads
from staging.board import StatusBoard
from staging.cluster.broker import UNREACHABLE
from staging.cluster.news import Bulletin, Newsstand
from staging.errors import Cancelled
from staging.manifest import Manifest
from staging.status import BuildStatus, Change, Event, State

_LOOK = 0.5  # seconds between two looks at whose devserver lives
_PAUSE = 0.3  # seconds before the broker is tried again
_TIME_TO_TAKE_UP = 20.0  # seconds after which an orphan that nobody took up is settled
_TIME_TO_RETURN = 6.0  # seconds that devservers are given to tell of themselves once the broker is back


@dataclass
class _Followed:
    status: BuildStatus
    orphaned_at: float | None = None


class Follower:
    """Follows the downloads of other devservers."""

    def __init__(
        self,
        newsstand: Newsstand,
        board: StatusBoard,
        manifest_of: Callable[[str], Manifest | None],
        take_over: Callable[[], None],
        tell: Callable[[str], None],
    ) -> None:
        """``take_over`` takes up the orders of devservers that are no more; ``manifest_of`` a build, by its path.
        ``tell`` is told in a sentence what an operator should know.
        """
        self._newsstand = newsstand
        self._tell = tell
        self._board = board
        self._manifest_of = manifest_of
        self._take_over = take_over
        self._followed: dict[str, _Followed] = {}
        self._stopped = Flag()
        self._trusted_from = 0.0  # when all who live have had time to tell of themselves
        board.subscribe(self._pass_on, of_others=True)

    def start(self) -> None:
        """Begin to follow."""
        threads.start("follower", self._work, self._stopped, self._tell)

    def stop(self) -> None:
        """Follow no more."""
        self._stopped.set()

    def _work(self) -> None:
        is_up_to_date = False
        while not self._stopped.is_set():
            try:
                news = self._newsstand.news(_LOOK) if is_up_to_date else self._newsstand.all()
                is_up_to_date = True
                for bulletin in news:
                    self._take(bulletin)
                self._look_after_orphans()
            except redis.ResponseError:
                self._newsstand.clear()
                raise
            except UNREACHABLE:  # which the executor tells
                is_up_to_date = False
                self._trusted_from = monotonic() + _TIME_TO_RETURN
                self._stopped.wait(_PAUSE)

    def _take(self, bulletin: Bulletin) -> None:
        """Show what a bulletin tells."""
        followed = self._followed.get(bulletin.download)
        if followed is None:
            about = (bulletin.archive_url, bulletin.build, bulletin.synchronous, bulletin.request_id)
            followed = self._followed[bulletin.download] = _Followed(BuildStatus(*about, is_followed=True))
            self._board.show(followed.status)
        if bulletin.has_begun and State.FAILED not in {event.state for event in bulletin.events}:
            followed.status.begin()
        known = followed.status.artifacts
        events = [event for event in bulletin.events if event.build == followed.status.build]
        self._board.report(followed.status, *(one for one in events if known.get(one.artifact, one) != one))
        self._followed = {download: one for download, one in self._followed.items() if not one.status.is_over}

    def _look_after_orphans(self) -> None:
        """Find out whose devserver is no more, and settle what nobody takes up."""
        if monotonic() < self._trusted_from:
            return
        alive = self._newsstand.alive(list(self._followed))
        new = [one for download, one in self._followed.items() if one.orphaned_at is None and download not in alive]
        for one in (self._followed[download] for download in alive):  # though it was taken for dead, maybe
            one.orphaned_at, one.status.is_abandoned = None, False
        for one in new:
            one.orphaned_at = monotonic()
            one.status.is_abandoned = True
            self._board.note(one.status.build, "the devserver that staged it is no more")
            self._settle_staged(one.status)
        if new:
            self._take_over()
        for one in list(self._followed.values()):
            if one.orphaned_at is not None and monotonic() > one.orphaned_at + _TIME_TO_TAKE_UP:
                self._give_up(one.status)
        self._followed = {download: one for download, one in self._followed.items() if not one.status.is_over}

    def _settle_staged(self, status: BuildStatus) -> None:
        manifest = self._manifest_of(status.build)
        records = manifest.artifacts if manifest and manifest.archive_url == status.archive_url else {}
        good = [name for name in _open(status) if name in records]
        self._board.report(status, *(Event(status.build, name, State(records[name].state)) for name in good))

    def _give_up(self, status: BuildStatus) -> None:
        """Settle what no download that is under way will."""
        self._settle_staged(status)
        others = [one for one in self._board.downloads(status.build) if one is not status]
        lost = [name for name in _open(status) if not any(one.is_under_way(name) for one in others)]
        cause = Cancelled("the devserver that was staging it has ended")
        self._board.report(status, *(Event(status.build, name, State.CANCELLED, cause=cause) for name in lost))

    def _pass_on(self, status: BuildStatus, event: Event, _change: Change) -> None:
        """Let those who wait for an orphan know what became of the same artifact where it was taken up."""
        if status.is_abandoned:
            return
        for one in list(self._followed.values()):
            orphan = one.status
            is_same = (orphan.archive_url, orphan.build) == (status.archive_url, status.build)
            if orphan.is_abandoned and is_same and event.artifact in orphan.artifacts:
                self._board.report(orphan, event)


def _open(status: BuildStatus) -> Iterable[str]:
    return [name for name, event in status.artifacts.items() if not event.state.is_final]
