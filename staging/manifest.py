"""The manifest: what of a build is staged, and where it came from."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from staging.archives import ArchiveObject
from staging.layout import BuildPlaces

_FORMAT = 1


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

    """

    state: str
    objects: tuple[ArchiveObject, ...] = ()
    staged_at: float = 0.0
    files: int = 0
    size: int = 0
    whole_files: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The record as JSON-safe data."""
        return {**vars(self), "objects": [item.to_json() for item in self.objects]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ArtifactRecord:
        """The record that :meth:`to_json` wrote.

        Raises:
            KeyError, TypeError, AttributeError: that wrote no such thing.

        """
        record = cls(**{**data, "objects": tuple(ArchiveObject(**item) for item in data["objects"])})
        texts = [record.state, *record.whole_files.keys(), *record.whole_files.values()]
        texts += [text for item in record.objects for text in (item.name, item.crc32c, item.generation)]
        numbers = [record.files, record.size, *(item.size for item in record.objects)]
        is_sane = all(isinstance(text, str) for text in texts) and all(type(number) is int for number in numbers)
        if not is_sane or type(record.staged_at) not in (int, float):
            raise TypeError("what stands in a manifest's record is not what this version writes")
        return record


@dataclass(frozen=True)
class Manifest:
    """What of the build of ``archive_url`` is staged."""

    archive_url: str
    artifacts: Mapping[str, ArtifactRecord] = field(default_factory=dict)

    @classmethod
    def read(cls, places: BuildPlaces) -> Manifest | None:
        """The manifest of a build, or None where it has none, or none that can be read and understood."""
        try:
            return cls.parsed(places.manifest.read_bytes())
        except OSError:  # one bad sector, or one file of somebody else's, is no other build's trouble
            return None

    @classmethod
    def parsed(cls, text: bytes) -> Manifest | None:
        """The manifest that ``text`` is; None where it is none."""
        try:
            data = json.loads(text)
            records = {name: ArtifactRecord.from_json(record) for name, record in data["artifacts"].items()}
            return cls(str(data["archive_url"]), records) if data["format"] == _FORMAT else None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    def write(self, places: BuildPlaces) -> None:
        """Replace the build's manifest, in one step that a crash cannot halve."""
        records = {name: record.to_json() for name, record in sorted(self.artifacts.items())}
        write_json(places.manifest, {"format": _FORMAT, "archive_url": self.archive_url, "artifacts": records})

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


def write_json(path: Path, data: Any, indent: int | None = 1) -> None:
    """Write ``data`` to the file ``path`` whole or not at all, through a crash of this process as well.

    Nothing is flushed to the disk: the staged files are not either, and a flush waits for what others write, while a
    harness waits for this. ``indent`` is for people; None is for what is too long for them, and several times faster.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Each thread's own: two downloads of one build may write the same record.
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_native_id()}.tmp")
    try:
        with temporary.open("w") as file:
            file.write(json.dumps(data, indent=indent))
        temporary.replace(path)
    except BaseException:  # the disk is full, for one
        temporary.unlink(missing_ok=True)
        raise
