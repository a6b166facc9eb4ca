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

    @contextmanager
    def taken(self, cancelled: Flag, on_wait: Callable[[int], None]) -> Iterator[None]:
        """Hold a place; ``on_wait`` is told how many are before, if there is none free.

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
            ahead = len(self._queue) - 1
            must_wait = not self._is_next(ticket)
        try:
            if must_wait:
                on_wait(ahead)
            with self._changed:
                while not self._is_next(ticket):
                    check(cancelled)
                    self._changed.wait(_LOOK)
                self._free -= 1
        finally:
            with self._changed:
                self._queue.remove(ticket)
                self._changed.notify_all()

    def _is_next(self, ticket: object) -> bool:
        return self._free > 0 and self._queue[0] is ticket
