"""The lines of a log that another process writes, each of them once, whatever becomes of the file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

_PIECE = 1024 * 1024
_LONGEST = 64 * 1024 * 1024  # bytes of the log, after which it is emptied
_LONGEST_LINE = 256 * 1024  # bytes, of which no writer of ours writes any; one that has no end is let go
_MARK = 64  # bytes before the position, by which a log that was emptied and has grown again is known
# Seconds without a line after which a log that was renamed is let go: its writers take some time to open the new one.
_PATIENCE = 60.0


class FollowedLog:
    """A log at a path, where it may appear later, be emptied (also by ``copytruncate``), or be renamed and begun anew.

    One that was renamed is held open and read to its end, even where it was packed and removed since.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: list[_OpenLog] = []  # the oldest first; the last may be the one at the path

    def skip_what_is_there(self) -> None:
        """Begin with what is written from now on."""
        self._find_new()
        for file in self._files:
            file.skip()

    def new_lines(self) -> Iterator[bytes]:
        """Every line that was finished since the last look; whoever breaks off is given the same line again."""
        self._find_new()
        for file in self._files:
            yield from file.new_lines()
        for file in self._files[:-1]:
            if file.is_silent:
                self._files.remove(file)
                file.close()

    def empty_if_long(self) -> None:
        """Empty the log once all of it was read: its writer appends to it for as long as it runs."""
        if self._files:
            self._files[-1].empty_if_long()

    def close(self) -> None:
        """Let go of all files."""
        for file in self._files:
            file.close()
        self._files.clear()

    def _find_new(self) -> None:
        """Open the file that is at the path now, unless it is open."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return
        file = _OpenLog(descriptor)
        # As long as a file is open, no other can have its inode.
        if any(other.identity == file.identity for other in self._files):
            file.close()
        else:
            self._files.append(file)


class _OpenLog:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._position = 0
        self._mark = b""  # what stands before the position
        self._last = monotonic()
        status = os.fstat(descriptor)
        self.identity = (status.st_dev, status.st_ino)

    @property
    def is_silent(self) -> bool:
        return monotonic() - self._last > _PATIENCE

    def skip(self) -> None:
        self._go_to(os.fstat(self._descriptor).st_size)

    def new_lines(self) -> Iterator[bytes]:
        if not self._is_the_same():
            self._go_to(0)
        while piece := os.pread(self._descriptor, _PIECE, self._position):
            self._last = monotonic()
            whole, newline, rest = piece.rpartition(b"\n")
            if not newline and len(rest) <= _LONGEST_LINE:
                return
            if not newline:
                self._go_to(self._position + len(rest))
                continue
            yield from self._lines_of(whole)

    def empty_if_long(self) -> None:
        if self._position > _LONGEST and self._position == os.fstat(self._descriptor).st_size:
            os.truncate(f"/proc/self/fd/{self._descriptor}", 0)
            self._go_to(0)

    def close(self) -> None:
        os.close(self._descriptor)

    def _lines_of(self, whole: bytes) -> Iterator[bytes]:
        position = self._position
        try:
            for line in whole.split(b"\n"):
                yield line
                position += len(line) + 1
        finally:
            self._go_to(position)

    def _is_the_same(self) -> bool:
        """Whether what was read is still there, and not emptied and written anew."""
        return os.pread(self._descriptor, len(self._mark), self._position - len(self._mark)) == self._mark

    def _go_to(self, position: int) -> None:
        self._position = position
        start = max(0, position - _MARK)
        self._mark = os.pread(self._descriptor, position - start, start)
