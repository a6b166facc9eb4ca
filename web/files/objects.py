"""Which of the files under /static are objects of the archive, byte for byte."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from staging.archives import ArchiveObject
from staging.errors import RecordUnreadable
from staging.in_mind import InMind
from staging.layout import BuildPlaces
from staging.manifest import Manifest


class StagedFile(NamedTuple):
    """A file of a build that this server staged.

    Attributes:
        build_path: the build's.
        file: the path in the build.
        item: the object that the file is, or None where it is a part of one.

    """

    build_path: str
    file: str
    item: ArchiveObject | None


def staged_file(static_dir: str, path: str, size: int) -> StagedFile | None:
    """What the build that ``path`` lies in says of it; None where it lies in none.

    A file that is not of the object's ``size`` is not what was staged.
    """
    folder = os.path.dirname(path)  # noqa: PTH120 - asked for with every request
    while len(folder) > len(static_dir):
        build_path = folder[len(static_dir) + 1 :]
        try:
            whole = _WHOLE_FILES.of(BuildPlaces(Path(static_dir), build_path))
        except (OSError, RecordUnreadable):  # the file is served all the same
            return None
        if whole is None:
            folder = os.path.dirname(folder)  # noqa: PTH120
            continue
        file = path[len(folder) + 1 :]
        item = whole.files.get(file)
        return StagedFile(build_path, file, item if item is not None and item.size == size else None)
    return None


def files_of_object(static_dir: str, build_path: str, archive_url: str, name: str, generation: str) -> list[str]:
    """Where below ``static_dir`` the object ``name`` of the build at ``archive_url`` lies byte for byte, in that very
    generation.
    """
    whole = _WHOLE_FILES.of(BuildPlaces(Path(static_dir), build_path))
    if whole is None or whole.archive_url != archive_url:
        return []
    published = [path for path, item in whole.files.items() if (item.name, item.generation) == (name, generation)]
    return [f"{build_path}/{path}".lstrip("/") for path in published]


class _WholeFiles(NamedTuple):
    """The objects of a build by the paths that they were published at."""

    archive_url: str
    files: Mapping[str, ArchiveObject]


def _read(places: BuildPlaces, _status: os.stat_result) -> _WholeFiles:
    manifest = Manifest.if_readable(places)
    if manifest is None:
        return _WholeFiles("", {})
    files = {
        published: item
        for record in manifest.artifacts.values()
        for published, name in record.whole_files.items()
        for item in record.objects
        if item.name == name
    }
    return _WholeFiles(manifest.archive_url, files)


_WHOLE_FILES = InMind(_read)
