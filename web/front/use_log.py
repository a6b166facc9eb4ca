"""What was read through the web server in front, followed in that one's log."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from cherrypy.process.plugins import Monitor
from cherrypy.process.wspbus import Bus

from staging.records.decoding import Count, Moment, made
from staging.records.text import data_of
from staging.threads import surviving
from web.answers import Read
from web.front.followed import FollowedLog

_SECONDS_BETWEEN_LOOKS = 1.0
_PREFIX = "/static/"
_READ = (200, 206, 304)
_PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
# As older configurations have nginx write it, where a line's end in a name would be one of the log; the oldest without
# what stands between status and path.
_PLAIN_LINE = re.compile(
    rb"(?P<status>\d{3}) (?:(?P<sent>\d{1,15}) (?P<time>\d{1,12}\.\d{1,6}) (?P<client>\S+) )?(?P<path>/.*)"
)


@dataclass(frozen=True)
class FrontAnswer:
    """What nginx answered without asking this server.

    Attributes:
        status: of the answer.
        sent: bytes of its body.
        time: its end, in seconds since the epoch; 0 where the log does not say.
        client: the address of who asked.
        path: of the file, below ``/static/``.

    """

    status: Count
    sent: Count
    time: Moment
    client: str
    path: str


class UseLog(Monitor):  # type: ignore[misc]
    """Tells of every answer, a moment after nginx wrote it down.

    The log may be made later, emptied, or renamed and begun anew; one that has grown long is emptied.
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
        self._survived = surviving(f"following {path}", self._look, bus.log)
        super().__init__(bus, self._survived, _SECONDS_BETWEEN_LOOKS, name="use log")
        self._log = FollowedLog(path)
        self._on_use = on_use
        self._on_answer = on_answer

    def start(self) -> None:
        """Begin with what is written from now on."""
        self._log.skip_what_is_there()
        super().start()

    def stop(self) -> None:
        """Take note of what was written until now, and end."""
        super().stop()
        self._survived()
        self._log.close()

    def _look(self) -> None:
        self._read()
        self._log.empty_if_long()

    def _read(self) -> None:
        # Thousands of devices read the same few files: each of them is looked at once.
        files: dict[str, Read | None] = {}
        for line in self._log.new_lines():
            answer = parsed(line)
            if answer is None:
                continue
            if answer.status in _READ and answer.path not in files:
                files[answer.path] = self._used(answer.path)
            self._on_answer(answer, files.get(answer.path))

    def _used(self, path: str) -> Read | None:
        """What file is at the path; raises where nobody can tell for the moment, and the line is read again."""
        try:
            return self._on_use(path)
        except OSError as error:
            if error.errno in _PASSING:
                raise
            return None


def parsed(line: bytes) -> FrontAnswer | None:
    """What a line of the log says; None of one that tells of no file, or is no such line."""
    answer = _of_json(line) if line.startswith(b"{") else _of_plain(line)
    if answer is None or not answer.path.startswith(_PREFIX):
        return None
    return replace(answer, path=answer.path.removeprefix(_PREFIX))


def _of_json(line: bytes) -> FrontAnswer | None:
    try:
        return made(FrontAnswer, data_of(os.fsdecode(line)))
    except (ValueError, RecursionError):
        return None


def _of_plain(line: bytes) -> FrontAnswer | None:
    match = _PLAIN_LINE.fullmatch(line)
    if match is None:
        return None
    client = (match["client"] or b"").decode("ascii", "replace")
    status, sent, time = int(match["status"]), int(match["sent"] or 0), float(match["time"] or 0)
    return FrontAnswer(status, sent, time, client, os.fsdecode(match["path"]))
