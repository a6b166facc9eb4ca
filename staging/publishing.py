"""From the staging area into the build's directory: made ready out of sight, then moved in by rename.

An artifact's staging area holds

    tree/        what will be published, laid out as it will lie in the build's directory
    objects/     objects that are on their way, and marks of how far they came
    owner        whose it is
    ready.json   written last: the tree is complete and verified

Until ``ready.json`` is there, a crash costs the area. From then on it costs nothing: :func:`recover` finishes the
renames and the manifest that the crash cut off, so that an artifact is published wholly or not at all.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_hex
from threading import Event as Flag

from staging.areas import another_area, areas_of, is_another, is_signed, lock_area, nobodys, sign
from staging.checksums import as_text
from staging.errors import Cancelled, PathTaken, RecordMalformed
from staging.file_lists import (
    FileRecord,
    all_lists,
    describe_tree,
    list_if_understood,
    list_of,
    lost_list,
    published_files,
    set_list_aside,
    write_list,
)
from staging.layout import RESERVED_NAME, BuildPlaces, as_file_name
from staging.locks import FileLock
from staging.manifest import ArtifactRecord, Manifest
from staging.merging import in_the_way, merge
from staging.paths import fault_of_artifact
from staging.records.decoding import read, write
from staging.records.files import discard, set_aside
from staging.removal import remove_empty_directories, remove_files
from staging.transfer import has_marks

_READY = "ready.json"


@dataclass(frozen=True)
class _Ready:
    """What a staging area holds that is ready."""

    name: str
    archive_url: str
    record: ArtifactRecord


class StagingArea:
    """Where the artifact ``name`` of one build is made ready; made anew, whatever lay there before."""

    def __init__(self, places: BuildPlaces, name: str, path: Path | None = None) -> None:
        """``path`` is where it lies, where that is not the usual place."""
        self._places = places
        self._name = name
        self._path = path or places.staging / as_file_name(name)
        self._token = token_hex(8)

    @property
    def tree(self) -> Path:
        """What will be published."""
        return self._path / "tree"

    @property
    def objects(self) -> Path:
        """What is on its way."""
        return self._path / "objects"

    @contextmanager
    def claimed(self, cancelled: Flag, patience: float) -> Iterator[None]:
        """The right to work here. Who has had it for ``patience`` seconds is taken for dead: he publishes no more.

        Raises:
            Cancelled

        """
        lock = lock_area(self._places, self._path, cancelled, patience)
        if lock is None:
            with publishing(self._places):
                _rename_away(self._places, self._name)
            self._path = another_area(self._places, self._name)
            lock = FileLock.acquire(self._places.area_lock(self._path.name), cancelled)
        try:
            _recover_left_area(self._places, self._path)  # what its owner left who died
            yield
        finally:
            if not is_signed(self._path, self._token):  # whatever was made here after it had been taken away
                shutil.rmtree(self._path, ignore_errors=True)
            lock.release()

    def is_staged(self, archive_url: str) -> bool:
        """Whether the artifact was published already; asked by who has the right to work here, that is so for good."""
        manifest = Manifest.read(self._places)
        return manifest is not None and manifest.archive_url == archive_url and manifest.satisfies(self._name, True)

    def prepare(self) -> None:
        """Make the area: an empty tree, and the objects that an earlier attempt left, to be gone on with."""
        if self._places.is_key_cut:
            self._places.staging.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError), self._places.build_path_note.open("x") as note:
                note.write(self._places.build_path)
        shutil.rmtree(self.tree, ignore_errors=True)
        self.tree.mkdir(parents=True)
        self.objects.mkdir(exist_ok=True)
        sign(self._path, self._token)

    def prepare_anew(self) -> None:
        """Make the area, empty."""
        self.remove()
        self.prepare()

    def discard(self) -> None:
        """Remove the area, unless it had become ready: then it is the next :func:`recover`'s to finish."""
        if is_signed(self._path, self._token) and not (self._path / _READY).exists():
            self.remove()

    def publish(self, archive_url: str, record: ArtifactRecord, checksums: Mapping[str, str]) -> None:
        """Move the tree into the build's directory, and put the record, with its files counted, into the manifest.

        ``checksums`` are those of its files that are known, by their paths in the tree.

        Raises:
            PathTaken: a file lies in the way that no artifact of this build published. Nothing was moved.
            Cancelled: somebody else makes the artifact ready, who took this one for dead.

        """
        self._check_owner()
        files = describe_tree(self.tree, checksums)
        record = replace(record, files=len(files), size=sum(file.size for file in files.values()))
        write_list(self.tree / RESERVED_NAME / list_of(self._places, self._name).name, files)
        # One at a time: two artifacts may bring the same new directory, or get in each other's way.
        with publishing(self._places):
            self._check_owner()
            self._refuse_to_replace(files_of_its_own(self._places, archive_url, record))
            ready = {"name": self._name, "archive_url": archive_url, "record": record.to_json()}
            write(self._path / _READY, ready)
            self._merge(archive_url, record)
        self.remove()

    def _check_owner(self) -> None:
        if not is_signed(self._path, self._token):
            raise Cancelled("another worker has taken the artifact over")

    def finish(self, archive_url: str, record: ArtifactRecord) -> None:
        """Do what is left of a publication that had become ready."""
        with publishing(self._places):
            self._merge(archive_url, record)
        self.remove()

    def _merge(self, archive_url: str, record: ArtifactRecord) -> None:
        merge(self.tree, self._places.published)
        _record(self._places, archive_url, {self._name: record})
        lost_list(list_of(self._places, self._name)).unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the area, however far it came."""
        (self._path / _READY).unlink(missing_ok=True)
        shutil.rmtree(self._path, ignore_errors=True)

    def _refuse_to_replace(self, but: set[str]) -> None:
        ours: set[str] | None = None
        is_list_lost = self._is_list_lost()
        for path, is_same_kind in in_the_way(self.tree, self._places.published):
            if ours is None:
                ours = published_files(self._places) | but
            is_ours = is_list_lost or path in ours or path.startswith(f"{RESERVED_NAME}/")
            if not is_same_kind or not is_ours:
                raise PathTaken(self._name, f"{self._places.build_path}/{path}")

    def _is_list_lost(self) -> bool:
        """Whether this artifact was published before, and nobody can tell any more which files it was."""
        index = list_of(self._places, self._name)
        return lost_list(index).exists() or (os.path.lexists(index) and list_if_understood(index) is None)


def recover(places: BuildPlaces) -> None:
    """Finish what had become ready, keep files that can be gone on with, and remove the rest.

    The caller holds the build's lock. Areas in which somebody works are left alone.
    """
    if places.staging.is_dir():
        for path in sorted(places.staging.iterdir()):
            if path.is_dir() and not path.is_symlink():
                _recover_area(places, path)
        if not any(path.is_dir() for path in places.staging.iterdir()):
            shutil.rmtree(places.staging, ignore_errors=True)
    if places.records.is_dir():
        for temporary in places.records.glob("*.tmp"):
            temporary.unlink(missing_ok=True)


def recover_artifacts(places: BuildPlaces, names: Iterable[str]) -> None:
    """The same for the areas of some artifacts."""
    for name in names:
        for path in areas_of(places, name):
            _recover_area(places, path)


def _rename_away(places: BuildPlaces, name: str) -> None:
    """Take the areas of an artifact from those who are taken for dead; what they hold open is theirs alone."""
    for path in areas_of(places, name):
        gone = another_area(places, name)
        with suppress(FileNotFoundError):
            path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _recover_area(places: BuildPlaces, path: Path) -> None:
    with nobodys(places, path) as is_nobodys:
        if is_nobodys:
            _recover_left_area(places, path)


def _recover_left_area(places: BuildPlaces, path: Path) -> None:
    try:
        ready = _read_ready(path)
    except RecordMalformed:
        ready = None
    if ready is not None:
        StagingArea(places, ready.name, path).finish(ready.archive_url, ready.record)
    elif is_another(path) or not has_marks(path):
        shutil.rmtree(path, ignore_errors=True)


def _read_ready(path: Path) -> _Ready | None:
    """What is ready in the area ``path``; None where nothing is.

    Raises:
        RecordMalformed, RecordUnreadable

    """
    ready = read(_Ready, path / _READY)
    if ready is None:
        return None
    if fault_of_artifact(ready.name) or (path / "tree").is_symlink():
        raise RecordMalformed(_READY, "it is of no artifact")
    return replace(ready, record=ready.record.checked(_READY))


def update_manifest(places: BuildPlaces, archive_url: str, records: Mapping[str, ArtifactRecord]) -> None:
    """Put ``records`` into the build's manifest, whoever else does so at the same time."""
    with publishing(places):
        _record(places, archive_url, records)


@contextmanager
def publishing(places: BuildPlaces) -> Iterator[None]:
    """The right to change what is published of the build, and its manifest."""
    lock = FileLock.acquire(places.publishing_lock, Flag())
    try:
        yield
    finally:
        lock.release()


def _record(places: BuildPlaces, archive_url: str, records: Mapping[str, ArtifactRecord]) -> None:
    manifest = _manifest_to_change(places) or Manifest(archive_url)
    manifest.with_records(records).write(places)


def _manifest_to_change(places: BuildPlaces) -> Manifest | None:
    """The manifest, which the caller is about to replace; one that is none is put out of the way.

    Raises:
        RecordUnreadable, NewerFormat

    """
    try:
        return Manifest.read(places)
    except RecordMalformed:
        set_aside(places.manifest)
        return None


def make_build_directory(places: BuildPlaces) -> None:
    """Make sure that the build has a directory.

    Raises:
        PathTaken: a part of the build path is a file.

    """
    try:
        places.published.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise PathTaken("the build", places.build_path) from None


def publish_empty_file(places: BuildPlaces, name: str) -> None:
    """Make sure that the build's directory has a file ``name``: an empty one, where it has none."""
    path = places.published / name
    if os.path.lexists(path):
        return
    # First its record: a file that a crash left without one would be somebody else's for ever.
    write_list(list_of(places, "empty"), {name: FileRecord(0, as_text(0))})
    with suppress(FileExistsError):
        path.open("xb").close()


def remove_build(places: BuildPlaces) -> None:
    """Remove all that was published or fetched of a build, and its records; what somebody else put there stays, and so
    does a file that is its own source.

    Who is reading a file reads it to its end. A crash in the middle leaves files that the next publication replaces,
    and nothing that counts as staged. The caller holds the build's lock, and nobody stages it.
    """
    with publishing(places):
        manifest = _manifest_to_change(places) or Manifest("")
        kept = [files_of_its_own(places, manifest.archive_url, record) for record in manifest.artifacts.values()]
        files = published_files(places).difference(*kept)
        places.manifest.unlink(missing_ok=True)
        remove_files(places.published, files)
        for index in all_lists(places):
            # What a list that cannot be read named stays: that it was there has to be known.
            if list_if_understood(index) is None:
                set_list_aside(index)
            discard(index)
        for record in (places.last_use, places.verified, places.broken_manifest):
            discard(record)
        shutil.rmtree(places.kept_objects, ignore_errors=True)
        for folder in {path.partition("/")[0] for path in files if "/" in path} - {RESERVED_NAME}:
            remove_empty_directories(places.published, folder)
        for directory in (places.records, places.published):
            with suppress(OSError):  # it holds something else
                directory.rmdir()
        shutil.rmtree(places.staging, ignore_errors=True)


def is_its_own_source(places: BuildPlaces, archive_url: str) -> bool:
    """Whether the build is staged in the directory that it lies in."""
    return archive_url == f"file://{places.published}"


def files_of_its_own(places: BuildPlaces, archive_url: str, record: ArtifactRecord) -> set[str]:
    """The build's files that are their own source: of a build that is staged in the directory that it lies in."""
    if not is_its_own_source(places, archive_url):
        return set()
    return {path for path, name in record.whole_files.items() if path == name}
