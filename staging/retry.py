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
OnRetry = Callable[[ArchiveUnavailable, int], None]  # is told of the error, and of which try in a row it was

_FIRST_PAUSE = 0.1  # seconds; doubled after each try
_LONGEST_PAUSE = 10.0  # seconds


def no_retry(_: ArchiveUnavailable, _number: int) -> None:
    """Who is told of tries that failed, where nobody wants to know."""


def trouble_of(error: ArchiveUnavailable, number: int) -> str:
    """What people are told while the try after the one with that ``number`` is waited for."""
    return f"try {number + 1} after: {error.reason}"


@dataclass(frozen=True)
class Patience:
    """How long to bear with an archive that fails.

    Attributes:
        stall_timeout: seconds without a byte after which one read is given up.
        retry_deadline: seconds of failing in a row after which the whole is.

    """

    stall_timeout: float = 30.0
    retry_deadline: float = 60.0


def check(*cancelled: Flag) -> None:
    """Raise ``Cancelled`` once somebody set one of the flags."""
    if any(flag.is_set() for flag in cancelled):
        raise Cancelled("the download was stopped")


class Retry:
    """The tries at one thing: how long they have been failing, and how long to pause before the next."""

    def __init__(self, deadline: float, *cancelled: Flag) -> None:
        """Failures in a row are borne for ``deadline`` seconds; any of the flags ends a pause."""
        self._deadline = deadline
        self._cancelled = cancelled
        self.went_well()

    def went_well(self) -> None:
        """Count the failures anew."""
        self._give_up_at: float | None = None
        self._pause = _FIRST_PAUSE
        self._number = 0

    def wait_after(self, error: ArchiveUnavailable, on_retry: OnRetry = no_retry) -> None:
        """Pause before another try, of which ``on_retry`` is told first.

        Raises:
            ArchiveUnavailable: ``error``, where there is no time left for another try.
            Cancelled: one of the flags was set.

        """
        if self._give_up_at is None:
            self._give_up_at = monotonic() + self._deadline
        # Random, so that the slices of many downloads do not come back in step.
        wait = max(error.retry_after, self._pause * random.uniform(0.5, 1.5))  # noqa: S311 - no secret hangs on it
        if monotonic() + wait > self._give_up_at:
            raise error
        self._number += 1
        on_retry(error, self._number)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        self._sleep(wait)

    def _sleep(self, seconds: float) -> None:
        until = monotonic() + seconds
        while (left := until - monotonic()) > 0:
            check(*self._cancelled)
            self._cancelled[0].wait(min(left, 0.5))
        check(*self._cancelled)


def retrying(
    call: Callable[[], T],
    deadline: float,
    cancelled: Flag,
    on_retry: OnRetry = no_retry,
) -> T:
    """What ``call`` returns, called again for as long as it raises ``ArchiveUnavailable``, for ``deadline`` seconds.

    ``on_retry`` is told of every try that failed, but for the last one.

    Raises:
        Cancelled: the flag was set; a pause ends at once.
        ArchiveUnavailable: the last one, when the time ran out.

    """
    retry = Retry(deadline, cancelled)
    while True:
        check(cancelled)
        try:
            return call()
        except ArchiveUnavailable as error:
            retry.wait_after(error, on_retry)
