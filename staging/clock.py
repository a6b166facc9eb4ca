"""The time of day, by a clock that steps nowhere unnoticed; and the seconds that pass, which no step touches.

Durations are by :func:`steady`. What has to outlast the process is told by :meth:`Clock.now`: the wall clock as it was
when it could last be trusted, and the seconds since then. Where the machine's own clock says something else, it
jumped: by a mistake, or because it was wrong until now. Which of the two, nobody can say at once. Until it has stayed
where it is for a while, the clock is not trusted, and nothing is removed for its age.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock

from staging.errors import RecordError
from staging.records.decoding import as_data, read
from staging.records.text import encoded

FIRST_PLAUSIBLE = 1e9  # seconds since the epoch, in 2001: what is told to be older was told by a clock that was not set
STEP = 30.0  # seconds; what is less is the clock being put right
SETTLED_AFTER = 3600.0  # seconds for which a clock that jumped stays where it is, before it is believed
_LONGEST_REST = 7 * 86400.0  # seconds for which a machine may have been off, and its clock still be believed
_SAVED_EVERY = 60.0

OnJump = Callable[[str], None]


def steady() -> float:
    """Seconds since the machine started, those asleep included: the same for all its processes."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@lru_cache(maxsize=1)
def boot_id() -> str:
    """A name for this run of the machine, by which :func:`steady` can be compared; empty where there is none."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


class Clock:
    """The time of day. All methods may be called from any number of threads at once."""

    def __init__(self, wall: Callable[[], float] = time.time, passed: Callable[[], float] = steady) -> None:
        """``wall`` tells what the machine takes for the time, and ``passed`` the seconds that pass."""
        self._wall = wall
        self._passed = passed
        self._listeners: list[OnJump] = []
        self.begin()

    def begin(self) -> None:
        """Take the machine's clock for right, as it is now."""
        self._lock = Lock()
        self._offset = self._wall() - self._passed()  # from what passes to the time of day
        self._other: tuple[float, float] | None = None  # the offset after a jump, and since when it is that
        self._saved_at = float("-inf")

    def subscribe(self, on_jump: OnJump) -> None:
        """Call ``on_jump`` with a sentence whenever the clock jumps, and when that is settled."""
        self._listeners.append(on_jump)

    def now(self) -> float:
        """The time of day, in seconds since the epoch."""
        return self.at(self._passed())

    def at(self, passed: float) -> float:
        """The time of day when :func:`steady` said ``passed``."""
        return passed + self._offset

    def is_trusted(self) -> bool:
        """Whether the time of day is what the machine's clock says, and can be."""
        with self._lock:
            news = self._look(self._wall() - self._passed())
            is_trusted = self._other is None and self.now() >= FIRST_PLAUSIBLE
        for listener in self._listeners if news else ():
            listener(news)
        return is_trusted

    def is_plausible(self, moment: float) -> bool:
        """Whether something may have happened then, as far as this clock can say."""
        return FIRST_PLAUSIBLE <= moment <= self.now() + STEP

    def _look(self, offset: float) -> str:
        """Take note of what the machine's clock says; returns what there is to be told of it, if anything."""
        jump = offset - self._offset
        if abs(jump) <= STEP:
            was_away, self._other = self._other is not None, None
            return "the machine's clock is what it was again" if was_away else ""
        if self._other is None or abs(offset - self._other[0]) > STEP:
            self._other = offset, self._passed()
            if self.now() < FIRST_PLAUSIBLE:  # it was never set until now
                return self._believe(offset)
            return (
                f"the machine's clock jumped by {jump:+.0f} s: nothing is removed for its age until it is what it was, "
                f"or has stayed for {SETTLED_AFTER / 60:.0f} minutes"
            )
        return self._believe(offset) if self._passed() - self._other[1] >= SETTLED_AFTER else ""

    def _believe(self, offset: float) -> str:
        self._offset, self._other = offset, None
        return "the machine's clock is believed again"

    # Across the ends of processes

    def restore(self, file: Path) -> None:
        """Go on from what an earlier process saved, so that a jump between the two is noticed as well."""
        try:
            saved = read(_Saved, file)
        except RecordError:
            return
        if saved is None:
            return
        with self._lock:
            if saved.boot and saved.boot == boot_id():
                self._offset = saved.offset
            elif not 0 <= self._wall() - saved.time <= _LONGEST_REST:
                self._offset = saved.time - self._passed()
        self.is_trusted()

    def save(self, file: Path) -> None:
        """Save what :meth:`restore` needs, once a minute; only while the clock is trusted."""
        if not self.is_trusted() or self._passed() < self._saved_at + _SAVED_EVERY:
            return
        temporary = file.with_name(f"{file.name}.tmp")  # one name: what a crash leaves, the next one replaces
        with suppress(OSError):
            file.parent.mkdir(exist_ok=True)
            temporary.write_bytes(encoded(as_data(_Saved(boot_id(), self._offset, self.now()))))
            temporary.replace(file)
            self._saved_at = self._passed()


@dataclass(frozen=True)
class _Saved:
    """What one process tells the next of the clock: the machine's run, the offset there, and the time of day."""

    boot: str
    offset: float
    time: float


CLOCK = Clock()
# A worker is forked from a process that looks at no clock: it takes the time as it finds it.
os.register_at_fork(after_in_child=CLOCK.begin)
