"""Synchronous work first: a harness waits for it, and nobody yet for the rest.

Who stages synchronous artifacts holds a file lock, together with all others who do; background work looks before every
piece whether somebody holds it. The lock is seen by all processes that share the static directory, and dies with them.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event as Flag
from time import monotonic

from staging.locks import is_held, whole_file

_PAUSE = 0.02  # seconds between two looks
# Seconds after which a piece is let through all the same: a lab that is never idle still gets its background work done.
_LONGEST_WAIT = 1.0


@contextmanager
def synchronous_work(path: Path) -> Iterator[None]:
    """Make the background work of all builds give way, for as long as the context lasts."""
    descriptor = _open(path)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLKW, whole_file(fcntl.F_RDLCK))
        yield
    finally:
        os.close(descriptor)


class GiveWay:
    """Background work's side: waits while anybody stages synchronous artifacts."""

    def __init__(self, path: Path, cancelled: Flag) -> None:
        self._path = path
        self._cancelled = cancelled

    def is_needed(self) -> bool:
        """Whether somebody stages synchronous artifacts now."""
        descriptor = _open(self._path)
        try:
            return is_held(descriptor)
        finally:
            os.close(descriptor)

    def wait(self) -> None:
        """Return when nobody does, or after a second."""
        deadline = monotonic() + _LONGEST_WAIT
        while self.is_needed() and monotonic() < deadline and not self._cancelled.is_set():
            self._cancelled.wait(_PAUSE)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
