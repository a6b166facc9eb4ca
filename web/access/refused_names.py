"""The names that browsers asked for and were refused: for the log, and for the operator's eyes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from time import monotonic, time
from typing import NamedTuple

_MOST_NAMES = 20
_LONGEST = 100  # characters of a name
_MOST_LINES = 20  # of the log at once
_SECONDS_A_LINE = 60.0  # after which one more may be written


class RefusedName(NamedTuple):
    """A name, how often it was refused, and when it last was, in seconds since the epoch."""

    name: str
    times: int
    last: float


class RefusedNames:
    """The names that were refused lately: a bounded number, however many there are."""

    def __init__(self, log: Callable[[str], None]) -> None:
        """``log`` is told of each new name, so many times at most as an operator would read."""
        self._log = log
        self._lock = Lock()
        self._names: OrderedDict[str, RefusedName] = OrderedDict()
        self._lines, self._filled_at = float(_MOST_LINES), monotonic()

    def note(self, name: str) -> str:
        """Note that ``name`` was refused; the sentence that tells why. An empty one is none that could be allowed."""
        name = name[:_LONGEST]
        if name:
            text = f"this devserver is not known to browsers as {name!r}; to allow that name, start it with "
            text += f"--allow-host {name}"
        else:
            text = "this devserver is not known to browsers by what they asked for; --allow-host allows names"
        if self._is_new(name):
            self._log(text)
        return text

    def latest(self) -> list[RefusedName]:
        """The names, the latest first."""
        with self._lock:
            return [name for name in reversed(self._names.values()) if name.name]

    def _is_new(self, name: str) -> bool:
        """Note the name; whether the log is to have a line of it."""
        with self._lock:
            known = self._names.pop(name, None)
            self._names[name] = RefusedName(name, known.times + 1 if known else 1, time())
            if len(self._names) > _MOST_NAMES:
                self._names.popitem(last=False)
            return known is None and self._take_line()

    def _take_line(self) -> bool:
        now = monotonic()
        self._lines = min(_MOST_LINES, self._lines + (now - self._filled_at) / _SECONDS_A_LINE)
        self._filled_at = now
        if self._lines < 1:
            return False
        self._lines -= 1
        return True
