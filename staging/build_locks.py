"""A build's lock, shared by all that one process does with the build."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition
from threading import Event as Flag

from staging.layout import BuildPlaces
from staging.locks import FileLock
from staging.retry import check

Acquire = Callable[[BuildPlaces, Flag, Callable[[], None]], FileLock]

_LOOK = 0.2  # seconds between two looks at whether the caller still wants it


class BuildLocks:
    """The locks of builds, each held by this process once, for however many of its threads work on that build.

    Between processes, and between devservers that share a directory, one works on a build at a time. Within a process
    several may, each on artifacts of its own; who changes the build as a whole works alone.
    """

    def __init__(self, acquire: Acquire, release: Callable[[FileLock, BuildPlaces], None]) -> None:
        """``acquire`` takes a lock for the first of this process that wants it, and ``release`` gives it back."""
        self._acquire = acquire
        self._release = release
        self._changed = Condition()
        self._builds: dict[str, _Shared] = {}

    @contextmanager
    def held(
        self, places: BuildPlaces, cancelled: Flag, while_waiting: Callable[[], None], alone: bool = False
    ) -> Iterator[FileLock]:
        """The right to work on a build, which may be handed to a worker.

        Raises:
            Cancelled: the flag was set before it came free.

        """
        shared = self._entered(places.build_path, cancelled, alone)
        try:
            yield self._opened(shared, places, cancelled, while_waiting)
        finally:
            self._leave(shared, places)

    def _entered(self, build_path: str, cancelled: Flag, alone: bool) -> _Shared:
        """The build's entry, once the caller may be in it: who wants to be alone comes before those who come later."""
        with self._changed:
            shared = self._builds.setdefault(build_path, _Shared())
            shared.interested += 1
            shared.waiting_alone += alone
            try:
                while shared.is_closed or (shared.inside if alone else shared.waiting_alone):
                    self._changed.wait(_LOOK)
                    check(cancelled)
            except BaseException:
                self._forget(shared, build_path)
                raise
            finally:
                shared.waiting_alone -= alone
                self._changed.notify_all()
            shared.inside += 1
            shared.is_closed = alone
            return shared

    def _opened(
        self, shared: _Shared, places: BuildPlaces, cancelled: Flag, while_waiting: Callable[[], None]
    ) -> FileLock:
        """The lock itself, taken by the first to come."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: shared.lock is not None or not shared.is_opening, _LOOK)
                check(cancelled)
                if shared.lock is not None:
                    return shared.lock
                if shared.is_opening:
                    continue
                shared.is_opening = True
            lock: FileLock | None = None
            try:
                lock = self._acquire(places, cancelled, while_waiting)
                return lock
            finally:
                with self._changed:
                    shared.lock, shared.is_opening = lock, False
                    self._changed.notify_all()

    def _leave(self, shared: _Shared, places: BuildPlaces) -> None:
        with self._changed:
            shared.inside -= 1
            is_last = not shared.inside
            shared.is_closed = is_last  # nobody enters while the last one clears up
        try:
            if is_last and shared.lock is not None:
                self._release(shared.lock, places)
        finally:
            with self._changed:
                if is_last:
                    shared.lock, shared.is_closed = None, False
                self._forget(shared, places.build_path)
                self._changed.notify_all()

    def _forget(self, shared: _Shared, build_path: str) -> None:
        shared.interested -= 1
        if not shared.interested:
            del self._builds[build_path]


class _Shared:
    """One build's lock, and who is in it or would like to be."""

    def __init__(self) -> None:
        self.lock: FileLock | None = None
        self.is_opening = False
        self.is_closed = False  # to all who would enter
        self.inside = 0
        self.waiting_alone = 0
        self.interested = 0
