"""How far a build is, as it is staged: bars at a terminal, a line for each change of state everywhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.filesize import decimal

from commands.printing import say


class Display:
    """Shows nothing, as where JSON is asked for; the others build on it."""

    def __enter__(self) -> Display:  # noqa: PYI034 - typing has no Self before Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, event: Mapping[str, Any]) -> None:
        """Show what became of an artifact; ``event`` is the data of its event."""


class Lines(Display):
    """A line for each change of state; events that only move bytes are none."""

    def __init__(self) -> None:
        self._states: dict[str, str] = {}

    def show(self, event: Mapping[str, Any]) -> None:
        """See :class:`Display`."""
        name, state = event["artifact"], event["state"]
        if state != self._states.get(name, "pending"):
            say(f"{name}: {state}{_more(event)}")
        self._states[name] = state


def _more(event: Mapping[str, Any]) -> str:
    if event["cause"]:
        return f": {event['cause']['kind']}: {event['cause']['text']}"
    return f", {decimal(event['bytes_total'])}" if event["state"] == "staged" else ""
