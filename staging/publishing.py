"""From the staging area into the build's directory: made ready out of sight, then moved in by rename.

An artifact's staging area holds

    tree/        what will be published, laid out as it will lie in the build's directory
    objects/     objects that are on their way, and marks of how far they came
    ready.json   written last: the tree is complete and verified

Until ``ready.json`` is there, a crash costs the area. From then on it costs nothing: :func:`recover` finishes the
renames and the manifest that the crash cut off, so that an artifact is published wholly or not at all.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Event as Flag

from staging.errors import PathTaken
from staging.layout import RESERVED_NAME, BuildPlaces
from staging.locks import FileLock
from staging.manifest import ArtifactRecord, Manifest, write_json
from staging.transfer import has_marks

_FILES_SUFFIX = ".files.json"


class StagingArea:
    """Where the artifact ``name`` of one build is made ready; made anew, whatever lay there before."""

    def __init__(self, places: BuildPlaces, name: str) -> None:
        self._places = places
        self._name = name
        self._path = places.staging / name
        self.tree = self._path / "tree"
        self.objects = self._path / "objects"

    def prepare(self) -> None:
        """Make the area: an empty tree, and the objects that an earlier attempt left, to be gone on with."""
        shutil.rmtree(self.tree, ignore_errors=True)
        self.tree.mkdir(parents=True)
        self.objects.mkdir(exist_ok=True)

    def prepare_anew(self) -> None:
        """Make the area, empty."""
        self._remove()
        self.prepare()

    def discard(self) -> None:
        """Remove the area, unless it had become ready: then it is the next :func:`recover`'s to finish."""
        if not (self._path / "ready.json").exists():
            self._remove()

    def publish(self, archive_url: str, record: ArtifactRecord) -> None:
        """Move the tree into the build's directory, and put the record, with its files counted, into the manifest.

        Raises:
            PathTaken: a file lies in the way that no artifact of this build published. Nothing was moved.

        """
        files = dict(_files_below(str(self.tree)))
        record = replace(record, files=len(files), size=sum(files.values()))
        write_json(self.tree / RESERVED_NAME / f"{self._name}{_FILES_SUFFIX}", files, indent=None)
        # One at a time: two artifacts may bring the same new directory, or get in each other's way.
        with _publishing(self._places):
            self._refuse_to_replace()
            write_json(self._path / "ready.json", {"archive_url": archive_url, "record": record.to_json()})
            self._merge(archive_url, record)
        self._remove()

    def finish(self) -> bool:
        """Do what is left of a publication that had become ready; False where it had not."""
        try:
            ready = json.loads((self._path / "ready.json").read_bytes())
            archive_url, record = str(ready["archive_url"]), ArtifactRecord.from_json(ready["record"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return False
        with _publishing(self._places):
            self._merge(archive_url, record)
        self._remove()
        return True

    def _merge(self, archive_url: str, record: ArtifactRecord) -> None:
        _merge(self.tree, self._places.published)
        _record(self._places, archive_url, {self._name: record})

    def _remove(self) -> None:
        (self._path / "ready.json").unlink(missing_ok=True)
        shutil.rmtree(self._path, ignore_errors=True)

    def _refuse_to_replace(self) -> None:
        ours: set[str] | None = None
        for path, is_same_kind in _in_the_way(self.tree, self._places.published):
            if ours is None:
                ours = _published_files(self._places)
            if not is_same_kind or path not in ours:
                raise PathTaken(self._name, f"{self._places.build_path}/{path}")


def recover(places: BuildPlaces) -> None:
    """Finish what had become ready, keep files that can be gone on with, and remove the rest.

    The caller holds the build's lock, and nobody works in an area.
    """
    if places.staging.is_dir():
        for path in sorted(places.staging.iterdir()):
            area = StagingArea(places, path.name)
            if not area.finish() and not has_marks(path):
                area._remove()
        with suppress(OSError):
            places.staging.rmdir()
    if places.records.is_dir():
        for temporary in places.records.glob("*.tmp"):
            temporary.unlink(missing_ok=True)


def update_manifest(places: BuildPlaces, archive_url: str, records: Mapping[str, ArtifactRecord]) -> None:
    """Put ``records`` into the build's manifest, whoever else does so at the same time."""
    with _publishing(places):
        _record(places, archive_url, records)


@contextmanager
def _publishing(places: BuildPlaces) -> Iterator[None]:
    """The right to change what is published of the build, and its manifest."""
    lock = FileLock.acquire(places.publishing_lock, Flag())
    try:
        yield
    finally:
        lock.release()


def _record(places: BuildPlaces, archive_url: str, records: Mapping[str, ArtifactRecord]) -> None:
    manifest = Manifest.read(places) or Manifest(archive_url)
    manifest.with_records(records).write(places)


def publish_empty_file(places: BuildPlaces, name: str) -> None:
    """Make sure that the build has a directory, and a file ``name`` in it: an empty one, where it has none.

    Raises:
        PathTaken: a part of the build path is a file.

    """
    try:
        places.published.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise PathTaken("the build", places.build_path) from None
    try:
        (places.published / name).open("xb").close()
    except FileExistsError:
        return
    write_json(places.records / f"empty{_FILES_SUFFIX}", {name: 0})


def _files_below(directory: str, below: str = "") -> Iterator[tuple[str, int]]:
    """Every file and link below ``directory``: its path from there, and its size."""
    with os.scandir(directory) as entries:
        for entry in entries:
            path = f"{below}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                yield from _files_below(entry.path, f"{path}/")
            else:
                yield path, entry.stat(follow_symlinks=False).st_size


def _in_the_way(tree: Path, published: Path, below: str = "") -> Iterator[tuple[str, bool]]:
    """What the tree would replace: its path, and whether it is a file to be replaced by a file."""
    for entry in tree.iterdir():
        target = published / entry.name
        if not os.path.lexists(target):
            continue
        path = f"{below}{entry.name}"
        kinds = (_is_plain_directory(entry), _is_plain_directory(target))
        if all(kinds):
            yield from _in_the_way(entry, target, f"{path}/")
        else:
            yield path, not any(kinds)


def _published_files(places: BuildPlaces) -> set[str]:
    """Every path that an artifact of the build published, as their lists of files have it."""
    paths: set[str] = set()
    for index in places.records.glob(f"*{_FILES_SUFFIX}"):
        paths.update(json.loads(index.read_bytes()))
    return paths


def _merge(source: Path, target: Path) -> None:
    """Move everything below ``source`` into ``target``, by the fewest renames; doing it again finishes what is left."""
    for entry in sorted(source.iterdir()):
        destination = target / entry.name
        if _is_plain_directory(entry) and _is_plain_directory(destination):
            _merge(entry, destination)
        else:
            entry.replace(destination)


def _is_plain_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
