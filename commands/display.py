"""How far a build is, as it is staged: bars at a terminal, a line for each change of state everywhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from commands.printing import say
from staging.units import in_bytes


class Display:
    """Shows nothing, as where JSON is asked for; the others build on it."""

    def __enter__(self) -> Display:  # noqa: PYI034 - typing has no Self before Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, event: Mapping[str, Any]) -> None:
        """Show what became of an artifact; ``event`` is the data of its event."""


class Lines(Display):
    """A line for each change of state; events that only move bytes are none. A cause is told once."""

    def __init__(self) -> None:
        self._states: dict[str, str] = {}
        self._told: set[str] = set()
        self._troubles: dict[str, str] = {}
        self._unbegun: list[tuple[str, str]] = []  # what failed before anything of it came, and what is to be said
        self._has_spoken = False

    def __exit__(self, *_: object) -> None:
        """Where nothing of the build came, what the command ends with says why, and says it once."""
        if self._has_spoken:
            self._tell_unbegun()

    def show(self, event: Mapping[str, Any]) -> None:
        """See :class:`Display`."""
        name, state = event["artifact"], event["state"]
        self._tell_trouble(name, event.get("trouble", ""))
        before = self._states.get(name, "pending")
        if state != before and before == "pending" and state == "failed":
            self._unbegun.append((name, self._more(event)))
        elif state != before:
            self._say(f"{name}: {'not tried' if is_not_tried(event) else state}{self._more(event)}")
        self._states[name] = state

    def _say(self, text: str) -> None:
        self._has_spoken = True
        self._tell_unbegun()
        say(text)

    def _tell_unbegun(self) -> None:
        for name, more in self._unbegun:
            say(f"{name}: failed{more}")
        self._unbegun.clear()

    def _tell_trouble(self, name: str, trouble: str) -> None:
        """Say what is tried again, once for each reason: that of the next try is mostly the same."""
        why = trouble.partition(" after: ")[2]
        if why and why != self._troubles.get(name):
            self._say(f"{name}: {trouble}")
        self._troubles[name] = why

    def _more(self, event: Mapping[str, Any]) -> str:
        if is_not_tried(event):
            return ""
        if event["cause"]:
            cause = f"{event['cause']['kind']}: {event['cause']['text']}"
            is_news = cause not in self._told
            self._told.add(cause)
            return f": {cause}" if is_news else " for the same cause"
        return f", {in_bytes(event['bytes_total'])}" if event["state"] == "staged" else ""


def is_not_tried(artifact: Mapping[str, Any]) -> bool:
    """Whether an artifact, or the last event of one, was given up because another had failed, whose cause it has."""
    cause = artifact["cause"]
    return artifact["state"] == "cancelled" and cause is not None and cause["kind"] != "Cancelled"
