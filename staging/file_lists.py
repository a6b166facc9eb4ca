"""The lists of files: beside a build's manifest, one for each artifact, of what it published.

A list is a JSON object of paths, relative to the build. What stands behind a path is

    [size, crc32c]         a file; the checksum as the archive writes it
    [size, "", target]     a symbolic link
    size                   either, as versions before there were checksums wrote it
    [size, crc32c, target or null, "%"]   either, where its name or its target is no UTF-8: both are percent-encoded
                           bytes then, and the name begins with ./ (see staging/records/names.py)
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from staging.checksums import as_text, crc32c_of
from staging.errors import DISK_ERRORS, RecordMalformed
from staging.layout import BuildPlaces, as_file_name
from staging.paths import are_published
from staging.records.decoding import Count
from staging.records.files import read_bytes, rename, touch, write_bytes
from staging.records.names import MARK, quoted, spelled, understood, unquoted
from staging.records.text import check_size, data_of

SUFFIX = ".files.json"
MOST_BYTES = 256 * 1024**2  # of a list: two million files, as many as a tarball may have, by 128 bytes each
_MOST_VALUES = 10_000_000  # of their names and what stands behind each
_ENCODED, _ENCODED_FIELDS = "%", 4
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

    size: Count
    crc32c: str = ""
    link: str | None = None


_PLAIN = msgspec.json.Decoder(dict[str, FileRecord | Count])


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
    listed: Mapping[str, object] = {
        name: record[:2] if record.link is None else record for name, record in files.items()
    }
    try:
        text = msgspec.json.encode(listed)
    except UnicodeEncodeError:
        text = msgspec.json.encode(dict(map(_spelled, files.items())))
    write_bytes(path, text, MOST_BYTES)


def _spelled(item: tuple[str, FileRecord]) -> tuple[str, Sequence[object]]:
    name, (size, crc32c, link) = item
    if spelled(name) == name and spelled(link or "") == (link or ""):
        return name, [size, crc32c] if link is None else [size, crc32c, link]
    return MARK + quoted(name), [size, crc32c, None if link is None else quoted(link), _ENCODED]


def read_list(path: Path) -> dict[str, FileRecord] | None:
    """The list in the file ``path``; None where there is none.

    Raises:
        RecordMalformed, RecordUnreadable

    """
    text = read_bytes(path, most=MOST_BYTES)
    if text is None:
        return None
    try:
        files = _understood(text)
    except (ValueError, TypeError, RecursionError):
        raise RecordMalformed(path.name, "it is no list of files") from None
    if not are_published(files):
        raise RecordMalformed(path.name, "it names what cannot lie in a build")
    return files


def list_if_understood(path: Path) -> dict[str, FileRecord] | None:
    """The same; None also where what lies there is no list. What cannot be read now is still an error.

    Raises:
        RecordUnreadable

    """
    try:
        return read_list(path)
    except RecordMalformed:
        return None


def _understood(text: bytes) -> dict[str, FileRecord]:
    check_size(text, _MOST_VALUES)
    try:
        files: dict[str, FileRecord | int] = _PLAIN.decode(text)
    except ValueError:
        return dict(_understood_entry(name, entry) for name, entry in _entries(text))
    if b'"./' in text:
        return dict(_understood_entry(name, entry) for name, entry in _entries(text))
    return {name: FileRecord(one) if isinstance(one, int) else one for name, one in files.items()}


def _entries(text: bytes) -> Iterable[tuple[str, Any]]:
    data = data_of(text, _MOST_VALUES)
    if not isinstance(data, dict):
        raise TypeError
    return data.items()


def _understood_entry(name: str, entry: Any) -> tuple[str, FileRecord]:
    if not isinstance(entry, list) or len(entry) < _ENCODED_FIELDS:
        record = msgspec.convert(entry, FileRecord | Count)
        return name, FileRecord(record) if isinstance(record, int) else record
    record = msgspec.convert(entry[:3], FileRecord)
    if entry[3:] != [_ENCODED] or not name.startswith(MARK):
        raise ValueError(name)
    return understood(name), record if record.link is None else record._replace(link=unquoted(record.link))


def all_lists(places: BuildPlaces) -> list[Path]:
    """Where the lists of a build lie.

    Raises:
        OSError: that cannot be told now.

    """
    try:
        names = os.listdir(places.records)  # noqa: PTH208 - a glob takes what cannot be read for empty
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(places.records / name for name in names if name.endswith(SUFFIX))


def published_files(places: BuildPlaces, artifacts: Iterable[str] | None = None) -> set[str]:
    """Every path that an artifact of the build published, or some artifacts, as their lists of files have it."""
    lists = all_lists(places) if artifacts is None else [list_of(places, name) for name in artifacts]
    return {path for one in lists for path in list_if_understood(one) or ()}


def set_list_aside(index: Path) -> None:
    """Note that the list at ``index`` was lost; what is left of it is kept for whoever wants to know.

    Raises:
        OSError, RecordUnreadable

    """
    try:
        rename(index, lost_list(index).name)
    except DISK_ERRORS:
        touch(lost_list(index))
