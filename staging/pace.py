"""Reading gently: no faster than somebody said, and behind everybody else."""

from __future__ import annotations

import os
from contextlib import suppress
from threading import Event as Flag
from threading import get_native_id
from time import monotonic

from staging.retry import check

_LAST_IN_LINE = 19  # the niceness of who waits for everybody else


class Pace:
    """Holds whoever calls it before each piece that he reads to so many bytes a second."""

    def __init__(self, bytes_per_second: float | None, stopped: Flag) -> None:
        """None is as fast as it goes. Once ``stopped`` is set, the next call raises ``Cancelled``."""
        self._bytes_per_second = bytes_per_second
        self._stopped = stopped
        self._free_at = 0.0

    def __call__(self, count: int) -> None:
        """Wait until ``count`` more bytes may be read."""
        check(self._stopped)
        if self._bytes_per_second is None:
            return
        now = monotonic()
        if self._free_at > now:
            self._stopped.wait(self._free_at - now)
            check(self._stopped)
        self._free_at = max(self._free_at, now) + count / self._bytes_per_second


def step_back() -> None:
    """Let everybody else go before the calling thread, at the disk too: on Linux, each has a niceness of its own."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, get_native_id(), _LAST_IN_LINE)
