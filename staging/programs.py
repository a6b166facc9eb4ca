"""What a program writes, to its own end and no longer: what it started may hold its pipes open for ever."""

from __future__ import annotations

import fcntl
import io
import os
import select
import struct
import subprocess
import termios
from contextlib import suppress
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Output(io.RawIOBase):
    """A pipe that a program writes to. It ends with what is in it when the program ends.

    Attributes:
        has_ended: whether all of it was read.

    """

    def __init__(self, process: subprocess.Popen[bytes], pipe: IO[bytes]) -> None:
        """``process`` has not been waited for."""
        super().__init__()
        self.has_ended = False
        self._pipe = pipe.fileno()
        self._left: int | None = None  # bytes that are in the pipe, once the program has ended
        self._poll = select.poll()
        self._poll.register(self._pipe, select.POLLIN)
        self._process: int | None = None
        with suppress(OSError):  # a kernel, or what acts as one, may not have it
            self._process = os.pidfd_open(process.pid)
            self._poll.register(self._process, select.POLLIN)

    def readable(self) -> bool:
        """See :class:`io.RawIOBase`."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """See :class:`io.RawIOBase`."""
        self.wait()
        count = self._readinto(memoryview(buffer).cast("B"))
        self.has_ended = not count
        return count

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until there is something to read, or the end; False where neither came in so many seconds."""
        if self._left is None:
            ready = dict(self._poll.poll(None if seconds is None else 1000 * seconds))
            if self._process in ready:
                self._left = _bytes_in(self._pipe)
            return bool(ready)
        return True

    def close(self) -> None:
        """See :class:`io.RawIOBase`; the pipe stays open."""
        if self._process is not None:
            os.close(self._process)
            self._process = None
        super().close()

    def _readinto(self, target: memoryview) -> int:
        if self._left is not None:
            target = target[: self._left]
        count = os.readv(self._pipe, [target]) if target else 0
        if self._left is not None:
            self._left -= count
        return count


def _bytes_in(pipe: int) -> int:
    answer = fcntl.ioctl(pipe, termios.FIONREAD, struct.pack("i", 0))
    return int(struct.unpack("i", answer)[0])
