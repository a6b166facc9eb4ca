"""A number of places, and a queue before them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition
from threading import Event as Flag

from staging.retry import check

_LOOK = 0.2  # seconds between two looks at whether the one who waits still wants to


class Slots:
    """Lets ``count`` in at once, and the others in the order in which they came."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._changed = Condition()
        self._queue: deque[object] = deque()

    @property
    def queue_length(self) -> int:
        """How many wait for a place."""
        return len(self._queue)

    @contextmanager
    def taken(self, cancelled: Flag, on_wait: Callable[[int], None]) -> Iterator[None]:
        """Hold a place; ``on_wait`` is told how many are before, if there is none free, and whenever that changes.

        Raises:
            Cancelled: the flag was set before there was one.

        """
        self._enter(cancelled, on_wait)
        try:
            yield
        finally:
            with self._changed:
                self._free += 1
                self._changed.notify_all()

    def _enter(self, cancelled: Flag, on_wait: Callable[[int], None]) -> None:
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
        try:
            told: int | None = None
            while (ahead := self._enter_or_wait(ticket, told)) is not None:
                check(cancelled)
                if ahead != told:
                    on_wait(ahead)
                    told = ahead
        except BaseException:
            with self._changed:
                self._queue.remove(ticket)
                self._changed.notify_all()
            raise

    def _enter_or_wait(self, ticket: object, told: int | None) -> int | None:
        """None once the holder of ``ticket`` has a place; else how many are before, later if that is as ``told``."""
        with self._changed:
            ahead = self._queue.index(ticket)
            if ahead == told:
                self._changed.wait(_LOOK)
                ahead = self._queue.index(ticket)
            if ahead == 0 and self._free > 0:
                self._free -= 1
                self._queue.popleft()
                self._changed.notify_all()
                return None
            return ahead
