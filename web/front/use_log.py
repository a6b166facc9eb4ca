"""What was read through the web server in front, followed in that one's log."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from cherrypy.process.plugins import Monitor
from cherrypy.process.wspbus import Bus

_SECONDS_BETWEEN_LOOKS = 1.0
_PIECE = 1024 * 1024
_LONGEST = 64 * 1024 * 1024  # bytes of the log, after which it is emptied
_PREFIX = "/static/"
_READ = (b"200", b"206", b"304")


class UseLog(Monitor):  # type: ignore[misc]
    """Tells ``on_use`` of every file that was read, by its path below ``/static/``, a moment after nginx wrote it down.

    The log may be made later, cut, or replaced by a new one; one that has grown long is emptied.
    """

    def __init__(self, bus: Bus, path: Path, on_use: Callable[[str], None]) -> None:
        super().__init__(bus, self._look, _SECONDS_BETWEEN_LOOKS, name="use log")
        self._path = path
        self._on_use = on_use
        self._inode, self._position = 0, 0

    def start(self) -> None:
        """Begin with what is written from now on."""
        with suppress(FileNotFoundError):
            status = self._path.stat()
            self._inode, self._position = status.st_ino, status.st_size
        super().start()

    def _look(self) -> None:
        try:
            self._read()
            self._empty_if_long()
        except OSError as error:  # a monitor whose function raises ends for good
            self.bus.log(f"cannot follow {self._path} for now: {error.strerror}")

    def _empty_if_long(self) -> None:
        """Empty the log once all of it was read: nginx appends to it for as long as it runs."""
        if self._position > _LONGEST:
            os.truncate(self._path, 0)

    def _read(self) -> None:
        # Thousands of devices read the same few files: each of them is looked at once.
        for line in set(self._new_lines()):
            status, _, url_path = line.partition(b" ")
            path = os.fsdecode(url_path)
            if status in _READ and path.startswith(_PREFIX):
                self._on_use(path.removeprefix(_PREFIX))

    def _new_lines(self) -> Iterator[bytes]:
        """Every line that was finished since the last look."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return
        with file:
            status = os.fstat(file.fileno())
            if status.st_ino != self._inode or status.st_size < self._position:
                self._inode, self._position = status.st_ino, 0
            file.seek(self._position)
            while piece := file.read(_PIECE):
                whole, newline, _ = piece.rpartition(b"\n")
                self._position += len(whole) + len(newline)
                yield from whole.split(b"\n")
                if not newline:
                    return
                file.seek(self._position)
