"""What was read through the web server in front, followed in that one's log."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from cherrypy.process.plugins import Monitor
from cherrypy.process.wspbus import Bus

from web.answers import Read

_SECONDS_BETWEEN_LOOKS = 1.0
_PIECE = 1024 * 1024
_LONGEST = 64 * 1024 * 1024  # bytes of the log, after which it is emptied
_PREFIX = "/static/"
_READ = (200, 206, 304)
# As web/front/nginx.py has nginx write it; without what stands between status and path, as it was written once.
_LINE = re.compile(
    rb"(?P<status>\d{3}) (?:(?P<sent>\d{1,15}) (?P<time>\d{1,12}\.\d{1,6}) (?P<client>\S+) )?(?P<path>/.*)"
)


class FrontAnswer(NamedTuple):
    """What nginx answered without asking this server.

    Attributes:
        status: of the answer.
        sent: bytes of its body.
        time: its end, in seconds since the epoch; 0 where the log does not say.
        client: the address of who asked.
        path: of the file, below ``/static/``.

    """

    status: int
    sent: int
    time: float
    client: str
    path: str


class UseLog(Monitor):  # type: ignore[misc]
    """Tells of every answer, a moment after nginx wrote it down.

    The log may be made later, cut, or replaced by a new one; one that has grown long is emptied.
    """

    def __init__(
        self,
        bus: Bus,
        path: Path,
        on_use: Callable[[str], Read | None],
        on_answer: Callable[[FrontAnswer, Read | None], None],
    ) -> None:
        """``on_use`` is told of every file that was read, by its path below ``/static/``, once for all who did at about
        the same time; what it says the file is goes to ``on_answer``, which is told of every answer.
        """
        super().__init__(bus, self._look, _SECONDS_BETWEEN_LOOKS, name="use log")
        self._path = path
        self._on_use = on_use
        self._on_answer = on_answer
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
        except Exception as error:  # a monitor whose function raises ends for good
            reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            self.bus.log(f"cannot follow {self._path} for now: {reason}")

    def _empty_if_long(self) -> None:
        """Empty the log once all of it was read: nginx appends to it for as long as it runs."""
        if self._position > _LONGEST:
            os.truncate(self._path, 0)

    def _read(self) -> None:
        # Thousands of devices read the same few files: each of them is looked at once.
        files: dict[str, Read | None] = {}
        for line in self._new_lines():
            answer = _parsed(line)
            if answer is None:
                continue
            if answer.status in _READ and answer.path not in files:
                files[answer.path] = self._on_use(answer.path)
            self._on_answer(answer, files.get(answer.path))

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


def _parsed(line: bytes) -> FrontAnswer | None:
    match = _LINE.fullmatch(line)
    path = os.fsdecode(match["path"]) if match else ""
    if not match or not path.startswith(_PREFIX):
        return None
    client = (match["client"] or b"").decode("ascii", "replace")
    status, sent, time = int(match["status"]), int(match["sent"] or 0), float(match["time"] or 0)
    return FrontAnswer(status, sent, time, client, path.removeprefix(_PREFIX))
