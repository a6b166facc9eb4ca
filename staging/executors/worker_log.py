"""What a worker says on its standard error becomes lines of the devserver's: in bounds, and nobody else's."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress

from staging.messages import in_one_line
from staging.records.text import data_of

_LARGEST = 256 * 1024  # bytes that one worker may say
_LONGEST_LINE = 8 * 1024  # characters
_PIECE = 64 * 1024
_ITS_OWN = re.compile(r"\[[^\]]*\] WORKER ")  # as staging.log_lines writes them


class WorkerLog:
    """Reads one worker's output, and passes it on."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._left = _LARGEST
        self._unread = b""
        os.set_blocking(descriptor, False)

    def fileno(self) -> int:
        """What to wait for."""
        return self._descriptor

    @property
    def is_open(self) -> bool:
        """Whether there may be more."""
        return self._descriptor >= 0

    def close(self) -> None:
        """Say what is left, and read no more: who goes on writing is told by the kernel."""
        while self.is_open and self.pass_on():
            pass
        self._close()

    def pass_on(self) -> bool:
        """Pass on what has come; False where nothing has."""
        try:
            piece = os.read(self._descriptor, _PIECE)
        except BlockingIOError:
            return False
        *lines, self._unread = (self._unread + piece).split(b"\n")
        if len(self._unread) > _LONGEST_LINE or (not piece and self._unread):
            lines.append(self._unread)
            self._unread = b""
        for line in lines:
            say(line)
        self._left -= len(piece)
        if self._left < 0:
            say(f"WORKER said more than {_LARGEST} bytes: nothing of it is logged any more".encode())
        if not piece or self._left < 0:
            self._close()
        return True

    def _close(self) -> None:
        if self.is_open:
            os.close(self._descriptor)
            self._descriptor = -1


def say(line: bytes) -> None:
    """Write one line of a worker's to the devserver's standard error, as a worker's."""
    text = in_one_line(line.decode(errors="backslashreplace").replace("\t", "    "))[:_LONGEST_LINE]
    if text[:1] in ("[", "{") and not (_ITS_OWN.match(text) or _is_object_of_a_worker(text)):
        text = f"WORKER {text}"
    with suppress(OSError, ValueError):  # there is none
        sys.stderr.write(f"{text}\n")


def _is_object_of_a_worker(text: str) -> bool:
    try:
        line = data_of(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(line, dict) and line.get("tag") == "WORKER"
