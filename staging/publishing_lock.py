"""The right to change what is published of a build, which a process that hangs loses.

One process at a time has it: it holds a lock, and the lock's file names the staging area that it publishes from. All
that such a holder changes, it changes by renames from its area. Whoever takes the artifact over renames the area away:
should the holder go on, its renames fail. So its lock counts no more, and who waits removes the lock's file. A
holder that has had the lock for a minute is taken for dead by those who wait.

A devserver that removes or heals a build, or notes what the archive does not have, has no area, and is waited for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event as Flag
from time import monotonic
from typing import NamedTuple

from staging.areas import take_away
from staging.layout import BuildPlaces
from staging.locks import FileLock
from staging.presence import is_directory

_PATIENCE = 60.0  # seconds
_LONGEST_LOOK = 1.0  # seconds that count, of those between two looks: this machine may have stood still as well
_LONGEST_NAME = 256  # bytes


@contextmanager
def publishing(places: BuildPlaces, area: Path | None = None) -> Iterator[None]:
    """The right to change what is published of the build, and its manifest; ``area`` is what is published from."""
    lock = _acquired(places, area.name if area else "")
    try:
        yield
    finally:
        lock.release()


def _acquired(places: BuildPlaces, area: str) -> FileLock:
    while True:
        lock = FileLock.acquire(places.publishing_lock, Flag(), _Watch(places).look)
        try:
            if lock.note(area):
                return lock
        except BaseException:
            lock.release()
            raise
        lock.release()  # it was taken from this process, which hung before it had said what for


class _Holder(NamedTuple):
    """Who has the lock: which file it is, and what is published from."""

    file: int
    area: str


class _Watch:
    """Looks at the holder of the lock for one who waits, and takes the lock from it where it counts no more."""

    def __init__(self, places: BuildPlaces) -> None:
        self._places = places
        self._holder: _Holder | None = None
        self._looked_at = monotonic()
        self._waited = 0.0  # seconds, for this holder

    def look(self) -> None:
        """Look once; the first look at a holder changes nothing."""
        holder = _holder_of(self._places.publishing_lock)
        now = monotonic()
        passed, self._looked_at = min(now - self._looked_at, _LONGEST_LOOK), now
        if holder is None or holder != self._holder:
            self._holder, self._waited = holder, 0.0
            return
        self._waited += passed
        if holder.area and (self._waited > _PATIENCE or not is_directory(self._places.staging / holder.area)):
            self._take_from(holder)

    def _take_from(self, holder: _Holder) -> None:
        turn = FileLock.try_once(self._places.area_lock("+publishing"))  # two may look at the same time
        if turn is None:
            return
        try:
            if _holder_of(self._places.publishing_lock) == holder:
                take_away(self._places.staging / holder.area)
                self._places.publishing_lock.unlink(missing_ok=True)
        finally:
            turn.release()


def _holder_of(path: Path) -> _Holder | None:
    """Who holds the lock, as far as its file says."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            line, end, _ = os.read(descriptor, _LONGEST_NAME).partition(b"\n")
            return _Holder(os.fstat(descriptor).st_ino, os.fsdecode(line) if end and _is_name(line) else "")
        finally:
            os.close(descriptor)
    return None


def _is_name(text: bytes) -> bool:
    return b"/" not in text and b"\0" not in text and text not in (b".", b"..")
