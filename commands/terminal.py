"""A terminal is given back as it was, whichever signal ends or stops a command."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_ENDS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_SIGNALLED = 128  # what shells add to a signal's number, for an exit status


@contextmanager
def giving_back(show_cursor: Callable[[bool], object]) -> Iterator[None]:
    """Have a signal that ends the process raise, so that whoever hides the cursor shows it again; and show it while
    the process is stopped. To be used in the main thread.
    """

    def stop(number: int, _frame: FrameType | None) -> None:
        show_cursor(True)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)  # here it is stopped, until somebody lets it go on
        signal.signal(number, stop)
        show_cursor(False)

    handlers = {**dict.fromkeys(_ENDS, _end), signal.SIGTSTP: stop}
    before = {number: signal.getsignal(number) for number in handlers}
    for number, mine in handlers.items():
        if before[number] is signal.SIG_DFL:  # else somebody has it ignored
            signal.signal(number, mine)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, _frame: FrameType | None) -> None:
    sys.exit(_SIGNALLED + number)
