"""What an artifact's tarball holds that may not be, and that was left out: kept beside its list of files."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from staging.errors import RecordError
from staging.layout import BuildPlaces, as_file_name
from staging.presence import names_in
from staging.records.decoding import Count, as_data, read, write
from staging.records.names import spelled, understood

SUFFIX = ".left-out.json"
MOST_NAMES = 100  # that are remembered of one artifact


@dataclass
class LeftOut:
    """Members that were left out.

    Attributes:
        count: how many.
        names: of the first of them.

    """

    count: Count = 0
    names: list[str] = field(default_factory=list)
    unknown: Any = None

    def add(self, name: str) -> None:
        """Count one more."""
        self.count += 1
        if len(self.names) < MOST_NAMES:
            self.names.append(name)

    def add_all(self, others: LeftOut) -> None:
        """Count those of another tarball, too."""
        self.count += others.count
        self.names = [*self.names, *others.names][:MOST_NAMES]


def left_out_record(directory: Path, artifact: str) -> Path:
    """Where the record of an artifact lies, of those in ``directory``."""
    return directory / f"{as_file_name(artifact)}{SUFFIX}"


def write_left_out(path: Path, left_out: LeftOut) -> None:
    """Write a record."""
    write(path, as_data(LeftOut(left_out.count, [spelled(name) for name in left_out.names])))


def left_out_of(places: BuildPlaces, artifact: str) -> LeftOut:
    """What was left out of an artifact: nothing, where that cannot be told."""
    with suppress(OSError, RecordError):
        found = read(LeftOut, left_out_record(places.records, artifact))
        if found is not None:
            return LeftOut(found.count, [understood(name) for name in found.names[:MOST_NAMES]])
    return LeftOut()


def all_left_out(places: BuildPlaces) -> list[Path]:
    """The records of a build."""
    if places.records.is_symlink():
        return []
    return [places.records / name for name in names_in(places.records) if name.endswith(SUFFIX)]
