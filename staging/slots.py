"""A number of places, and a queue before them in which the build that has moved the fewest bytes comes first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition
from threading import Event as Flag
from time import monotonic

from staging.retry import check

_LOOK = 0.2  # seconds between two looks at whether the one who waits still wants to
# How many of those who came later may go first. Nobody starves: from then on only those go first who came earlier, and
# of them there are finitely many.
_MOST_OVERTAKERS = 20


class Slots:
    """Lets ``count`` in at once. Of the others, the one with the fewest bytes moved so far is let in next.

    Where these are equal, who came first is; and so is, at last, who was overtaken by many.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._changed = Condition()
        self._queue: list[_Ticket] = []  # in the order in which they came

    @property
    def longest_wait(self) -> float:
        """Seconds for which the one who came first of them has waited."""
        queue = self._queue[:1]
        return monotonic() - queue[0].came_at if queue else 0.0

    @property
    def queue_length(self) -> int:
        """How many wait for a place."""
        return len(self._queue)

    @contextmanager
    def taken(
        self, cancelled: Flag, on_wait: Callable[[int], None], bytes_moved: Callable[[], int] = int
    ) -> Iterator[None]:
        """Hold a place; ``on_wait`` is told how many are before, if there is none free, and whenever that changes.

        ``bytes_moved`` tells how many bytes were moved so far for whoever asks.

        Raises:
            Cancelled: the flag was set before there was one.

        """
        self._enter(_Ticket(bytes_moved), cancelled, on_wait)
        try:
            yield
        finally:
            with self._changed:
                self._free += 1
                self._admit()

    def _enter(self, ticket: _Ticket, cancelled: Flag, on_wait: Callable[[int], None]) -> None:
        with self._changed:
            self._queue.append(ticket)
            self._admit()
        try:
            told: int | None = None
            while (ahead := self._ahead(ticket, told)) is not None:
                check(cancelled)
                if ahead != told:
                    on_wait(ahead)
                    told = ahead
        except BaseException:
            with self._changed:
                if ticket in self._queue:
                    self._queue.remove(ticket)
                else:
                    self._free += 1  # its place came as it turned away
                self._admit()
            raise

    def _ahead(self, ticket: _Ticket, told: int | None) -> int | None:
        """None once the holder of ``ticket`` has a place; else how many are before, later if that is as ``told``."""
        with self._changed:
            if ticket.ahead is not None and ticket.ahead == told:
                self._changed.wait(_LOOK)
            return ticket.ahead

    def _admit(self) -> None:
        """Give the places that are free to those whose turn it is, and tell the others how many are before them."""
        turns = sorted(self._queue, key=_Ticket.turn)  # which leaves those that are equal in the order of their coming
        while self._free > 0 and turns:
            first = turns.pop(0)
            first.ahead = None
            self._free -= 1
            for earlier in self._queue[: self._queue.index(first)]:
                earlier.overtakers += 1
            self._queue.remove(first)
        for ahead, ticket in enumerate(turns):
            ticket.ahead = ahead
        self._changed.notify_all()


class _Ticket:
    """One who waits; ``ahead`` is None once it has a place."""

    def __init__(self, bytes_moved: Callable[[], int]) -> None:
        self.came_at = monotonic()
        self.ahead: int | None = 0
        self.overtakers = 0
        self._bytes_moved = bytes_moved

    def turn(self) -> int:
        """What the queue is ordered by."""
        return -1 if self.overtakers >= _MOST_OVERTAKERS else self._bytes_moved()
