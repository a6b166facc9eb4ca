"""Which of the files under /static are objects of the archive, byte for byte."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from staging.archives import ArchiveObject
from staging.build_names import directory_of
from staging.encodings import Encoded, read_encodings
from staging.errors import RecordUnreadable
from staging.file_lists import FileRecord, list_if_understood, list_of
from staging.in_mind import InMind
from staging.layout import BuildPlaces
from staging.manifest import Manifest
from web.files.buckets import names_above

_FEW = 100  # files of an artifact whose checksums are kept in mind


class StagedFile(NamedTuple):
    """A file of a build that this server staged.

    Attributes:
        build_path: the build's name.
        file: the path in the build.
        item: the object that the file is, or None where it is a part of one.
        crc32c: of its content, as the archive writes it; empty where it is not known at once.
        encoding: what it is besides what its name says, as HTTP's Content-Encoding.

    """

    build_path: str
    file: str
    item: ArchiveObject | None
    crc32c: str = ""
    encoding: str = ""


def staged_file(static_dir: str, path: str, size: int) -> StagedFile | None:
    """What the build that ``path`` lies in says of it; None where it lies in none. Of builds that lie one within the
    other, it is the file of the one that published it as it is, or else of the innermost.

    A file that is not of the object's ``size`` is not what was staged.
    """
    nearest = None
    for name in names_above(static_dir, path):
        places = BuildPlaces(Path(static_dir), name)
        try:
            whole = _WHOLE_FILES.of(places)
        except (OSError, RecordUnreadable):  # the file is served all the same
            return nearest
        if whole is None:
            continue
        file = path[len(directory_of(name)) + len(static_dir) + (2 if name else 1) :]
        item = whole.files.get(file)
        if item is not None and item.size == size:
            return StagedFile(name, file, item, item.crc32c, whole.encoding_of(file, item))
        if item is not None:
            return StagedFile(name, file, None)
        record = whole.unpacked.get(file)
        if record is not None and record.size == size:
            return StagedFile(name, file, None, record.crc32c)
        if name:
            nearest = nearest or StagedFile(name, file, None)
    return nearest


def files_of_object(places: BuildPlaces, archive_url: str, name: str, generation: str) -> list[str]:
    """Where below the static directory the object ``name`` of the build at ``archive_url`` lies byte for byte, in that
    very generation.
    """
    whole = _WHOLE_FILES.of(places)
    if whole is None or whole.archive_url != archive_url:
        return []
    published = [path for path, item in whole.files.items() if (item.name, item.generation) == (name, generation)]
    return [f"{directory_of(places.build_path)}/{path}".lstrip("/") for path in published]


class _WholeFiles(NamedTuple):
    """The objects of a build by the paths that they were published at.

    Attributes:
        archive_url: the build's.
        files: the objects.
        unpacked: what else lies in the build, of artifacts of few files: an image, and not a hundred thousand tests.

    """

    archive_url: str
    files: Mapping[str, ArchiveObject]
    unpacked: Mapping[str, FileRecord]
    encodings: Mapping[str, Encoded]

    def encoding_of(self, file: str, item: ArchiveObject) -> str:
        """How the file is encoded that is this object."""
        encoded = self.encodings.get(file)
        return encoded.encoding if encoded and encoded.generation == item.generation else ""


def _read(places: BuildPlaces, _status: os.stat_result) -> _WholeFiles:
    manifest = Manifest.if_readable(places)
    if manifest is None:
        return _WholeFiles("", {}, {}, {})
    files = {
        published: item
        for record in manifest.artifacts.values()
        for published, name in record.whole_files.items()
        for item in record.objects
        if item.name == name
    }
    unpacked = {
        path: one
        for name, record in manifest.artifacts.items()
        if len(record.whole_files) < record.files <= _FEW
        for path, one in (list_if_understood(list_of(places, name)) or {}).items()
        if path not in files
    }
    return _WholeFiles(manifest.archive_url, files, unpacked, read_encodings(places) if files else {})


_WHOLE_FILES = InMind(_read)
