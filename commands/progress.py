"""Which display suits the place that standard output leads to."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping
from typing import Any

from commands.display import Display, Lines


def fitting_display(as_json: bool, shown: Collection[str] | None = None, ignored: Collection[str] = ()) -> Display:
    """Bars at a terminal, lines elsewhere, and nothing beside JSON; of the artifacts ``shown``, or of all."""
    return _Some(_display(as_json), shown, ignored)


class _Some(Display):
    """Shows some artifacts by ``display``, and nothing of the others."""

    def __init__(self, display: Display, shown: Collection[str] | None, ignored: Collection[str]) -> None:
        self._display = display
        self._shown = shown
        self._ignored = ignored

    def __enter__(self) -> Display:
        self._display.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self._display.__exit__(*raised)

    def show(self, event: Mapping[str, Any]) -> None:
        """See :class:`Display`."""
        name = event["artifact"]
        if name not in self._ignored and (self._shown is None or name in self._shown):
            self._display.show(event)


def _display(as_json: bool) -> Display:
    if as_json:
        return Display()
    if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        from commands.bars import Bars, console  # rich takes a tenth of a second to import

        where = console()
        if where.is_interactive:  # which knows more names of terminals that can do nothing
            return Bars(where)
    return Lines()
