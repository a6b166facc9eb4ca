"""From the staging area into the build's directory: made ready out of sight, then moved in by rename.

An artifact's staging area holds

    tree/        what will be published, laid out as it will lie in the build's directory
    objects/     objects that are only a means, such as tarballs
    ready.json   written last: the tree is complete and verified

Until ``ready.json`` is there, a crash costs the area. From then on it costs nothing: :func:`recover` finishes the
renames and the manifest that the crash cut off, so that an artifact is published wholly or not at all.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from threading import Event as Flag
from typing import Any

from staging.errors import PathTaken
from staging.layout import RESERVED_NAME, BuildPlaces
from staging.locks import FileLock
from staging.manifest import ArtifactRecord, Manifest, write_json

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
        """Make the area, empty."""
        self.discard()
        self.tree.mkdir(parents=True)
        self.objects.mkdir()

    def discard(self) -> None:
        """Remove the area."""
        shutil.rmtree(self._path, ignore_errors=True)

    def publish(self, archive_url: str, record: ArtifactRecord) -> ArtifactRecord:
        """Move the tree into the build's directory, and put the record into the manifest.

        Returns:
            The record with the number and size of the files that were published.

        Raises:
            PathTaken: a file lies in the way that no artifact of this build published. Nothing was moved.

        """
        files = dict(_files_below(self.tree))
        self._refuse_to_replace(files)
        record = ArtifactRecord(record.state, record.objects, record.staged_at, len(files), sum(files.values()))
        write_json(self.tree / RESERVED_NAME / f"{self._name}{_FILES_SUFFIX}", files)
        write_json(self._path / "ready.json", {"archive_url": archive_url, "record": record.to_json()})
        self.finish()
        return record

    def finish(self) -> bool:
        """Do what is left of a publication that had become ready; False where it had not."""
        try:
            ready: Mapping[str, Any] = json.loads((self._path / "ready.json").read_bytes())
        except FileNotFoundError:
            return False
        self._places.published.mkdir(parents=True, exist_ok=True)
        _merge(self.tree, self._places.published)
        update_manifest(self._places, ready["archive_url"], {self._name: ArtifactRecord.from_json(ready["record"])})
        self.discard()
        return True

    def _refuse_to_replace(self, files: Iterable[str]) -> None:
        ours: set[str] | None = None
        for path in files:
            in_the_way = _in_the_way(self._places.published, path)
            if in_the_way is None:
                continue
            if ours is None:
                ours = _published_files(self._places)
            if in_the_way != path or path not in ours:
                raise PathTaken(self._name, f"{self._places.build_path}/{in_the_way}")


def recover(places: BuildPlaces) -> list[str]:
    """Finish what had become ready, and remove the rest with the build's whole directory of areas.

    The caller holds the build's lock, and nobody works in an area.

    Returns:
        The names of the artifacts that were finished.

    """
    finished = []
    if places.staging.is_dir():
        for path in sorted(places.staging.iterdir()):
            area = StagingArea(places, path.name)
            if area.finish():
                finished.append(path.name)
            area.discard()
        places.staging.rmdir()
    if places.records.is_dir():
        for temporary in places.records.glob("*.tmp"):
            temporary.unlink(missing_ok=True)
    return finished


def update_manifest(places: BuildPlaces, archive_url: str, records: Mapping[str, ArtifactRecord]) -> None:
    """Put ``records`` into the build's manifest, whoever else does so at the same time."""
    lock = FileLock.acquire(places.manifest_lock, Flag())
    try:
        manifest = Manifest.read(places) or Manifest(archive_url)
        manifest.with_records(records).write(places)
    finally:
        lock.release()


def publish_empty_file(places: BuildPlaces, name: str) -> None:
    """Make sure that the build has a file ``name``: an empty one, where it has none."""
    places.published.mkdir(parents=True, exist_ok=True)
    try:
        (places.published / name).open("xb").close()
    except FileExistsError:
        return
    write_json(places.records / f"empty{_FILES_SUFFIX}", {name: 0})


def _files_below(tree: Path) -> Iterator[tuple[str, int]]:
    """Every file and link below ``tree``: its path from there, and its size."""
    for folder, folders, files in os.walk(tree):
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in files + links:
            path = Path(folder) / name
            yield path.relative_to(tree).as_posix(), path.lstat().st_size


def _in_the_way(published: Path, path: str) -> str | None:
    """What lies in ``published`` where the file ``path`` should go: such a file, or a parent that is no directory."""
    parts = path.split("/")
    for depth in range(1, len(parts) + 1):
        target = published.joinpath(*parts[:depth])
        is_directory = target.is_dir() and not target.is_symlink()
        if os.path.lexists(target) and (depth == len(parts) or not is_directory):
            return "/".join(parts[:depth])
        if not is_directory:
            return None
    return None


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
