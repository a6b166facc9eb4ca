"""Whether a build is as it was staged: its files, held against the manifest and the lists of files.

What somebody else put beside them is not looked at. Where two artifacts published the same path, the file of either is
right.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from staging.checksums import as_text, crc32c_of
from staging.errors import NewerFormat, RecordMalformed
from staging.file_lists import FileRecord, list_if_understood, list_of
from staging.layout import BuildPlaces
from staging.manifest import ArtifactRecord, Manifest
from staging.presence import is_absence

# Says what is wrong with the file at a path, of which a list has that; nothing where it is right. What cannot be read
# now may be right: then it raises the OSError.
Check = Callable[[str, FileRecord], str]

_Claims = dict[str, dict[str, FileRecord]]  # by path, and by the artifact that published it


class Wrong(NamedTuple):
    """One file that is not as it was staged; or an artifact's list of files, whose ``path`` is empty."""

    artifact: str
    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path or 'its list of files'}: {self.reason}"


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes:
        archive_url: the build's.
        files: how many were looked at.
        bytes: of them, as the lists have it.
        without_checksum: of the files, those that an older version staged without noting their checksums.
        wrong: what is not as it should be.

    """

    archive_url: str
    files: int = 0
    bytes: int = 0
    without_checksum: int = 0
    wrong: tuple[Wrong, ...] = ()

    @property
    def artifacts(self) -> list[str]:
        """The names of the artifacts that something is wrong with."""
        return sorted({one.artifact for one in self.wrong})


def inspect(places: BuildPlaces, check: Check, only: Collection[str] | None = None) -> Inspection | None:
    """Hold the files of a build, or those at ``only`` these paths, against what was staged.

    Returns: None where nothing was, or only a later version can tell.

    Raises:
        RecordUnreadable

    """
    manifest = _manifest_of(places)
    if manifest is None:
        return None
    staged = {name: record for name, record in manifest.artifacts.items() if record.state == "staged"}
    lists = {name: list_if_understood(list_of(places, name)) for name in staged}
    wrong = list(_wrong_lists(staged, lists))
    claims = _claims(staged, lists)
    root, size, without = f"{places.published}/", 0, 0
    paths = claims.keys() if only is None else claims.keys() & only
    for path in sorted(paths):
        for_path = claims[path]
        record = next(iter(for_path.values()))
        size += record.size
        without += record.link is None and not record.crc32c
        wrong += _wrong_claims(f"{root}{path}", path, for_path, check)
    return Inspection(manifest.archive_url, len(paths), size, without, tuple(wrong))


def _manifest_of(places: BuildPlaces) -> Manifest | None:
    try:
        return Manifest.read(places)
    except (RecordMalformed, NewerFormat):
        return None


def _wrong_lists(
    staged: Mapping[str, ArtifactRecord], lists: Mapping[str, Mapping[str, FileRecord] | None]
) -> Iterator[Wrong]:
    for name, files in lists.items():
        if files is None:
            yield Wrong(name, "", "it is missing, or cannot be read")
        elif len(files) != staged[name].files:
            yield Wrong(name, "", f"it names {len(files)}, and {staged[name].files} were published")


def _claims(staged: Mapping[str, ArtifactRecord], lists: Mapping[str, Mapping[str, FileRecord] | None]) -> _Claims:
    claims: _Claims = {}
    for name, files in lists.items():
        of_objects = {item.name: item.crc32c for item in staged[name].objects}
        whole = staged[name].whole_files
        for path, record in (files or {}).items():
            if not record.crc32c and path in whole:  # a list of an older version
                claims.setdefault(path, {})[name] = record._replace(crc32c=of_objects.get(whole[path], ""))
            else:
                claims.setdefault(path, {})[name] = record
    return claims


def _wrong_claims(file: str, path: str, claims: Mapping[str, FileRecord], check: Check) -> list[Wrong]:
    wrong = []
    for name, record in claims.items():
        reason = check(file, record)
        if not reason:
            return []
        wrong.append(Wrong(name, path, reason))
    return wrong


def check_at_a_glance(path: str, record: FileRecord) -> str:
    """A :data:`Check` of presence, kind and size, by one look at the directory."""
    try:
        status = os.lstat(path)
        if record.link is not None:
            target = os.readlink(path) if stat.S_ISLNK(status.st_mode) else None  # noqa: PTH115 - of many thousand
            return "" if target == record.link else f"it should be a link to {record.link}"
    except OSError as error:
        if is_absence(error):
            return "it is missing"
        raise
    if record.crc32c and not stat.S_ISREG(status.st_mode):
        return "it is no file any more"
    if status.st_size != record.size:
        return f"it has {status.st_size} bytes, and should have {record.size}"
    return ""


@dataclass(frozen=True)
class ByContent:
    """A :data:`Check` of every byte; a file of several names is read once.

    Attributes:
        on_bytes: told of every piece before it is read; it may sleep, or raise what ends the whole.

    """

    on_bytes: Callable[[int], None] = lambda _: None
    _known: dict[tuple[int, int], str] = field(default_factory=dict)

    def __call__(self, path: str, record: FileRecord) -> str:
        """What is wrong with the file; nothing where it is right, or nobody knows its checksum."""
        reason = check_at_a_glance(path, record)
        if reason or record.link is not None or not record.crc32c:
            return reason
        found = self._crc32c(path, record.size)
        return "" if found == record.crc32c else f"its crc32c is {found}, and should be {record.crc32c}"

    def _crc32c(self, path: str, size: int) -> str:
        status = os.lstat(path)
        key = (status.st_dev, status.st_ino)
        if status.st_nlink == 1 or key not in self._known:
            crc32c = crc32c_of(path, size, self.on_bytes)
            self._known[key] = "of fewer bytes" if crc32c is None else as_text(crc32c)
        return self._known[key]
