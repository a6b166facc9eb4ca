"""Calls that a dead file server keeps for ever: each is made by a thread that can be given up."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from threading import Condition, Lock, Thread
from typing import Generic, TypeVar

T = TypeVar("T")

_MOST_GIVEN_UP = 64  # threads of this process that hang; beyond that, nothing is begun
_MOST_AHEAD = 2  # pieces


class Hangs(Exception):
    """A call did not return in time."""


class _Hanging:
    """How many threads were given up and have not come back."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._count = 0

    def change(self, by: int) -> None:
        with self._lock:
            self._count += by

    def check(self) -> None:
        if self._count >= _MOST_GIVEN_UP:
            raise Hangs


_HANGING = _Hanging()


class Pieces(Generic[T]):
    """What a generator gives, which runs in a thread of its own, a piece or two ahead."""

    def __init__(self, source: Callable[[], Generator[T]], seconds: float) -> None:
        """The generator is given up where it takes more than ``seconds`` for a piece."""
        _HANGING.check()
        self._seconds = seconds
        self._changed = Condition()
        self._ready: deque[T] = deque()
        self._is_over = False
        self._is_given_up = False
        self._hangs = False
        self._failure: BaseException | None = None
        Thread(target=self._run, args=(source,), name="read a directory", daemon=True).start()

    def interrupt(self) -> None:
        """Wake up who waits for a piece: there is none."""
        with self._changed:
            self._is_given_up = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        """The pieces; raises what the generator does, ``Hangs``, or ``InterruptedError`` where somebody wanted that."""
        try:
            while True:
                with self._changed:
                    if not self._changed.wait_for(self._has_news, self._seconds):
                        self._hangs = True
                        _HANGING.change(1)
                        raise Hangs
                    if not self._ready:
                        is_whole = self._is_over
                        break
                    piece = self._ready.popleft()
                    self._changed.notify_all()
                yield piece
                del piece  # so that its memory serves for the next one
        finally:
            self.interrupt()
        if self._failure is not None or not is_whole:
            raise self._failure or InterruptedError

    def _has_news(self) -> bool:
        return bool(self._ready) or self._is_over or self._is_given_up

    def _run(self, source: Callable[[], Generator[T]]) -> None:
        try:
            with closing(source()) as pieces:
                for piece in pieces:
                    with self._changed:
                        self._ready.append(piece)
                        self._changed.notify_all()
                        self._changed.wait_for(lambda: self._is_given_up or len(self._ready) < _MOST_AHEAD)
                        if self._is_given_up:
                            return
                    del piece
        except BaseException as error:
            self._failure = error
        finally:
            with self._changed:
                self._is_over = True
                self._changed.notify_all()
                if self._hangs:
                    _HANGING.change(-1)


def patiently(call: Callable[[], T], seconds: float) -> T:
    """What ``call`` returns, or raises.

    Raises:
        Hangs: it did neither in time.

    """

    def source() -> Generator[T]:
        yield call()

    return next(iter(Pieces(source, seconds)))
