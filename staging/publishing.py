"""From the staging area into the build's directory: made ready out of sight, then moved in by rename.

An artifact's staging area holds

    tree/        what will be published, laid out as it will lie in the build's directory
    objects/     objects that are on their way, and marks of how far they came
    owner        whose it is
    ready.json   written last: the tree is complete and verified

Until ``ready.json`` is there, a crash costs the area. From then on it costs nothing: a recovery finishes the
renames and the manifest that the crash cut off, so that an artifact is published wholly or not at all.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_hex
from threading import Event as Flag

from staging.archives import ArchiveUrl
from staging.areas import another_area, areas_of, is_another, is_signed, lock_area, nobodys, sign, take_away
from staging.build_names import has_own_place
from staging.build_removal import files_of_its_own, manifest_to_change
from staging.checksums import as_text
from staging.encodings import Encoded, write_encodings
from staging.errors import (
    DISK_ERRORS,
    BuildConflict,
    Cancelled,
    InvalidArchiveUrl,
    PathTaken,
    RecordMalformed,
    SharedFileDiffers,
)
from staging.file_lists import (
    FileRecord,
    describe_tree,
    list_if_understood,
    list_of,
    lost_list,
    published_files,
    write_list,
)
from staging.layout import RESERVED_NAME, BuildPlaces, as_file_name
from staging.left_out import LeftOut, left_out_record, write_left_out
from staging.locks import FileLock
from staging.manifest import ArtifactRecord, Manifest
from staging.merging import in_the_way, merge
from staging.paths import UNPRINTABLE, fault_of_artifact
from staging.presence import exists, is_directory, remove_tree
from staging.publishing_lock import publishing
from staging.records.decoding import read, write
from staging.records.files import discard, write_bytes
from staging.shared_files import SharedFiles
from staging.transfer import has_marks

_READY, _FORMAT = "ready.json", 1


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

    def place_of(self, object_name: str) -> Path:
        """The file of an object that is on its way: called by a digest, since what lies beside it has names as well."""
        return self.objects / hashlib.sha256(os.fsencode(object_name)).hexdigest()[:32]

    @contextmanager
    def claimed(self, cancelled: Flag, patience: float) -> Iterator[None]:
        """The right to work here. Who has had it for ``patience`` seconds is taken for dead: he publishes no more.

        Raises:
            Cancelled

        """
        lock = lock_area(self._places, self._path, cancelled, patience)
        if lock is None:
            _take_over(self._places, self._name)
            self._path = another_area(self._places, self._name)
            lock = FileLock.acquire(self._places.area_lock(self._path.name), cancelled)
        try:
            finish_or_remove(self._places, self._path)  # what its owner left who died
            yield
        finally:
            self._give_back(lock)

    def _give_back(self, lock: FileLock) -> None:
        try:
            with suppress(*DISK_ERRORS):  # it is left to the next recovery
                if not is_signed(self._path, self._token):  # whatever was made here after it had been taken away
                    remove_tree(self._path)
        finally:
            lock.release()

    def is_staged(self, archive_url: str) -> bool:
        """Whether the artifact was published already; asked by who has the right to work here, that is so for good."""
        manifest = Manifest.read(self._places)
        return manifest is not None and manifest.archive_url == archive_url and manifest.satisfies(self._name, True)

    def prepare(self) -> None:
        """Make the area: an empty tree, and the objects that an earlier attempt left, to be gone on with."""
        if self._places.is_key_cut:
            # In one step: half a build path would be another build's.
            write_bytes(self._places.build_path_note, self._places.build_path.encode())
        remove_tree(self.tree)
        self.tree.mkdir(parents=True)
        self.objects.mkdir(exist_ok=True)
        sign(self._path, self._token)

    def prepare_anew(self) -> None:
        """Make the area, empty."""
        self.remove()
        self.prepare()

    def discard(self) -> None:
        """Remove the area, unless it had become ready: then it is the next :func:`recover`'s to finish, as is one that
        cannot be removed now.
        """
        with suppress(*DISK_ERRORS):
            if is_signed(self._path, self._token) and not exists(self._path / _READY):
                self.remove()

    def publish(
        self,
        archive_url: str,
        record: ArtifactRecord,
        checksums: Mapping[str, str],
        holes: int = 0,
        left_out: LeftOut | None = None,
        encodings: Mapping[str, Encoded] | None = None,
    ) -> None:
        """Move the tree into the build's directory, and put the record, with its files counted, into the manifest.

        ``checksums`` are those of its files that are known, by their paths in the tree; ``holes`` are bytes of them
        that take no room on the disk; ``encodings`` are of those files that are served encoded.

        Raises:
            PathTaken: a file lies in the way that no artifact of this build published. Nothing was moved.
            BuildConflict: what lies there is the build of another archive URL. Nothing was moved.
            Cancelled: somebody else makes the artifact ready, who took this one for dead.

        """
        with self._as_owner():
            files = describe_tree(self.tree, checksums)
            size = max(0, sum(file.size for file in files.values()) - holes)
            record = replace(record, files=len(files), size=size)
            write_list(self.tree / RESERVED_NAME / list_of(self._places, self._name).name, files)
            if left_out is not None and left_out.count:
                write_left_out(left_out_record(self.tree / RESERVED_NAME, self._name), left_out)
            write_encodings(self.tree, self._name, encodings or {})
            self._publish(archive_url, record, files)
        self._leave()

    def _publish(self, archive_url: str, record: ArtifactRecord, files: Mapping[str, FileRecord]) -> None:
        # One at a time: two artifacts may bring the same new directory, or get in each other's way.
        with publishing(self._places, self._path):
            self._check_owner()
            _refuse_another(self._places, archive_url)
            shared = SharedFiles(self._places, archive_url)
            self._refuse_to_replace(files_of_its_own(self._places, archive_url, record), files, shared)
            ready = {"name": self._name, "archive_url": archive_url, "record": record.to_json()}
            write(self._path / _READY, {"format": _FORMAT, **ready})
            self._merge(archive_url, record)

    def _leave(self) -> None:
        """Remove the area of what is published, which no error makes unpublished: the next recovery tries again."""
        with suppress(*DISK_ERRORS):
            self.remove()

    @contextmanager
    def _as_owner(self) -> Iterator[None]:
        """Find out at the end too whose the area is: it may be taken away at any moment."""
        self._check_owner()
        try:
            yield
        except FileNotFoundError:
            self._check_owner()
            raise

    def _check_owner(self) -> None:
        if not is_signed(self._path, self._token):
            raise Cancelled("another worker has taken the artifact over")

    def finish(self, archive_url: str, record: ArtifactRecord) -> None:
        """Do what is left of a publication that had become ready."""
        with publishing(self._places, self._path):
            self._merge(archive_url, record)
        self._leave()

    def _merge(self, archive_url: str, record: ArtifactRecord) -> None:
        if not exists(left_out_record(self.tree / RESERVED_NAME, self._name)):
            discard(left_out_record(self._places.records, self._name))  # of what was published before
        merge(self.tree, self._places.published)
        _record(self._places, archive_url, {self._name: record}, through=self._path)
        discard(lost_list(list_of(self._places, self._name)))

    def remove(self) -> None:
        """Remove the area, however far it came."""
        discard(self._path / _READY)
        remove_tree(self._path)

    def _refuse_to_replace(self, but: set[str], files: Mapping[str, FileRecord], shared: SharedFiles) -> None:
        ours: set[str] | None = None
        is_list_lost = self._is_list_lost()
        for path, is_same_kind in in_the_way(self.tree, self._places.published):
            if ours is None:
                ours = published_files(self._places) | but
            is_ours = is_list_lost or path in ours or path.startswith(f"{RESERVED_NAME}/")
            if not is_same_kind or not (is_ours or self._is_shared(path, files, shared)):
                kind = "" if is_same_kind else _kind_of(self.tree / path)
                raise PathTaken(self._name, f"{self._places.build_path}/{path}", kind)

    def _is_shared(self, path: str, files: Mapping[str, FileRecord], shared: SharedFiles) -> bool:
        """Whether another build of the same bucket published that very file.

        Raises:
            SharedFileDiffers: it published another one.

        """
        record = shared.record_of(path)
        if record is not None and record != files.get(path):
            raise SharedFileDiffers(self._name, f"{self._places.build_path}/{path}")
        return record is not None

    def _is_list_lost(self) -> bool:
        """Whether this artifact was published before, and nobody can tell any more which files it was."""
        index = list_of(self._places, self._name)
        return exists(lost_list(index)) or (exists(index) and list_if_understood(index) is None)


def _kind_of(path: Path) -> str:
    return "a directory" if is_directory(path) else "a file"


def _take_over(places: BuildPlaces, name: str) -> None:
    """Take the areas of an artifact from those who are taken for dead, and finish what had become ready."""
    for path in areas_of(places, name):
        take_away(path)
    for path in areas_of(places, name):
        with suppress(*DISK_ERRORS), nobodys(places, path) as is_nobodys:  # else it is left to the next recovery
            if is_nobodys:
                finish_or_remove(places, path)


def finish_or_remove(places: BuildPlaces, path: Path) -> None:
    """Finish the publication of what had become ready in the area ``path``, which is nobody's; else remove it, unless
    there are files in it that can be gone on with.

    Raises:
        OSError, RecordUnreadable

    """
    try:
        ready = _read_ready(places, path)
    except RecordMalformed:
        ready = None
    if ready is not None and is_directory(path / "tree"):
        StagingArea(places, ready.name, path).finish(ready.archive_url, ready.record)
    elif is_another(path) or not has_marks(path / "objects"):
        remove_tree(path)


def _read_ready(places: BuildPlaces, path: Path) -> _Ready | None:
    """What is ready in the build's area ``path``; None where nothing is.

    Raises:
        RecordMalformed, RecordUnreadable, NewerFormat

    """
    ready = read(_Ready, path / _READY, newest=_FORMAT)
    if ready is None:
        return None
    if fault_of_artifact(ready.name) or (path / "tree").is_symlink():
        raise RecordMalformed(_READY, "it is of no artifact")
    manifest = Manifest.if_readable(places)
    if not _is_url_of(places, ready.archive_url) or (manifest and manifest.archive_url != ready.archive_url):
        raise RecordMalformed(_READY, "it is of another build")
    return replace(ready, record=ready.record.checked(_READY))


def _is_url_of(places: BuildPlaces, archive_url: str) -> bool:
    """Whether an archive URL is the build's; of a directory's, only its end is known here."""
    if has_own_place(places.build_path):
        return archive_url == places.build_path
    if archive_url.startswith("file://"):
        return not UNPRINTABLE.search(archive_url) and f"{archive_url}/".endswith(f"/{places.build_path}/")
    try:
        return ArchiveUrl.parse(archive_url, any_depth=True).build_path == places.build_path
    except InvalidArchiveUrl:
        return False


def update_manifest(places: BuildPlaces, archive_url: str, records: Mapping[str, ArtifactRecord]) -> None:
    """Put ``records`` into the build's manifest, whoever else does so at the same time."""
    with publishing(places):
        _refuse_another(places, archive_url)
        _record(places, archive_url, records)


def _refuse_another(places: BuildPlaces, archive_url: str) -> None:
    """Find out at the last moment whose the build's directory is, whatever the devserver took it for that asked.

    Raises:
        BuildConflict

    """
    manifest = Manifest.if_readable(places)
    if manifest is not None and manifest.archive_url != archive_url:
        raise BuildConflict(places.build_path, manifest.archive_url, archive_url)


def _record(
    places: BuildPlaces, archive_url: str, records: Mapping[str, ArtifactRecord], through: Path | None = None
) -> None:
    manifest = manifest_to_change(places) or Manifest(archive_url)
    manifest.with_records(records).write(places, through)


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
    if exists(path):
        return
    # First its record: a file that a crash left without one would be somebody else's for ever.
    write_list(list_of(places, "empty"), {name: FileRecord(0, as_text(0))})
    with suppress(FileExistsError):
        path.open("xb").close()
