"""What was read off the manifests of builds, kept in mind for as long as each stays as it was."""

from __future__ import annotations

import os
import random
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

from staging.errors import RecordMalformed
from staging.layout import BuildPlaces
from staging.presence import is_absence

T = TypeVar("T")

_MOST = 16_384  # builds
_STEPS = 16  # of which one goes, at random; the others have had their turn
_FEW = 128  # of which it does not matter whether they are still there


class InMind(Generic[T]):
    """Gives what ``read`` makes of a build's manifest, and asks it anew when that was replaced.

    To parse a thousand manifests takes a tenth of a second. Each build is in mind once, the newest version of it. Those
    that are gone are forgotten whenever there are twice as many as there were: a devserver that runs for months sees
    many.
    """

    def __init__(self, read: Callable[[BuildPlaces, os.stat_result], T]) -> None:
        self._read = read
        self._lock = Lock()
        # Of each build which file it was, by when that was changed and its number, and what was read of it.
        self._known: OrderedDict[BuildPlaces, tuple[tuple[int, int], T]] = OrderedDict()
        self._many = _FEW

    def of(self, places: BuildPlaces) -> T | None:
        """The same as it is now; None where there is no manifest.

        Raises:
            OSError, RecordUnreadable: it cannot be read now; nothing of that is kept in mind.

        """
        try:
            status = places.manifest.stat()
        except OSError as error:
            with self._lock:
                self._known.pop(places, None)
            if is_absence(error):
                return None
            raise
        version = (status.st_mtime_ns, status.st_ino)
        with self._lock:
            known = self._known.get(places)
            if known is not None and known[0] == version:
                return known[1]
        try:
            read = self._read(places, status)
        except RecordMalformed:
            return None  # until it is set aside, which makes it another file
        with self._lock:
            if places not in self._known and len(self._known) >= _MOST:
                self._forget_one()
            self._known[places] = (version, read)
            if len(self._known) > self._many:
                self._forget_what_is_gone()
        return read

    def _forget_one(self) -> None:
        """Make room, by any of them: of more builds than there is room for, a walk in order would find none of those in
        mind, if always the one that was used longest ago went.
        """
        for _ in range(random.randrange(_STEPS)):  # noqa: S311 - nobody gains by guessing it
            places, known = self._known.popitem(last=False)
            self._known[places] = known
        self._known.popitem(last=False)

    def _forget_what_is_gone(self) -> None:
        for places in [one for one in self._known if not os.path.exists(one.manifest)]:  # noqa: PTH110
            del self._known[places]
        self._many = max(_FEW, 2 * len(self._known))
