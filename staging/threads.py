"""Threads that live as long as the server: whatever they meet is told in one line, and they go on after a pause."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event as Flag
from threading import Lock, Thread
from time import monotonic

Tell = Callable[[str], None]

# Seconds of a pause; each failure in a row doubles it. A cluster gives up a worker that is silent for 20 s.
_SHORTEST, _LONGEST = 0.2, 5.0
_WELL_AGAIN = 60.0  # seconds without a failure after which the next one is the first again
_LONGEST_TEXT = 300  # characters of an error in the log


class Failures:
    """The failures of one thread, or of what it calls now and then."""

    def __init__(self, name: str, tell: Tell) -> None:
        """``tell`` is told of each in a line that begins with the ``name``."""
        self._name = name
        self._tell = tell
        self._pause = 0.0
        self._failed_at = -_WELL_AGAIN
        self._lock = Lock()

    def note(self, error: Exception) -> float:
        """Tell of one; the seconds to pause before it is tried again."""
        with self._lock:
            is_first = monotonic() - self._failed_at > _WELL_AGAIN + self._pause
            self._pause = _SHORTEST if is_first else min(2 * self._pause, _LONGEST)
            self._failed_at = monotonic()
            pause = self._pause
        self._tell(f"{self._name} failed and goes on in {pause:g} s: {in_a_line(error)}")
        return pause


def keep_running(name: str, work: Callable[[], None], stopped: Flag, tell: Tell) -> None:
    """Call ``work`` until it returns, or ``stopped`` is set; again where it raises."""
    failures = Failures(name, tell)
    while not stopped.is_set():
        try:
            work()
        except Exception as error:
            stopped.wait(failures.note(error))
        else:
            return


def start(name: str, work: Callable[[], None], stopped: Flag, tell: Tell) -> Thread:
    """Start a thread of that ``name`` that does so."""
    thread = Thread(target=keep_running, args=(name, work, stopped, tell), name=name, daemon=True)
    thread.start()
    return thread


def surviving(name: str, call: Callable[[], None], tell: Tell) -> Callable[[], None]:
    """``call`` for somebody who calls it now and then, and would not survive its failure: that is told, and for the
    time of the pause nothing is done.
    """
    failures = Failures(name, tell)
    until = 0.0

    def survived() -> None:
        nonlocal until
        if monotonic() < until:
            return
        try:
            call()
        except Exception as error:
            until = monotonic() + failures.note(error)

    return survived


"".encode("unicode_escape")  # loads the codec now: where no file can be opened, an error is told all the same


def in_a_line(error: Exception) -> str:
    """What the log says of an error: its kind and its text, in one line of bounded length."""
    text = str(error).encode("unicode_escape").decode()[:_LONGEST_TEXT]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
