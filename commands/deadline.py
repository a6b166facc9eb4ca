"""The time that a person gives a command, for all that it asks a devserver."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from queue import Empty, Queue
from threading import Thread
from time import monotonic
from typing import TypeVar

from web.client import StillStaging

T = TypeVar("T")


class Deadline:
    """A moment after which nothing is waited for any more; without ``seconds``, never."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._end = None if seconds is None else monotonic() + seconds

    def answer(self, ask: Callable[[], T]) -> T:
        """What ``ask`` returns or raises.

        Raises:
            StillStaging: the time is over.

        """
        return next(self.each(lambda: iter([ask()])))

    def each(self, ask: Callable[[], Iterator[T]]) -> Iterator[T]:
        """The items that ``ask`` gives. A thread of its own waits for them: a read cannot be given up at any moment.

        Raises like :meth:`answer`.
        """
        arrived: Queue[tuple[T] | Exception | None] = Queue()
        Thread(target=_pass_on, args=(ask, arrived), daemon=True).start()
        while True:
            try:
                item = arrived.get(timeout=None if self._end is None else max(self._end - monotonic(), 0.0))
            except Empty:
                raise StillStaging(f"not staged after {self._seconds:g} s; the devserver goes on") from None
            if isinstance(item, Exception):
                raise item
            if item is None:
                return
            yield item[0]


def _pass_on(ask: Callable[[], Iterator[T]], arrived: Queue[tuple[T] | Exception | None]) -> None:
    try:
        for item in ask():
            arrived.put((item,))
        arrived.put(None)
    except Exception as error:
        arrived.put(error)
