"""The log of downloads: one line an event, with the build path, through CherryPy's log."""

from __future__ import annotations

from staging.board import Note
from staging.errors import InternalFailure
from staging.status import BuildStatus, Change, Event, State
from staging.units import in_bytes
from web.logs import log_line

_TAG = "DOWNLOAD"


def log_event(status: BuildStatus, event: Event, change: Change) -> None:
    """A listener of the status board: log ``event`` unless it only moves bytes, and what it settles."""
    if event.note:
        _log(status, f"{event.artifact}: {event.note}", event.artifact)
    if event.state is not change.before.state and not _never_began(event, change):
        _log(status, f"{event.artifact} {_described(event)}", event.artifact)
    if isinstance(event.cause, InternalFailure):
        _log(status, f"{event.artifact}: {event.cause.detail}", event.artifact)
    seconds = status.seconds
    if change.settled_synchronous and not change.settled:
        _log(status, f"synchronous artifacts staged after {seconds:.2f} s")
    if change.settled:
        outcome = "staged" if event.cause is None else f"failed: {event.cause.kind}: {event.cause}"
        _log(status, f"{outcome}; {seconds:.2f} s after the download began")


def log_note(note: Note) -> None:
    """A reader of the status board's notes."""
    log_line(_TAG, f"{note.build}: {note.text}", build=note.build, request_id=note.request_id)


def _never_began(event: Event, change: Change) -> bool:
    """Whether an artifact was given up before its turn: the line that says so of the build is enough."""
    return event.cause is not None and change.before.state is State.PENDING


def _described(event: Event) -> str:
    if event.cause is not None:
        return f"{event.state.value}: {event.cause.kind}: {event.cause}"
    size = in_bytes(event.bytes_total) if event.bytes_total else ""
    if event.state is State.STAGED and event.bytes_from_peers:
        size += f", {in_bytes(event.bytes_from_peers)} of it from peers"
    return f"{event.state.value} ({size})" if size else event.state.value


def _log(status: BuildStatus, text: str, artifact: str = "") -> None:
    log_line(_TAG, f"{status.build}: {text}", build=status.build, artifact=artifact, request_id=status.request_id)
