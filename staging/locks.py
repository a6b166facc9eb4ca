"""File locks that die with their holder."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event as Flag
from time import monotonic

from staging.presence import is_absence, let_go
from staging.retry import check

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.01, 0.2  # seconds between two tries


class FileLock:
    """An exclusive ``flock`` on a file: held by one holder among threads, processes and machines that share the file.

    The kernel lets go of it when its last holder ends, however it ends. A process that is given its descriptor is a
    holder too.
    """

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self._path = path

    @classmethod
    def acquire(cls, path: Path, cancelled: Flag, while_waiting: Callable[[], None] = lambda: None) -> FileLock:
        """Take the lock, calling ``while_waiting`` between tries.

        Raises:
            Cancelled: the flag was set before the lock came free.

        """
        pause = _SHORTEST_PAUSE
        while True:
            check(cancelled)
            lock = cls.try_once(path)
            if lock is not None:
                return lock
            while_waiting()
            cancelled.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    @classmethod
    def acquire_within(cls, path: Path, seconds: float, cancelled: Flag) -> FileLock | None:
        """Take the lock, or None where another has had it for so many seconds.

        Raises:
            Cancelled

        """
        deadline = monotonic() + seconds
        while (lock := cls.try_once(path)) is None:
            check(cancelled)
            if monotonic() >= deadline:
                return None
            cancelled.wait(_LONGEST_PAUSE / 2)
        return lock

    @classmethod
    def try_once(cls, path: Path) -> FileLock | None:
        """Take the lock, or None where another holds it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(descriptor, path):
                return cls(descriptor, path)
        except BlockingIOError:
            pass
        except BaseException:
            let_go(descriptor)  # else it would hold the lock for as long as this process lives
            raise
        let_go(descriptor)  # another holds it, or its last holder removed the file between our open and our lock
        return None

    def release(self) -> None:
        """Let go, and remove the file; once for all holders, so only when the others have ended.

        A file that cannot be removed is no lock that anybody holds: its next holder removes it.
        """
        with suppress(OSError):
            if _is_still(self._descriptor, self._path):  # and nobody put another in its place
                self._path.unlink()
        let_go(self._descriptor)

    def note(self, text: str) -> bool:
        """Write a line into the file, for those who wait; False where another file took its place.

        Raises:
            OSError

        """
        if text or os.fstat(self._descriptor).st_size:  # to say nothing takes no room, as there may be none
            os.pwrite(self._descriptor, os.fsencode(f"{text}\n"), 0)
        return _is_still(self._descriptor, self._path)

    @property
    def descriptor(self) -> int:
        """What holds the lock; a process that is given it is a holder too."""
        return self._descriptor


@contextmanager
def if_free(path: Path) -> Iterator[bool]:
    """Whether nobody has the lock; then nobody takes it while the context lasts, and its file is gone after."""
    lock = FileLock.try_once(path)
    try:
        yield lock is not None
    finally:
        if lock is not None:
            lock.release()


# struct flock of fcntl(2): the kind of lock; then whence, start, length and holder, all zeros for the whole file.
_LOCK = "hhqqi4x"


def whole_file(kind: int) -> bytes:
    """What ``fcntl`` takes for a lock of that ``kind`` on a whole file."""
    return struct.pack(_LOCK, kind, os.SEEK_SET, 0, 0, 0)


def is_held(descriptor: int) -> bool:
    """Whether somebody has an ``fcntl`` lock on the file: asks for the holder without taking it, so that those who ask
    do not get in each other's way.
    """
    answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, whole_file(fcntl.F_WRLCK))
    return bool(struct.unpack(_LOCK, answer)[0] != fcntl.F_UNLCK)


def is_locked(path: Path) -> bool:
    """Whether somebody holds a :class:`FileLock` on ``path``; for a moment, nobody else can take one that is free."""
    return _is_refused(path, os.O_RDONLY, fcntl.LOCK_SH)


def is_locked_by_any(path: Path) -> bool:
    """Whether somebody holds the ``flock`` on ``path``, alone or with others; for a moment, nobody else can."""
    return _is_refused(path, os.O_RDWR | os.O_NOFOLLOW, fcntl.LOCK_EX)


def _is_refused(path: Path, flags: int, operation: int) -> bool:
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC)
    except OSError as error:
        if is_absence(error):
            return False
        raise
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        let_go(descriptor)
    return False


def _is_still(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
