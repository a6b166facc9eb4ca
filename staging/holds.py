"""Pins and leases: builds that are kept for somebody. They are on disk, for all devservers that share the directory.

A pin stays until it is taken away; a lease ends by itself. Whoever removes a build holds this lock all the while: a
lease that was given before is seen, and one that comes later finds the build gone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from secrets import token_hex
from threading import Event as Flag
from typing import Any, NamedTuple

from staging.build_names import fault_of_name
from staging.clock import CLOCK, boot_id, steady
from staging.errors import BuildHeld, InvalidParameter, NoSuchLease, RecordError, RecordMalformed
from staging.layout import BuildPlaces, holds_directory
from staging.locks import FileLock
from staging.presence import exists, names_in, remove_file
from staging.records.decoding import Moment, as_data, read, write
from staging.records.files import set_aside
from staging.units import in_utc

LONGEST_LEASE = 30 * 86400.0  # seconds; what has to stay for longer is pinned
SHORTEST_LEASE = 1.0
LONGEST_HOLDER = 100  # characters

_log = logging.getLogger(__name__)

_FORMAT = 1  # what a record that states none is in
MOST_LEASES = 200  # of one build


@dataclass(frozen=True)
class Lease:
    """One lease.

    Attributes:
        id: by which it is renewed and given back.
        holder: who has it, in a word.
        until: when it ends, in seconds since the epoch.
        boot, ends: the run of the machine in which it was given, and when it ends by the steady clock of that run,
            whatever becomes of the time of day.
        unknown: what a later version noted besides.

    """

    id: str
    holder: str
    until: Moment
    boot: str = ""
    ends: Moment = 0.0
    unknown: Any = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, id: str, holder: str, seconds: float, unknown: Any = None) -> Lease:  # noqa: A002 - the field's name
        """A lease that ends so many seconds from now."""
        return cls(id, holder, CLOCK.now() + seconds, boot_id(), steady() + seconds, unknown)

    @property
    def seconds_left(self) -> float:
        """For how long it still holds."""
        if self.boot and self.boot == boot_id():
            return self.ends - steady()
        return self.until - CLOCK.now()

    @property
    def holds(self) -> bool:
        """Whether it has not ended, as far as can be told: one that was given in this run of the machine is known."""
        if self.boot and self.boot == boot_id():
            return self.ends > steady()
        return self.until > CLOCK.now() or not CLOCK.is_trusted()


class Term(NamedTuple):
    """How long somebody wants to have a build kept; one who asks again has his lease made longer."""

    seconds: float
    holder: str


@dataclass(frozen=True)
class Holds:
    """For whom a build is kept: those leases alone that have not ended.

    ``unknown`` is what a later version noted besides.
    """

    is_pinned: bool = False
    leases: tuple[Lease, ...] = ()
    unknown: Any = field(default=None, compare=False, repr=False)

    def described(self, but: str = "") -> list[str]:
        """A few words for each hold; leases of the holder ``but`` are left out, where one is named."""
        leases = [lease for lease in self.leases if not but or lease.holder != but]
        words = [f"leased until {in_utc(lease.until)} by {lease.holder or 'somebody'}" for lease in leases]
        return ["pinned", *words] if self.is_pinned else words


@dataclass(frozen=True)
class _Written:
    """The record as it is written."""

    build: str
    pinned: bool
    leases: tuple[Lease, ...]
    unknown: Any = None


def holds_of(places: BuildPlaces) -> Holds:
    """For whom the build is kept now; where nobody can say, it is."""
    try:
        return _read(places)
    except RecordError:
        return Holds(is_pinned=True)


def _read(places: BuildPlaces) -> Holds:
    what = f"the record of who holds {places.build_path}"
    written = read(_Written, places.holds, what, _FORMAT)
    if written is None:
        return Holds()
    if written.build != places.build_path or any(map(_fault_of_lease, written.leases)):
        raise RecordMalformed(what, "it is another build's, or has leases that nobody can have")
    leases = tuple(_as_of_now(one) for one in written.leases if one.holds)
    return Holds(written.pinned, leases, written.unknown)


def _as_of_now(lease: Lease) -> Lease:
    """The lease with the time of day at which it ends, where that is known better by the steady clock."""
    is_of_this_run = lease.boot and lease.boot == boot_id()
    return replace(lease, until=CLOCK.at(lease.ends)) if is_of_this_run else lease


def _fault_of_lease(lease: Lease) -> str:
    """Why nobody can have the lease; empty where somebody can."""
    texts = (lease.id, lease.holder, lease.boot)
    is_sane = all(len(text) <= LONGEST_HOLDER and text.isascii() and text.isprintable() for text in texts)
    return "" if is_sane else "it has a name that nobody can have"


@contextmanager
def holding_still(places: BuildPlaces) -> Iterator[Holds]:
    """For whom the build is kept: nobody comes, for as long as the context lasts."""
    lock = FileLock.acquire(places.holds_lock, Flag())
    try:
        yield holds_of(places)
    finally:
        lock.release()


@contextmanager
def _to_be_changed(places: BuildPlaces) -> Iterator[Holds]:
    """The same, for who writes what is kept anew. A record that is none is put out of the way.

    Raises:
        RecordUnreadable, NewerFormat

    """
    with holding_still(places) as holds:
        try:
            holds = _read(places)
        except RecordMalformed as error:
            set_aside(places.holds)
            _log.warning("%s; it was renamed to %s.broken", error, places.holds.name)
        yield holds


@contextmanager
def not_held(places: BuildPlaces, but: str = "") -> Iterator[None]:
    """The right to remove the build, as far as pins and leases go, but for those of the holder ``but``.

    Raises:
        BuildHeld

    """
    with holding_still(places) as holds:
        reasons = holds.described(but)
        if reasons:
            raise BuildHeld(places.build_path, reasons)
        yield


def checked_holder(name: str, holder: str) -> str:
    """A word for who holds a lease; it is shown to everybody.

    Raises:
        InvalidParameter

    """
    if len(holder) > LONGEST_HOLDER or not (holder.isascii() and holder.isprintable()):
        raise InvalidParameter(name, f"it should be at most {LONGEST_HOLDER} printable characters of ASCII")
    return holder


def lease_for(places: BuildPlaces, term: Term) -> None:
    """Keep the build for so long, from now on, whether it is here already or will be.

    Raises:
        InvalidParameter: it has as many leases as it may.

    """
    with _to_be_changed(places) as holds:
        mine = [lease for lease in holds.leases if lease.holder == term.holder]
        seconds = max(term.seconds, *(lease.seconds_left for lease in mine), 0.0)
        kept = Lease.of(mine[0].id if mine else token_hex(8), term.holder, seconds, mine[0].unknown if mine else None)
        others = tuple(lease for lease in holds.leases if lease.id != kept.id)
        _write(places, _with_lease(places, replace(holds, leases=others), kept))


def drop_leases(places: BuildPlaces, is_awaited: Callable[[], bool]) -> None:
    """Forget the leases of a build that did not come, unless it ``is_awaited`` by somebody else."""
    if not exists(places.holds):
        return
    with _to_be_changed(places) as holds:
        if not is_awaited():
            _write(places, replace(holds, leases=()))


def _with_lease(places: BuildPlaces, holds: Holds, lease: Lease) -> Holds:
    """The holds with one more lease, where there may be one."""
    if len(holds.leases) >= MOST_LEASES:
        raise InvalidParameter("holder", f"{places.build_path} has {MOST_LEASES} leases; renew or give back some")
    return replace(holds, leases=(*holds.leases, lease))


def tidy(static_dir: Path) -> None:
    """Remove the records of leases that have all ended."""
    directory = holds_directory(static_dir)
    for path in (directory / name for name in names_in(directory) if name.endswith(".json")):
        with suppress(OSError, RecordError):
            written = read(_Written, path, "", _FORMAT)
            if written is None or fault_of_name(written.build):
                continue
            places = BuildPlaces(static_dir, written.build)
            if places.holds == path and holds_of(places) == Holds():
                with _to_be_changed(places) as holds:
                    _write(places, holds)


class BuildHolds:
    """Pins and leases, as people and harnesses ask for them."""

    def __init__(self, static_dir: Path, check_known: Callable[[str], Any]) -> None:
        """``check_known`` raises where nothing is known of the build at a path."""
        self._static_dir = static_dir
        self._check_known = check_known

    def of(self, build_path: str) -> Holds:
        """For whom the build is kept; like the others, it raises what ``check_known`` does."""
        self._check_known(build_path)
        return holds_of(BuildPlaces(self._static_dir, build_path))

    def pin(self, build_path: str) -> None:
        """Keep the build until it is unpinned."""
        with self._changing(build_path) as (places, holds):
            _write(places, replace(holds, is_pinned=True))

    def unpin(self, build_path: str) -> None:
        """Keep it no more than its leases say."""
        with self._changing(build_path) as (places, holds):
            _write(places, replace(holds, is_pinned=False))

    def lease(self, build_path: str, term: Term) -> Lease:
        """Keep the build for so long."""
        with self._changing(build_path) as (places, holds):
            lease = Lease.of(token_hex(8), term.holder, term.seconds)
            _write(places, _with_lease(places, holds, lease))
        return lease

    def renew(self, build_path: str, lease_id: str, seconds: float) -> Lease:
        """Have a lease end so many seconds from now.

        Raises:
            NoSuchLease

        """
        with self._changing(build_path) as (places, holds):
            lease, others = _found(places, holds, lease_id)
            renewed = Lease.of(lease.id, lease.holder, seconds, lease.unknown)
            _write(places, replace(holds, leases=(*others, renewed)))
        return renewed

    def release(self, build_path: str, lease_id: str) -> None:
        """Give a lease back.

        Raises:
            NoSuchLease

        """
        with self._changing(build_path) as (places, holds):
            _write(places, replace(holds, leases=tuple(_found(places, holds, lease_id)[1])))

    @contextmanager
    def _changing(self, build_path: str) -> Iterator[tuple[BuildPlaces, Holds]]:
        self._check_known(build_path)  # before a lock file is made for it
        places = BuildPlaces(self._static_dir, build_path)
        with _to_be_changed(places) as holds:
            self._check_known(build_path)
            yield places, holds


def _found(places: BuildPlaces, holds: Holds, lease_id: str) -> tuple[Lease, list[Lease]]:
    """The lease of that name, and the others."""
    others = [lease for lease in holds.leases if lease.id != lease_id]
    for lease in holds.leases:
        if lease.id == lease_id:
            return lease, others
    raise NoSuchLease(places.build_path, lease_id)


def _write(places: BuildPlaces, holds: Holds) -> None:
    if holds == Holds() and not holds.unknown:
        remove_file(places.holds)
        return
    write(places.holds, as_data(_Written(places.build_path, holds.is_pinned, holds.leases, holds.unknown)))
