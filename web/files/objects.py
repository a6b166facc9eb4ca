"""Which of the files under /static are objects of the archive, byte for byte."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from staging.archives import ArchiveObject
from staging.layout import BuildPlaces
from staging.manifest import Manifest

_BUILDS = 1024  # whose manifests are kept in mind


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
            status = BuildPlaces(Path(static_dir), build_path).manifest.stat()
        except OSError:
            folder = os.path.dirname(folder)  # noqa: PTH120
            continue
        file = path[len(folder) + 1 :]
        item = _whole_files(static_dir, build_path, status.st_mtime_ns, status.st_ino).get(file)
        return StagedFile(build_path, file, item if item is not None and item.size == size else None)
    return None


@lru_cache(maxsize=_BUILDS)
def _whole_files(static_dir: str, build_path: str, changed: int, inode: int) -> Mapping[str, ArchiveObject]:
    """The objects of a build by the paths that they were published at; asked anew when its manifest was replaced."""
    del changed, inode
    manifest = Manifest.read(BuildPlaces(Path(static_dir), build_path))
    if manifest is None:
        return {}
    return {
        published: item
        for record in manifest.artifacts.values()
        for published, name in record.whole_files.items()
        for item in record.objects
        if item.name == name
    }
