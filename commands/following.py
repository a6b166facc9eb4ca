"""Following a build: its events as they come, until what is waited for is settled, or the time is over."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from queue import Empty, Queue
from threading import Thread
from time import monotonic
from typing import Any

from commands.display import Display
from web.client import Client, StagingFailed, StatusEvent, StillStaging

_GOOD = ("staged", "absent")
_BAD = ("failed", "cancelled")  # the first of them has a cause of its own
_LAST_KINDS = ("outcome", "removed")

Events = dict[str, Mapping[str, Any]]


def follow(
    client: Client, build_path: str, names: Collection[str] | None, display: Display, timeout: float | None
) -> Events:
    """The last event of every artifact, by name, once those of these ``names`` are settled; or, with None, all.

    Raises:
        StillStaging: ``timeout`` seconds were not enough.
        StagingFailed: the build was removed.
        RequestRefused, ServerUnreachable, ServerBusy

    """
    latest: Events = {}
    with display:
        for event in _within(timeout, client.events(build_path)):
            if event.kind == "removed":
                raise StagingFailed(f"{build_path} was removed")
            if event.kind == "artifact":
                latest[event.data["artifact"]] = event.data
                display.show(event.data)
            if names is not None and all(_is_settled(latest.get(name)) for name in names):
                break
    return latest


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
    return event is not None and event["state"] in (*_GOOD, *_BAD)


def _within(timeout: float | None, events: Iterator[StatusEvent]) -> Iterator[StatusEvent]:
    """The events, for so long. A thread of its own waits for them: a read cannot be given up at any moment."""
    deadline = None if timeout is None else monotonic() + timeout
    arrived: Queue[StatusEvent | Exception] = Queue()
    Thread(target=_pass_on, args=(events, arrived), daemon=True).start()
    while True:
        left = None if deadline is None else deadline - monotonic()
        try:
            event = arrived.get(timeout=None if left is None else max(left, 0.0))
        except Empty:
            raise StillStaging(f"not staged after {timeout:g} s; the devserver goes on") from None
        if isinstance(event, Exception):
            raise event
        yield event
        if event.kind in _LAST_KINDS:
            return


def _pass_on(events: Iterator[StatusEvent], arrived: Queue[StatusEvent | Exception]) -> None:
    try:
        for event in events:
            arrived.put(event)
    except Exception as error:
        arrived.put(error)
