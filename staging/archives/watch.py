"""Reads that bring too little: a read timeout begins anew with every byte, and so bounds no trickle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Condition, Thread
from time import monotonic

_NEVER = float("inf")
_LOOK = 1.0  # seconds between two looks at all reads, where none is due sooner


class WatchedRead:
    """A read that has to bring its next piece in time."""

    def __init__(self, seconds: float, interrupt: Callable[[], None]) -> None:
        self._seconds = seconds
        self.interrupt = interrupt
        self.was_too_slow = False
        self.began()

    def began(self) -> None:
        """Count the time anew: the next piece is asked for now."""
        self.due = monotonic() + self._seconds

    def pause(self) -> None:
        """Count no time: what was read is being used."""
        self.due = _NEVER

    def pieces(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """The same pieces, for each of which the time is counted anew."""
        for piece in pieces:
            self.pause()
            yield piece
            del piece  # so that its memory serves for the next one
            self.began()


class Watch:
    """Interrupts the reads of one process that are too slow, from a thread that lives while there are any."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._reads: set[WatchedRead] = set()
        self._is_running = False

    @contextmanager
    def over(self, seconds: float, interrupt: Callable[[], None]) -> Iterator[WatchedRead]:
        """Watch a read: once a piece took more than ``seconds``, it is marked as too slow and interrupted."""
        read = WatchedRead(seconds, interrupt)
        with self._changed:
            self._reads.add(read)
            if not self._is_running:
                with suppress(RuntimeError):  # the machine has no thread left: the next read tries again
                    Thread(target=self._look, name="watch reads", daemon=True).start()
                    self._is_running = True
        try:
            yield read
        finally:
            with self._changed:
                self._reads.discard(read)

    def _look(self) -> None:
        while True:
            with self._changed:
                if not self._reads:
                    self._is_running = False
                    return
                now = monotonic()
                late = [read for read in self._reads if read.due < now]
                soonest = min((read.due for read in self._reads), default=now)
            for read in late:
                read.was_too_slow = True
                read.interrupt()
                read.pause()
            with self._changed:
                self._changed.wait(max(0.05, min(_LOOK, soonest - monotonic())))
