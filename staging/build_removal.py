"""A build is removed: in an order in which whatever cuts it off can be finished."""

from __future__ import annotations

import logging
import os

from staging.encodings import remove_encodings
from staging.errors import RecordError, RecordMalformed
from staging.file_lists import all_lists, list_if_understood, published_files, set_list_aside
from staging.layout import RESERVED_NAME, BuildPlaces
from staging.left_out import all_left_out
from staging.manifest import ArtifactRecord, Manifest
from staging.presence import exists, names_in, remove_file, remove_if_empty, remove_tree
from staging.publishing_lock import publishing
from staging.records.files import discard, folder_of, read_bytes, set_aside
from staging.removal import hollow_directories, remove_empty_directories, remove_files
from staging.shared_files import SharedFiles

_log = logging.getLogger(__name__)


def remove_build(places: BuildPlaces) -> None:
    """Remove all that was published or fetched of a build, and its records; what somebody else put there stays, and so
    does a file that is its own source.

    Who is reading a file reads it to its end. First the manifest is renamed to ``removing``: from then on nothing
    counts as staged, and whatever cuts the removal off, the next recovery finishes it. The caller holds the build's
    lock, and nobody stages it.

    Raises:
        RecordUnreadable, NewerFormat: nothing was removed.
        OSError: something cannot be removed now.

    """
    with publishing(places):
        manifest = manifest_to_change(places)
        published_files(places)  # a list that cannot be read ends it here, with everything as it was
        if manifest is not None:
            places.removing.parent.mkdir(parents=True, exist_ok=True)
            with folder_of(places.manifest) as folder:
                os.replace(places.manifest.name, places.removing, src_dir_fd=folder)
        _remove(places)


def finish_removal(places: BuildPlaces) -> None:
    """Go on with a removal that was cut off; the caller holds the build's lock."""
    with publishing(places):
        if exists(places.manifest):  # somebody staged the build since, who knew of no removal
            remove_file(places.removing)
        else:
            _remove(places)


def _remove(places: BuildPlaces) -> None:
    """Remove what is there of a build that has no manifest any more; doing it again removes what is left."""
    manifest = _removed_manifest(places)
    kept = [files_of_its_own(places, manifest.archive_url, record) for record in manifest.artifacts.values()]
    files = published_files(places).difference(*kept)
    files -= SharedFiles(places, manifest.archive_url).among(files)
    remove_encodings(places)
    remove_files(places.published, files)
    folders = {path.partition("/")[0] for path in files if "/" in path}
    if places.build_path:  # in the place of a whole bucket lie all others, too
        folders.update(hollow_directories(places.published))
    for folder in folders - {RESERVED_NAME}:
        remove_empty_directories(places.published, folder)
    discard(places.kept_objects)
    for index in all_lists(places):
        # What a list that cannot be understood named stays: that it was there has to be known.
        if list_if_understood(index) is None:
            set_list_aside(index)
        discard(index)
    for record in (places.last_use, places.verified, places.broken_manifest, *all_left_out(places)):
        discard(record)
    discard_half_written(places)
    for directory in (places.records, places.published):
        remove_if_empty(directory)
    remove_tree(places.staging)
    remove_file(places.removing)


def discard_half_written(places: BuildPlaces) -> None:
    """Remove what a crash left of a record of the build that was being written."""
    for name in [] if places.records.is_symlink() else names_in(places.records):
        if name.endswith(".tmp"):
            discard(places.records / name)


def _removed_manifest(places: BuildPlaces) -> Manifest:
    """What was the manifest of a build that is being removed.

    Raises:
        RecordUnreadable

    """
    text = read_bytes(places.removing, f"what was the manifest of {places.build_path}")
    try:
        return Manifest.parsed(text or b"")
    except RecordError:
        return Manifest("")


def manifest_to_change(places: BuildPlaces) -> Manifest | None:
    """The manifest, which the caller is about to replace; one that is none is put out of the way.

    Raises:
        RecordUnreadable, NewerFormat

    """
    try:
        return Manifest.read(places)
    except RecordMalformed as error:
        set_aside(places.manifest)
        _log.warning("%s; it was renamed to %s", error, places.broken_manifest.name)
        return None


def is_its_own_source(places: BuildPlaces, archive_url: str) -> bool:
    """Whether the build is staged in the directory that it lies in."""
    return archive_url == f"file://{places.published}"


def files_of_its_own(places: BuildPlaces, archive_url: str, record: ArtifactRecord) -> set[str]:
    """The build's files that are their own source: of a build that is staged in the directory that it lies in."""
    if not is_its_own_source(places, archive_url):
        return set()
    return {path for path, name in record.whole_files.items() if path == name}
