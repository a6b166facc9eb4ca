"""Room on the disk: made before a download needs it, and kept within what the operator allows.

What goes is decided by :mod:`staging.eviction`; here it is deleted, under the locks of all who could want to keep it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event as Flag
from time import monotonic, sleep
from typing import NamedTuple

from staging.build_removal import remove_build
from staging.clock import CLOCK
from staging.errors import DISK_ERRORS, BuildHeld, NoRoom
from staging.eviction import Decision, Disk, Limits, Reason, Record, Victim, decide
from staging.holds import not_held, tidy
from staging.inventory import BEING_STAGED, Inventory, Stocktaker
from staging.layout import BuildPlaces, clock_file, removals_directory, room_lock
from staging.locks import FileLock
from staging.presence import names_in
from staging.promises import Promise
from staging.recovery import Problems, clear_up
from staging.units import in_bytes
from staging.usage import LastUse, keeping_readers_away

_TRIES = 10  # where what should go turns out to be held, and others have to
_MOST_HOLDERS = 5  # that are named
_CLEARED_UP_EVERY = 60.0  # seconds
_A_MOMENT = 0.1  # seconds

OnEviction = Callable[[str, Reason, int], None]


_FOR_THE_SAKE_OF = {"bytes": "--max-bytes", "free": "--min-free", "age": "--max-age"}


class Coming(NamedTuple):
    """An artifact that will come.

    Attributes:
        name: the artifact's.
        size: bytes of its objects.
        growth: how many times that its files will have, where no build on the disk tells; 1 for what stays as it is.

    """

    name: str
    size: int
    growth: float


class Collected(NamedTuple):
    """What became of a look at the room.

    Attributes:
        gone: what was removed.
        left: what should go and could not, what stays, and how much is missing.

    """

    gone: Sequence[Victim]
    left: Decision


class Room:
    """The room in a static directory."""

    def __init__(self, static_dir: Path, limits: Limits, last_use: LastUse, stocktaker: Stocktaker) -> None:
        self._static_dir = static_dir
        self._limits = limits
        self._last_use = last_use
        self._stocktaker = stocktaker
        self._listeners: list[OnEviction] = []
        self._cleared_up_at = -_CLEARED_UP_EVERY

    def subscribe(self, on_eviction: OnEviction) -> None:
        """Call ``on_eviction`` with every build that is evicted: path, limit that it went for, and size."""
        self._listeners.append(on_eviction)

    def make(self, places: BuildPlaces, coming: Sequence[Coming], cancelled: Flag) -> Promise:
        """Make room for artifacts of a build, and promise it to them. The caller holds the build's lock.

        Raises:
            NoRoom: too much is held, or the build is too large; nothing was removed for it.
            Cancelled: the flag was set while others made room.

        """
        if not self._limits.are_there:
            return Promise(places, _sizes(coming, {}))
        lock = FileLock.acquire(room_lock(self._static_dir), cancelled)
        try:
            return self._made(places, coming)
        finally:
            lock.release()

    def check(self, places: BuildPlaces, coming: Sequence[Coming]) -> None:
        """Find out whether room could be made for artifacts of a build, as things are now.

        Raises:
            NoRoom: it could not.

        """
        if self._limits.are_there:
            self._needed(places, coming)

    def tend(self) -> Collected:
        """Remove what the limits do not allow, where others are not at it, and what is left of work that is over.

        Raises:
            OSError, RecordUnreadable: something of that could not be done now; all else was.

        """
        CLOCK.save(clock_file(self._static_dir))
        tidy(self._static_dir)
        problems = self._cleared_up()
        if self._limits.max_age is not None and CLOCK.is_trusted():
            self._put_times_right()
        lock = FileLock.try_once(room_lock(self._static_dir)) if self._limits.are_there else None
        collected = self._collected(lock) if lock is not None else Collected((), Decision((), (), 0))
        for problem in problems.values():
            if isinstance(problem, DISK_ERRORS):  # what a later version wrote was told of at the start
                raise problem
        return collected

    def _cleared_up(self) -> Problems:
        """Finish or remove what was left: once a minute, and at once where a removal failed half-way."""
        is_due = monotonic() >= self._cleared_up_at + _CLEARED_UP_EVERY
        if not (is_due or names_in(removals_directory(self._static_dir))):
            return {}
        self._cleared_up_at = monotonic()
        return clear_up(self._static_dir)

    def _put_times_right(self) -> None:
        """Have builds that were used at no time that can have been count as used now."""
        for record in self._stocktaker.take().records:
            if not CLOCK.is_plausible(record.last_used):
                self._last_use.put_right(record.build_path)

    def collect(self) -> Collected:
        """The same, once others have done with it."""
        return self._collected(FileLock.acquire(room_lock(self._static_dir), Flag()))

    def write_last_use(self) -> None:
        """Write down what only this process knows of when builds were used."""
        self._last_use.flush()

    def decision(self) -> Decision:
        """What would go and what would stay, now."""
        return self._decided(self._stocktaker.take(), 0)

    def _collected(self, lock: FileLock) -> Collected:
        gone: list[Victim] = []
        try:
            for _ in range(_TRIES):
                evicted = [victim for victim in self.decision().goes if self._evict(victim)]
                gone += evicted
                if not evicted:
                    break
            return Collected(gone, self.decision())
        finally:
            lock.release()

    def _made(self, places: BuildPlaces, coming: Sequence[Coming]) -> Promise:
        for _ in range(_TRIES):
            goes, sizes = self._needed(places, coming)
            if all(self._evict(victim) for victim in goes):
                return Promise(places, sizes)
        raise NoRoom(places.build_path, "whatever could make room is in use, time and again", [])

    def _needed(self, places: BuildPlaces, coming: Sequence[Coming]) -> tuple[Sequence[Victim], dict[str, int]]:
        """What has to go for artifacts of a build, and how many bytes each of them will have, by name.

        Raises:
            NoRoom

        """
        try:
            return self._needed_now(places, coming)
        except NoRoom:
            sleep(_A_MOMENT)  # who only looked whether a build's lock is free had it, and the build counted as held
            return self._needed_now(places, coming)

    def _needed_now(self, places: BuildPlaces, coming: Sequence[Coming]) -> tuple[Sequence[Victim], dict[str, int]]:
        inventory = self._stocktaker.take()
        sizes = _sizes(coming, inventory.growth)
        wanted = sum(sizes.values())
        self._check_size(places.build_path, inventory, wanted)
        decision = self._decided(inventory, wanted)
        if decision.missing:
            raise NoRoom(places.build_path, self._shortage(wanted, decision.missing), _holders(decision, inventory))
        return decision.goes, sizes

    def _decided(self, inventory: Inventory, wanted: int) -> Decision:
        file_system = os.statvfs(self._static_dir)
        disk = Disk(
            free=file_system.f_bavail * file_system.f_frsize,
            unpublished=sum(promised.unpublished for promised in inventory.promised),
            unwritten=sum(promised.unwritten for promised in inventory.promised),
        )
        # Of the age of builds nothing can be said while the clock cannot be trusted.
        limits = self._limits if CLOCK.is_trusted() else replace(self._limits, max_age=None)
        return decide(inventory.records, limits, disk, CLOCK.now(), wanted)

    def _check_size(self, build_path: str, inventory: Inventory, wanted: int) -> None:
        """Find out whether the build is larger than all that there could be.

        Raises:
            NoRoom

        """
        here = sum(record.size for record in inventory.records if record.build_path == build_path)
        here += sum(promised.unpublished for promised in inventory.promised if promised.build_path == build_path)
        most = self._limits.max_bytes
        if most is not None and here + wanted > most:
            reason = f"alone it needs {in_bytes(here + wanted)}, and --max-bytes allows {in_bytes(most)} in all"
            raise NoRoom(build_path, reason, [])
        file_system = os.statvfs(self._static_dir)
        whole, least = file_system.f_blocks * file_system.f_frsize, self._limits.min_free
        if least is not None and here + wanted + least > whole:
            reason = f"alone it needs {in_bytes(here + wanted)}, and --min-free keeps {in_bytes(least)} of the disk's "
            raise NoRoom(build_path, f"{reason}{in_bytes(whole)} free", [])

    def _shortage(self, wanted: int, missing: int) -> str:
        limits = {"--max-bytes": self._limits.max_bytes, "--min-free": self._limits.min_free}
        named = " and ".join(f"{name} of {in_bytes(limit)}" for name, limit in limits.items() if limit is not None)
        return f"it needs {in_bytes(wanted)}, which with {named} is {in_bytes(missing)} too much"

    def _evict(self, victim: Victim) -> bool:
        """Remove a build; whether that was done: somebody may have begun to use or to hold it since it was chosen."""
        places = BuildPlaces(self._static_dir, victim.record.build_path)
        lock = FileLock.try_once(places.lock)
        if lock is None:
            return False
        try:
            with not_held(places), keeping_readers_away(places) as is_unread:
                if not is_unread or not self._is_as_it_was(places, victim.record):
                    return False
                remove_build(places)
        except BuildHeld:
            return False
        finally:
            lock.release()
        for listener in self._listeners:
            listener(places.build_path, victim.reason, victim.record.size)
        return True

    def _is_as_it_was(self, places: BuildPlaces, record: Record) -> bool:
        """Whether a build of which the caller holds every lock is the one that was chosen, and was not used since."""
        return not self._stocktaker.is_under_way(places.build_path) and self._stocktaker.unheld(places) == record


def described(reason: Reason, size: int) -> str:
    """An eviction in a few words."""
    return f"evicted for the sake of {_FOR_THE_SAKE_OF[reason]}, {in_bytes(size)}"


def _sizes(coming: Sequence[Coming], seen: Mapping[str, float]) -> dict[str, int]:
    """How many bytes each artifact will have, by name, where ``seen`` tells how those of other builds grew."""
    growth = {one.name: one.growth if one.growth == 1 else seen.get(one.name, one.growth) for one in coming}
    return {one.name: int(one.size * growth[one.name]) for one in coming}


def _holders(decision: Decision, inventory: Inventory) -> list[str]:
    """What holds the room, the largest first, in a few words each."""
    on_its_way: dict[str, int] = {}
    for promised in inventory.promised:
        on_its_way[promised.build_path] = on_its_way.get(promised.build_path, 0) + promised.unpublished
    held = {record.build_path: record for record in decision.stays if record.holds}
    held |= {path: Record(path, 0, 0.0, (BEING_STAGED,)) for path in on_its_way.keys() - held.keys()}
    grown = [replace(record, size=record.size + on_its_way.get(path, 0)) for path, record in held.items()]
    grown.sort(key=lambda record: (-record.size, record.build_path))
    named = [f"{one.build_path} ({in_bytes(one.size)}: {', '.join(one.holds)})" for one in grown[:_MOST_HOLDERS]]
    more = len(grown) - len(named)
    return [*named, f"{more} more"] if more else named
