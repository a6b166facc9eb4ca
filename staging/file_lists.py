"""The lists of files: beside a build's manifest, one for each artifact, of what it published.

A list is a JSON object of paths, relative to the build. What stands behind a path is

    [size, crc32c]         a file; the checksum as the archive writes it
    [size, "", target]     a symbolic link
    size                   either, as versions before there were checksums wrote it
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from staging.checksums import as_text, crc32c_of
from staging.layout import BuildPlaces, as_file_name
from staging.manifest import write_json

SUFFIX = ".files.json"
# Stands for a list that was lost or cannot be read, until its artifact is published anew: what lies where that wants to
# publish is taken for its own.
_LOST = ".lost"


class FileRecord(NamedTuple):
    """One file or link that an artifact published.

    Attributes:
        size: bytes; of a link, of its target's name.
        crc32c: as the archive writes it; empty where it is not known.
        link: where a symbolic link leads to; None where this is none, or not known to be one.

    """

    size: int
    crc32c: str = ""
    link: str | None = None


def list_of(places: BuildPlaces, artifact: str) -> Path:
    """Where the list of an artifact lies."""
    return places.records / f"{as_file_name(artifact)}{SUFFIX}"


def lost_list(index: Path) -> Path:
    """What stands for the list at ``index`` where that was lost."""
    return index.with_name(f"{index.name}{_LOST}")


def describe_tree(tree: Path, checksums: Mapping[str, str]) -> dict[str, FileRecord]:
    """The list of all below ``tree``; what has none among the ``checksums`` is read for it."""
    return dict(_below(str(tree), "", checksums))


def _below(directory: str, below: str, checksums: Mapping[str, str]) -> Iterator[tuple[str, FileRecord]]:
    with os.scandir(directory) as entries:
        for entry in entries:
            path = f"{below}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                yield from _below(entry.path, f"{path}/", checksums)
                continue
            size = entry.stat(follow_symlinks=False).st_size
            if entry.is_symlink():
                yield path, FileRecord(size, "", os.readlink(entry.path))  # noqa: PTH115 - of many thousand
            else:
                yield path, FileRecord(size, checksums.get(path) or as_text(crc32c_of(Path(entry.path), size) or 0))


def write_list(path: Path, files: Mapping[str, FileRecord]) -> None:
    """Write a list to the file ``path``."""
    write_json(path, {name: _as_json(record) for name, record in files.items()}, indent=None)


def _as_json(record: FileRecord) -> list[int | str]:
    return [record.size, record.crc32c] if record.link is None else [*record]  # type: ignore[list-item]


def read_list(path: Path) -> dict[str, FileRecord] | None:
    """The list in the file ``path``; None where there is none that can be understood."""
    try:
        return {name: _from_json(data) for name, data in json.loads(path.read_bytes()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _from_json(data: Any) -> FileRecord:
    if isinstance(data, int):
        return FileRecord(data)
    size, crc32c, *link = data
    if not (isinstance(size, int) and isinstance(crc32c, str)):
        raise TypeError(data)
    return FileRecord(size, crc32c, *link)


def published_files(places: BuildPlaces, artifacts: Iterable[str] | None = None) -> set[str]:
    """Every path that an artifact of the build published, or some artifacts, as their lists of files have it."""
    if artifacts is None:
        lists = list(places.records.glob(f"*{SUFFIX}"))
    else:
        lists = [list_of(places, name) for name in artifacts]
    return {path for one in lists for path in read_list(one) or ()}


def set_list_aside(index: Path) -> None:
    """Note that the list at ``index`` was lost; what is left of it is kept for whoever wants to know."""
    try:
        index.replace(lost_list(index))
    except OSError:
        with suppress(OSError):
            lost_list(index).touch()
