"""The file that the ledger is: SQLite, written by one devserver and read by anybody."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

_PATIENCE = 5.0  # seconds, where another process has the file locked
_PAGE = 1000  # rows that are read at once
_MAKE = """
CREATE TABLE IF NOT EXISTS served (
    number INTEGER PRIMARY KEY,
    time REAL NOT NULL,
    client TEXT NOT NULL,
    build TEXT NOT NULL,
    file TEXT NOT NULL,
    status INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    whole INTEGER NOT NULL,
    request_id TEXT NOT NULL
)
"""
_ADD = "INSERT INTO served VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)"
_FORGET = "DELETE FROM served WHERE number <= (SELECT max(number) FROM served) - ?"
_READ = """
SELECT number, time, client, build, file, status, bytes, whole, request_id FROM served
WHERE number > :after AND time >= :since
    AND (:build = '' OR build = :build) AND (:client = '' OR client = :client)
ORDER BY number LIMIT :page
"""


class Row(NamedTuple):
    """One file that was served to one client.

    Attributes:
        time: when the answer ended, in seconds since the epoch.
        client: its address.
        build, file: the build path, and the path of the file in the build.
        status: of the answer.
        bytes: of its body that were sent.
        whole: whether that is all of the file.
        request_id: of the request; empty where a server in front answered.

    """

    time: float
    client: str
    build: str
    file: str
    status: int
    bytes: int
    whole: bool
    request_id: str


class Ledger:
    """The rows that a devserver writes; the oldest go where there are more than ``most``. For one thread at a time."""

    def __init__(self, path: Path, most: int) -> None:
        """Raises ``sqlite3.Error`` where the file cannot be written."""
        self._path = path
        self._most = most
        # What is lost with the machine's power is a second's worth; every flush would be a wait.
        self._connection = sqlite3.connect(path, timeout=_PATIENCE, check_same_thread=False, isolation_level=None)
        try:
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self.add([])
            self._inode = path.stat().st_ino
        except BaseException:
            self._connection.close()
            raise

    def is_gone(self) -> bool:
        """Whether somebody took the file away: what is written to it, nobody would find."""
        try:
            return self._path.stat().st_ino != self._inode
        except OSError:
            return True

    def add(self, rows: Sequence[Row]) -> None:
        """Write some rows, all or none of them.

        Raises:
            sqlite3.Error

        """
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._connection.execute(_MAKE)
            self._connection.executemany(_ADD, rows)
            self._connection.execute(_FORGET, (self._most,))
        except BaseException:
            self._connection.rollback()
            raise
        self._connection.commit()

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


def rows_of(path: Path, build: str = "", client: str = "", since: float = 0.0) -> Iterator[Row]:
    """The rows of a build, of a client, and since a moment, the oldest first; also while a devserver writes more.

    Raises:
        sqlite3.Error: it is no ledger, or cannot be read.

    """
    address = f"file:{quote(str(path.absolute()))}?mode=ro"
    with closing(sqlite3.connect(address, timeout=_PATIENCE, uri=True)) as connection:
        wanted = {"build": build, "client": client, "since": since, "page": _PAGE, "after": 0}
        # In pages: a reader that takes its time keeps no writer from tidying up.
        while found := connection.execute(_READ, wanted).fetchall():
            for _, *values in found:
                yield Row(*values)._replace(whole=bool(values[6]))
            wanted["after"] = found[-1][0]
