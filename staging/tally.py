"""How many bytes were moved for each build, so that the builds' turns can be fair."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from staging.status import BuildStatus, Change, Event, State

_MOST_BUILDS = 10_000


class BytesMoved:
    """The bytes that were fetched of each build since the server started, by all of its downloads together.

    A build of which nothing was fetched for longest is forgotten where there are too many.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._of: OrderedDict[str, int] = OrderedDict()

    def listen(self, status: BuildStatus, event: Event, change: Change) -> None:
        """A listener of the status board."""
        moved = event.bytes_done - change.before.bytes_done
        # What was staged already, or is by another devserver, is told without ever being under way here.
        if moved <= 0 or (change.before.state is State.PENDING and event.state.is_final):
            return
        with self._lock:
            self._of[status.build] = self._of.pop(status.build, 0) + moved
            if len(self._of) > _MOST_BUILDS:
                self._of.popitem(last=False)

    def of(self, build_path: str) -> int:
        """The bytes of one build."""
        return self._of.get(build_path, 0)
