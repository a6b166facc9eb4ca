"""The manifest: what of a build is staged, and where it came from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from staging.archives import ArchiveObject
from staging.errors import RecordError, RecordMalformed
from staging.layout import BuildPlaces
from staging.paths import UNPRINTABLE, are_published, fault_of_artifact
from staging.records.decoding import Count, Moment, as_data, converted, parsed, read, write
from staging.records.names import spelled, understood

FORMAT = 1


@dataclass(frozen=True)
class ArtifactRecord:
    """What became of one artifact.

    Attributes:
        state: ``staged``, or ``absent`` where the archive has no such object and the artifact is optional.
        objects: what it was made of.
        staged_at: seconds since the epoch.
        files: how many files it published.
        size: their bytes.
        whole_files: of the files, those that are an object as it is: where each lies in the build, and the object's
            name.
        unknown: what a later version noted besides.

    """

    state: Literal["staged", "absent"]
    objects: tuple[ArchiveObject, ...] = ()
    staged_at: Moment = 0.0
    files: Count = 0
    size: Count = 0
    whole_files: Mapping[str, str] = field(default_factory=dict)
    unknown: Any = field(default=None, compare=False, repr=False)

    def to_json(self) -> dict[str, Any]:
        """The record as JSON-safe data."""
        data: dict[str, Any] = as_data(replace(self, objects=(), whole_files={}))
        whole = {spelled(path): spelled(name) for path, name in self.whole_files.items()}
        return {**data, "objects": [item.to_json() for item in self.objects], "whole_files": whole}

    @classmethod
    def from_json(cls, data: Any, what: str = "the record of an artifact") -> ArtifactRecord:
        """The record that :meth:`to_json` wrote.

        Raises:
            RecordMalformed

        """
        return converted(cls, data, what).checked(what)

    def checked(self, what: str) -> ArtifactRecord:
        """The record with its names as Python names files, all of which may be those of a build's files.

        Raises:
            RecordMalformed

        """
        objects = tuple(map(_understood, self.objects))
        whole = {understood(path): understood(name) for path, name in self.whole_files.items()}
        if not are_published([*whole, *(item.name for item in objects)]):
            raise RecordMalformed(what, "a file or an object is called as none can be")
        return (
            self
            if whole == self.whole_files and objects == self.objects
            else replace(self, objects=objects, whole_files=whole)
        )


@dataclass(frozen=True)
class Manifest:
    """What of the build of ``archive_url`` is staged; ``unknown`` is what a later version noted besides."""

    archive_url: str
    artifacts: Mapping[str, ArtifactRecord] = field(default_factory=dict)
    unknown: Any = field(default=None, compare=False, repr=False)

    @classmethod
    def read(cls, places: BuildPlaces) -> Manifest | None:
        """The manifest of a build, or None where it has none.

        Raises:
            RecordMalformed, RecordUnreadable, NewerFormat

        """
        what = f"the manifest of {places.build_path}"
        written = read(_Written, places.manifest, what, FORMAT)
        return None if written is None else written.checked(what)

    @classmethod
    def if_readable(cls, places: BuildPlaces) -> Manifest | None:
        """The manifest of a build where this version can read it, for those who only show or serve what there is."""
        try:
            return cls.read(places)
        except RecordError:
            return None

    @classmethod
    def parsed(cls, text: bytes) -> Manifest:
        """The manifest that ``text`` is.

        Raises:
            RecordMalformed, NewerFormat

        """
        return parsed(_Written, text, "the manifest", FORMAT).checked("the manifest")

    def write(self, places: BuildPlaces, through: Path | None = None) -> None:
        """Replace the build's manifest, in one step that a crash cannot halve; by way of the directory ``through``, and
        only while that is there, where one is given.
        """
        records = {name: record.to_json() for name, record in sorted(self.artifacts.items())}
        known = {"format": FORMAT, "archive_url": self.archive_url, "artifacts": records}
        write(places.manifest, {**(self.unknown or {}), **known}, through=through)

    def with_records(self, records: Mapping[str, ArtifactRecord]) -> Manifest:
        """The same manifest with ``records`` added, or put in the place of older ones."""
        return replace(self, artifacts={**self.artifacts, **records})

    def without(self, names: Collection[str]) -> Manifest:
        """The same manifest with nothing of these artifacts."""
        return replace(self, artifacts={name: one for name, one in self.artifacts.items() if name not in names})

    def satisfies(self, name: str, required: bool) -> bool:
        """Whether the artifact ``name`` is staged; or known to be absent, where it is not ``required``."""
        record = self.artifacts.get(name)
        return record is not None and (record.state == "staged" or not required)


def _understood(item: ArchiveObject) -> ArchiveObject:
    name = understood(item.name)
    return item if name == item.name else replace(item, name=name)


@dataclass(frozen=True)
class _Written:
    """The manifest as it is written."""

    format: int
    archive_url: str
    artifacts: Mapping[str, ArtifactRecord]
    unknown: Any = None

    def checked(self, what: str) -> Manifest:
        """The manifest, with every name and URL checked."""
        if UNPRINTABLE.search(self.archive_url) or any(map(fault_of_artifact, self.artifacts)):
            raise RecordMalformed(what, "it names what nothing is called")
        records = {name: record.checked(what) for name, record in self.artifacts.items()}
        return Manifest(self.archive_url, records, self.unknown)
