"""Trying again: what may pass is tried until a deadline, with a growing and random pause."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event as Flag
from time import monotonic
from typing import TypeVar

from staging.errors import ArchiveUnavailable, Cancelled

T = TypeVar("T")

_FIRST_PAUSE = 0.1  # seconds; doubled after each try
_LONGEST_PAUSE = 10.0  # seconds


@dataclass(frozen=True)
class Patience:
    """How long to bear with an archive that fails.

    Attributes:
        stall_timeout: seconds without a byte after which one read is given up.
        retry_deadline: seconds of failing in a row after which the whole is.

    """

    stall_timeout: float = 30.0
    retry_deadline: float = 60.0


def check(cancelled: Flag) -> None:
    """Raise ``Cancelled`` once somebody set the flag."""
    if cancelled.is_set():
        raise Cancelled("the download was stopped")


def retrying(call: Callable[[], T], deadline: float, cancelled: Flag) -> T:
    """What ``call`` returns, called again for as long as it raises ``ArchiveUnavailable``, for ``deadline`` seconds.

    Raises:
        Cancelled: the flag was set; a pause ends at once.
        ArchiveUnavailable: the last one, when the time ran out.

    """
    give_up_at = monotonic() + deadline
    pause = _FIRST_PAUSE
    while True:
        check(cancelled)
        try:
            return call()
        except ArchiveUnavailable as error:
            # Random, so that the slices of many downloads do not come back in step.
            wait = max(error.retry_after, pause * random.uniform(0.5, 1.5))  # noqa: S311 - no secret hangs on it
            if monotonic() + wait > give_up_at:
                raise
        cancelled.wait(wait)
        pause = min(2 * pause, _LONGEST_PAUSE)
