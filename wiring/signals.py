"""What signals mean to a devserver; imports nothing, so that a signal that comes early is not lost."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

END = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
READ_ANEW, REOPEN_LOGS = signal.SIGHUP, signal.SIGUSR1
# Whatever sends these means another program; the kernel would end this one.
MEANINGLESS = (signal.SIGUSR2, signal.SIGIO, signal.SIGPWR, signal.SIGVTALRM, signal.SIGPROF)

_TIME_TO_END = 9  # seconds from the first signal to the end, in good order or not


class Signals:
    """Takes signals from when it is made, and has them answered once there is somebody to do so.

    A handler runs wherever the main thread happens to be, so that it only takes note; :meth:`answer` is for a place
    where anything may be done.
    """

    def __init__(self) -> None:
        self._came: dict[signal.Signals, None] = {}
        self._began_in_a_terminal = _is_terminal()
        for number in (*END, READ_ANEW, REOPEN_LOGS):
            signal.signal(number, self._take_note)
        leave_unanswered(MEANINGLESS)

    @property
    def is_end_asked_for(self) -> bool:
        """Whether one of the signals came that end the server."""
        return any(number in self._came for number in END)

    def answer(
        self, end: Callable[[str], None], read_anew: Callable[[], None], reopen_logs: Callable[[], None]
    ) -> None:
        """Call what goes with each signal that came since the last call; ``end`` is told the signal's name."""
        while self._came:
            number = next(iter(self._came))
            del self._came[number]
            if number in END or (number == READ_ANEW and self._is_terminal_gone()):
                end(number.name)
            elif number == READ_ANEW:
                read_anew()
            else:
                reopen_logs()

    def _take_note(self, number: int, _frame: FrameType | None) -> None:
        if number in END and not self.is_end_asked_for:
            # The kernel sees to it, whatever the interpreter is at.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(_TIME_TO_END)
        self._came[signal.Signals(number)] = None

    def _is_terminal_gone(self) -> bool:
        """Whether the terminal that this server was started in is closed, which SIGHUP tells as well."""
        return self._began_in_a_terminal and not _is_terminal()


def leave_unanswered(signals: tuple[signal.Signals, ...]) -> None:
    """Have the signals do nothing to this process; the programs that it starts have them as they were."""
    for number in signals:
        signal.signal(number, lambda *_: None)


def _is_terminal() -> bool:
    with suppress(OSError, ValueError, AttributeError):  # closed, or never there
        return os.isatty(sys.stdin.fileno())
    return False
