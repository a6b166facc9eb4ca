"""Who writes the ledger: a thread of its own, for which nobody waits."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Event as Flag
from threading import Thread
from time import monotonic

from cherrypy.process.plugins import SimplePlugin
from cherrypy.process.wspbus import Bus

from staging import threads
from staging.clock import CLOCK
from staging.errors import ConfigurationError
from web.answers import Read, Served
from web.callers import REQUEST_ID_KEY
from web.front.use_log import FrontAnswer
from web.ledger.records import Ledger, Row

_MOST_WAITING = 50_000  # rows that are not written yet, some tens of megabytes; what does not fit is dropped
_BATCH = 1000  # rows that are written at once
_PAUSE = 0.5  # seconds in which rows are gathered
_PAUSE_AFTER_FAILURE = 5.0
_TIME_TO_STOP = 3.0
_SERVED = (200, 206, 304)


class LedgerWriter(SimplePlugin):  # type: ignore[misc]
    """Writes a row for each file of a build that was served; an observer of /static."""

    def __init__(self, bus: Bus, path: Path, most: int, on_drop: Callable[[], None]) -> None:
        """``on_drop`` is told of every row for which there was no room.

        Raises:
            ConfigurationError: the file cannot be written.

        """
        super().__init__(bus)
        self._path = path
        self._most = most
        self._on_drop = on_drop
        self._rows: Queue[Row] = Queue(_MOST_WAITING)
        self._is_stopping = Flag()
        self._ledger: Ledger | None = self._opened_at_start()
        self._is_broken = False
        self._thread: Thread | None = None

    def start(self) -> None:
        """Begin to write."""
        self._thread = threads.start("ledger", self._write, self._is_stopping, self.bus.log)

    def stop(self) -> None:
        """Write what there is, and end."""
        self._is_stopping.set()
        if self._thread is not None:
            self._thread.join(_TIME_TO_STOP)

    stop.priority = 60  # type: ignore[attr-defined]  # after the HTTP server's 25, which still answers

    def ends(self, served: Served, sent: int) -> None:
        """See :class:`~web.answers.Observer`."""
        if served.build and served.status in _SERVED and served.environ["REQUEST_METHOD"] == "GET":
            client = served.environ["REMOTE_ADDR"]
            answer = (int(served.status), sent, _is_whole(sent, served.file_size, served.status))
            self._put(Row(CLOCK.now(), client, served.build, served.file, *answer, served.environ[REQUEST_ID_KEY]))

    def note_front(self, answer: FrontAnswer, read: Read | None) -> None:
        """The same for what nginx answered, in front of this server."""
        if read is not None and answer.status in _SERVED:
            is_whole = _is_whole(answer.sent, read.size, answer.status)
            moment = answer.time or CLOCK.now()
            self._put(Row(moment, answer.client, read.build, read.file, answer.status, answer.sent, is_whole, ""))

    def _put(self, row: Row) -> None:
        try:
            self._rows.put_nowait(row._replace(build=_as_text(row.build), file=_as_text(row.file)))
        except Full:
            self._on_drop()

    def _opened_at_start(self) -> Ledger:
        try:
            return Ledger(self._path, self._most)
        except (sqlite3.Error, OSError) as error:
            raise ConfigurationError("--ledger", f"{self._path} cannot be used as a ledger ({error})") from error

    def _write(self) -> None:
        while not (self._is_stopping.is_set() and self._rows.empty()):
            batch = self._batch()
            while batch and not self._is_written(batch):
                if self._is_stopping.wait(_PAUSE_AFTER_FAILURE):
                    return
        if self._ledger is not None:
            self._ledger.close()

    def _batch(self) -> list[Row]:
        """The rows of half a second, as far as they are not too many."""
        rows: list[Row] = []
        until = monotonic() + _PAUSE
        while len(rows) < _BATCH and not (self._is_stopping.is_set() and self._rows.empty()):
            try:
                rows.append(self._rows.get(timeout=max(0.0, until - monotonic())))
            except Empty:
                break
        return rows

    def _is_written(self, rows: list[Row]) -> bool:
        """Write some rows; whether that went well. Of many failures in a row, the first is logged."""
        try:
            if self._ledger is not None and self._ledger.is_gone():
                self._let_go()
            if self._ledger is None:
                self._ledger = Ledger(self._path, self._most)
            self._ledger.add(rows)
        except (ValueError, OverflowError):  # of a row that no table can hold: it would be no better the next time
            for _ in rows:
                self._on_drop()
            return True
        except (sqlite3.Error, OSError) as error:
            self._let_go()
            if not self._is_broken:
                self.bus.log(f"the ledger cannot be written for now ({error}); it is tried again")
            self._is_broken = True
            return False
        if self._is_broken:
            self.bus.log("the ledger is written again")
        self._is_broken = False
        return True

    def _let_go(self) -> None:
        """Open the file anew the next time."""
        if self._ledger is not None:
            self._ledger.close()
        self._ledger = None


def _is_whole(sent: int, size: int, status: int) -> bool:
    return status != 304 and sent == size


def _as_text(name: str) -> str:
    """A name whose bytes are no UTF-8 as text that a table can hold."""
    return name.encode("utf-8", "backslashreplace").decode()
