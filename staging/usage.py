"""When a build was last used: kept on disk beside it, so that it is known after a restart; and who is reading it now.

A file that is being read is held by a shared lock on the build's record of its last use, which every devserver that
shares the directory sees, and which dies with its holder.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

from staging.clock import CLOCK, steady
from staging.errors import RecordUnreadable
from staging.layout import BuildPlaces
from staging.locks import is_held, whole_file
from staging.presence import is_absence, let_go
from staging.records.files import folder_of

_WRITTEN_EVERY = 1.0  # seconds, of a build that is used all the time; what was used later is known in memory
_MOST_IN_MIND = 10_000  # builds


class LastUse:
    """The moments at which builds were last used."""

    def __init__(self, static_dir: Path) -> None:
        self._static_dir = static_dir
        self._lock = Lock()
        # By the steady clock: a last use that is known here is where it was, whatever becomes of the time of day.
        self._used: dict[str, float] = {}
        self._written: dict[str, float] = {}

    def note(self, build_path: str) -> None:
        """Take note that the build is used now; a build that is not there has nothing to be noted."""
        now = steady()
        with self._lock:
            self._used[build_path] = now
            is_due = abs(now - self._written.get(build_path, 0.0)) >= _WRITTEN_EVERY
        if is_due:
            self._write(build_path, now)

    def of(self, build_path: str) -> float | None:
        """When the build was last used, in seconds since the epoch; None where it never was."""
        try:
            on_disk = self._places(build_path).last_use.stat().st_mtime
        except OSError:
            return None  # what is in memory is of a build that was removed
        used = self._used.get(build_path)
        if used is None or (used == self._written.get(build_path) and CLOCK.is_plausible(on_disk)):
            return on_disk
        return max(on_disk, CLOCK.at(used)) if CLOCK.is_plausible(on_disk) else CLOCK.at(used)

    def put_right(self, build_path: str) -> None:
        """Have a build whose last use cannot be told, for the clock was wrong then, count as used now."""
        used = self._used.get(build_path, steady())
        last_use = self._places(build_path).last_use
        with suppress(OSError, RecordUnreadable), folder_of(last_use) as folder:
            os.utime(last_use.name, (CLOCK.at(used), CLOCK.at(used)), dir_fd=folder, follow_symlinks=False)

    def flush(self) -> None:
        """Write what is known in memory alone."""
        with self._lock:
            late = {path: used for path, used in self._used.items() if used != self._written.get(path)}
        for build_path, used in late.items():
            self._write(build_path, used)
        with self._lock:
            if len(self._used) > _MOST_IN_MIND:
                self._used.clear()
                self._written.clear()

    def _write(self, build_path: str, moment: float) -> None:
        try:
            is_written = _touched(self._places(build_path), CLOCK.at(moment))
        except OSError:
            return  # it stays known in memory, to be written later
        with self._lock:
            if is_written:
                self._written[build_path] = moment
            else:
                self._used.pop(build_path, None)
                self._written.pop(build_path, None)

    def _places(self, build_path: str) -> BuildPlaces:
        return BuildPlaces(self._static_dir, build_path)


def _touched(places: BuildPlaces, moment: float) -> bool:
    """Write down that the build was used at that moment; False where there is no such build."""
    try:
        os.stat(places.manifest)  # noqa: PTH116 - asked for with every file; nothing is made of a build that goes
        with folder_of(places.last_use) as folder:
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            descriptor = os.open(places.last_use.name, flags, 0o644, dir_fd=folder)
        try:
            if os.fstat(descriptor).st_mtime < moment:  # another devserver may know of a later use
                os.utime(descriptor, (moment, moment))
        finally:
            os.close(descriptor)
    except RecordUnreadable:
        return False
    except OSError as error:
        if is_absence(error):
            return False
        raise
    return True


def hold_as_read(places: BuildPlaces) -> int | None:
    """Hold the build as one that is being read; the descriptor that does so until it is closed.

    None where that cannot be: somebody is removing it, and who has a file of it open reads that to its end.
    """
    try:
        descriptor = os.open(places.last_use, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, whole_file(fcntl.F_RDLCK))
    except OSError:
        let_go(descriptor)
        return None
    return descriptor


def is_being_read(places: BuildPlaces) -> bool:
    """Whether somebody reads the build, through whichever devserver; nobody notices that it was asked for."""
    try:
        descriptor = os.open(places.last_use, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if _is_no_file(error):
            return False
        raise
    try:
        return is_held(descriptor)
    finally:
        let_go(descriptor)


def _is_no_file(error: OSError) -> bool:
    """Whether an error says that there is no file, or that a link lies in its place: no reader holds either."""
    return is_absence(error) or error.errno == errno.ELOOP


def _is_locked_for_writing(descriptor: int) -> bool:
    """Take the exclusive lock on a file; whether nobody has another."""
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, whole_file(fcntl.F_WRLCK))
    except (BlockingIOError, PermissionError):  # EAGAIN or EACCES, as systems choose
        return False
    return True


@contextmanager
def keeping_readers_away(places: BuildPlaces) -> Iterator[bool]:
    """Whether nobody is reading the build; if so, nobody begins to meanwhile."""
    try:
        descriptor = os.open(places.last_use, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if not _is_no_file(error):
            raise
        yield True  # it was never read
        return
    try:
        yield _is_locked_for_writing(descriptor)
    finally:
        let_go(descriptor)
