"""What an archive did not have of a build is looked for again: a build may be staged while it is being uploaded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Lock, Thread
from time import monotonic

from devserver_util import gather_artifact_downloads, staged_manifest
from download import Means, Order
from staging.archives import open_archive
from staging.errors import DISK_ERRORS, DevServerError

_EVERY = 600.0  # seconds
_MOST_BUILDS = 10_000  # of which it is known when somebody looked


class LookingAgain:
    """Looks for optional artifacts that a build lacked, behind those who ask for it, and now and then."""

    def __init__(self, means: Means, order: Callable[[Order], object]) -> None:
        """What is there by now is staged by ``order``."""
        self._means = means
        self._order = order
        self._lock = Lock()
        self._looked: OrderedDict[str, float] = OrderedDict()

    def note(self, build: str) -> None:
        """Take note that the build's archive was looked at just now."""
        with self._lock:
            self._looked[build] = monotonic()
            self._looked.move_to_end(build)
            if len(self._looked) > _MOST_BUILDS:
                self._looked.popitem(last=False)

    def at_what_lacks(self, order: Order) -> None:
        """Look for what the build of an order lacks, whose download has nothing else to do, if it is time to.

        That fails nobody, and nobody waits for it.
        """
        build = order.places.build_path
        with self._lock:
            is_time = monotonic() - self._looked.get(build, float("-inf")) > _EVERY
        if is_time:
            self.note(build)
            Thread(target=self._look, args=(order,), name="look again", daemon=True).start()

    def _look(self, order: Order) -> None:
        try:
            found = self._found(order)
            if found:
                self._means.board.note(order.places.build_path, f"the archive has {', '.join(found)} by now")
                entries = [replace(entry, required=True) for entry in order.artifacts if entry.name in found]
                self._order(replace(order, artifacts=entries, is_whole=False, written=None))
        except (DevServerError, *DISK_ERRORS):  # the build is as good as it was
            pass

    def _found(self, order: Order) -> Sequence[str]:
        records = staged_manifest(order.places, order.url).artifacts
        absent = {name for name, record in records.items() if record.state == "absent"}
        lacking = [entry for entry in order.artifacts if entry.name in absent]
        if not lacking:
            return ()
        options = self._means.options
        archive = open_archive(order.url, options.patience.stall_timeout, options.user_project)
        return [artifact.entry.name for artifact in gather_artifact_downloads(lacking, archive).artifacts]
