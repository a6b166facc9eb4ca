"""What a running devserver reads anew when it is told to: all of it, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from staging.errors import ConfigurationError


class Part(NamedTuple):
    """Something that is read off files.

    Attributes:
        name: what the log calls it.
        read: reads it, changing nothing, and returns the function that puts what was read in the place of the old.
            Raises :class:`~staging.errors.ConfigurationError` where it cannot be used.

    """

    name: str
    read: Callable[[], Callable[[], None]]


class Reload:
    """Reads every part anew; where one cannot be used, all stay as they were."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._parts: list[Part] = []

    def add(self, *parts: Part) -> None:
        """Read these, too, from now on."""
        self._parts += parts

    def __call__(self) -> None:
        """Read all anew, and log what became of it in one line."""
        try:
            changes = [part.read() for part in self._parts]
        except ConfigurationError as error:
            self._log(f"nothing was read anew, and all stays as it was: {error}")
            return
        for change in changes:
            change()
        self._log(f"read anew: {_listed([part.name for part in self._parts])}")


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)
