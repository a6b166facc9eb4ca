"""When a request is made again, and until when."""

from __future__ import annotations

import time

from .errors import LONGEST_PAUSE, ClientError, NeverReachable


class Retry:
    """When a request is made again, and until when."""

    def __init__(self, timeout: float | None, patience: float) -> None:
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._until = time.monotonic() + patience
        self._failures = 0

    def seconds_left(self) -> float | None:
        """Of the caller's own time; None where that has no end."""
        return None if self._deadline is None else max(0.001, self._deadline - time.monotonic())

    def wait_after(self, error: ClientError) -> None:
        """Wait, after a failure, as long as that asks for; raises ``error`` where there is no time for another try."""
        self._failures += 1
        pause = getattr(error, "retry_after", 0.0) or min(0.25 * 2.0**self._failures, LONGEST_PAUSE)
        ends = self._until if self._deadline is None else min(self._until, self._deadline)
        if isinstance(error, NeverReachable) or time.monotonic() + pause > ends:
            raise error
        time.sleep(pause)
