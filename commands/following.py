"""Following a build: its events as they come, until what is waited for is settled, or the time is over."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from commands.deadline import Deadline
from commands.display import Display
from web.client import Client, StagingFailed

_GOOD = ("staged", "absent")
_BAD = ("failed", "cancelled")  # the first of them has a cause of its own
_STOPPING = "the devserver is stopping"

Events = dict[str, Mapping[str, Any]]


def follow(
    client: Client, build_path: str, names: Collection[str] | None, display: Display, deadline: Deadline
) -> Events:
    """The last event of every artifact, by name, once those of these ``names`` are settled; or, with None, all.

    What a devserver leaves undone because it is stopping is waited for: the next one goes on with it.

    Raises:
        StillStaging: the time is over.
        StagingFailed: the build was removed.
        RequestRefused, ServerUnreachable, ServerBusy

    """
    latest: Events = {}
    with display:
        while not latest or any(_was_cut_off(event) for event in latest.values()):
            latest = {}
            for event in deadline.each(lambda: client.events(build_path)):
                if event.kind == "removed":
                    raise StagingFailed(f"{build_path} was removed")
                if event.kind == "artifact":
                    latest[event.data["artifact"]] = event.data
                    display.show(event.data)
                if names is not None and all(_is_settled(latest.get(name)) for name in names):
                    break
    return latest


def _was_cut_off(event: Mapping[str, Any]) -> bool:
    return event["state"] == "cancelled" and bool(event["cause"]) and event["cause"]["text"] == _STOPPING


def check(latest: Events, names: Collection[str] | None, required: Collection[str] = ()) -> None:
    """Find out whether what was waited for is staged; what is ``required`` has to be in the archive too.

    Raises:
        StagingFailed: the cause.

    """
    wanted = [(name, latest.get(name)) for name in (latest if names is None else names)]
    for state in _BAD:
        for name, event in wanted:
            if event is not None and event["state"] == state:
                raise StagingFailed(_cause(name, event))
    for name, event in wanted:
        if event is None or not _is_settled(event):
            raise StagingFailed(f"{name} is not being staged any more; the devserver may have started anew")
        if event["state"] == "absent" and name in required:
            raise StagingFailed(f"ObjectNotFound: {name}: the archive has none")


def _cause(name: str, event: Mapping[str, Any]) -> str:
    cause = event["cause"]
    return f"{cause['kind']}: {cause['text']}" if cause else f"{name} was given up: {event['state']}"


def _is_settled(event: Mapping[str, Any] | None) -> bool:
    return event is not None and event["state"] in (*_GOOD, *_BAD) and not _was_cut_off(event)
