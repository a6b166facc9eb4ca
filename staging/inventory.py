"""What is on the disk: a record of every build, with what holds it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from staging.board import StatusBoard
from staging.build_removal import is_its_own_source
from staging.clock import CLOCK, STEP
from staging.errors import NewerFormat, RecordUnreadable
from staging.eviction import Record
from staging.holds import holds_of
from staging.in_mind import InMind
from staging.layout import RESERVED_NAME, BuildPlaces, holds_directory
from staging.locks import is_locked
from staging.manifest import Manifest
from staging.newer import glimpsed
from staging.overview import builds_below
from staging.presence import names_in
from staging.promises import Promised, promises
from staging.usage import LastUse, is_being_read

BEING_STAGED = "being staged"
READ_WITHIN = 300.0  # seconds after its last use in which a build counts as read, where nobody knows who is reading

Readers = Callable[[str], int | None]


def nobody(_build_path: str) -> int:
    """The readers of a process that serves nobody."""
    return 0


def unknown(_build_path: str) -> None:
    """Those where another server serves the files."""


@dataclass(frozen=True)
class Inventory:
    """What is on the disk at one moment.

    Attributes:
        records: of all builds that a devserver made.
        promised: what is on its way.
        growth: how many bytes an artifact's files have for each byte that was fetched for it, by the artifact's name:
            the most that was seen of it.

    """

    records: Sequence[Record]
    promised: Sequence[Promised]
    growth: Mapping[str, float]


class Stocktaker:
    """Takes stock of a static directory."""

    def __init__(self, static_dir: Path, last_use: LastUse, readers: Readers, board: StatusBoard | None) -> None:
        """``readers`` tells how many clients of this process are reading a build; None where that is not known, and a
        build that was used within the last minutes counts as read. ``board`` is that of this process, if it stages.
        """
        self._static_dir = static_dir
        self._last_use = last_use
        self._readers = readers
        self._board = board

    def take(self) -> Inventory:
        """The inventory of now."""
        growth: dict[str, float] = {}
        promised = list(promises(self._static_dir))  # first: what is published meanwhile counts twice, and not never
        marks = _Marks(_names(holds_directory(self._static_dir)), _names(self._static_dir / RESERVED_NAME / "locks"))
        records = []
        for places in builds_below(self._static_dir):
            # What cannot be looked at now is not chosen; one bad sector is no other build's trouble.
            with suppress(OSError, RecordUnreadable):
                facts = _FACTS.of(places)
                if facts is None:
                    continue
                for name, ratio in facts.growth.items():
                    growth[name] = max(ratio, growth.get(name, 0.0))
                records.append(self._record(places, facts, marks))
        return Inventory(records, promised, growth)

    def unheld(self, places: BuildPlaces) -> Record | None:
        """The record of one build as it is now, without its holds; None where it is no more, or not this version's."""
        facts = _FACTS.of(places)
        if facts is None or facts.is_newer:
            return None
        return Record(places.build_path, facts.size, self._last_used(places, facts))

    def is_under_way(self, build_path: str) -> bool:
        """Whether this process is staging something of the build, or about to."""
        return self._board is not None and self._board.is_under_way(build_path)

    def _record(self, places: BuildPlaces, facts: _Facts, marks: _Marks) -> Record:
        last_used = self._last_used(places, facts)
        return Record(places.build_path, facts.size, last_used, tuple(self._holds(places, facts, marks, last_used)))

    def _last_used(self, places: BuildPlaces, facts: _Facts) -> float:
        # What was staged while the clock was ahead was staged no later than it was used.
        since = facts.since if facts.since <= CLOCK.now() + STEP else 0.0
        return max(self._last_use.of(places.build_path) or 0.0, since)

    def _holds(self, places: BuildPlaces, facts: _Facts, marks: _Marks, last_used: float) -> Iterator[str]:
        if facts.is_own_source:
            yield "staged from where it lies"
        if facts.is_newer:
            yield "of a later version of the devserver"
        if marks.holds and places.holds.name in marks.holds:
            yield from holds_of(places).described()
        if self.is_under_way(places.build_path) or (places.key in marks.locks and is_locked(places.lock)):
            yield BEING_STAGED
        readers = self._readers(places.build_path)
        if readers:
            yield f"being read by {readers} {'client' if readers == 1 else 'clients'}"
        elif is_being_read(places):
            yield "being read"
        elif readers is None and CLOCK.now() - last_used < READ_WITHIN:
            yield f"used within the last {READ_WITHIN / 60:.0f} minutes, and maybe being read"


class _Marks(NamedTuple):
    """The names of the files that say of some builds that somebody holds them: most builds have none to be read."""

    holds: set[str]
    locks: set[str]


def _names(directory: Path) -> set[str]:
    return set(names_in(directory))


class _Facts(NamedTuple):
    """What the manifest of a build says.

    Attributes:
        size: bytes that its removal frees.
        since: when the newest of it was staged, or the manifest written, in seconds since the epoch.
        is_own_source: whether it was staged from its own directory.
        is_newer: whether a later version wrote it, whose builds are not this version's to remove.
        growth: see :class:`Inventory`.

    """

    size: int
    since: float
    is_own_source: bool
    is_newer: bool
    growth: Mapping[str, float]


def _read(places: BuildPlaces, status: os.stat_result) -> _Facts | None:
    try:
        manifest, is_newer = Manifest.read(places), False
    except NewerFormat:
        manifest, is_newer = glimpsed(places), True
    if manifest is None:
        return None
    records = manifest.artifacts
    fetched = {name: sum(item.size for item in record.objects) for name, record in records.items()}
    return _Facts(
        size=sum(record.size for record in records.values()),
        since=max((record.staged_at for record in records.values()), default=0.0) or status.st_mtime,
        is_own_source=is_its_own_source(places, manifest.archive_url),
        is_newer=is_newer,
        growth={name: record.size / fetched[name] for name, record in records.items() if fetched[name]},
    )


_FACTS = InMind(_read)
