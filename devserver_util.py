"""Questions about builds on disk and in the archive, and the rights to change one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from threading import Event as Flag

from artifacts.artifact import TEST_IMAGE
from artifacts.catalogue import CatalogueEntry
from artifacts.job import GatheredArtifact
from staging.archives import Archive, ArchiveUrl
from staging.errors import AmbiguousArtifact, BuildConflict, ObjectNotFound
from staging.layout import RESERVED_NAME, BuildPlaces, places_in_use
from staging.locks import FileLock
from staging.manifest import Manifest
from staging.publishing import publish_empty_file, recover, update_manifest


def acquire_lock(places: BuildPlaces, cancelled: Flag, while_waiting: Callable[[], None] = lambda: None) -> FileLock:
    """The right to change a build, held by one download among all threads, processes and devservers.

    Raises:
        Cancelled: the flag was set while another held it.

    """
    return FileLock.acquire(places.lock, cancelled, while_waiting)


def release_lock(lock: FileLock) -> None:
    """Give the right back; every worker that shares it must have ended."""
    lock.release()


def clear_up(static_dir: Path) -> dict[str, OSError]:
    """Finish or remove what devservers that are no more left behind; what others are at work on is left alone.

    Returns:
        The build paths where that was not possible, and why.

    """
    problems = {}
    for places in places_in_use(static_dir):
        try:
            _clear_up_build(places)
        except OSError as error:
            problems[places.build_path] = error
    return problems


def _clear_up_build(places: BuildPlaces) -> None:
    lock = FileLock.try_once(places.lock)
    if lock is None:
        return
    try:
        recover(places)
        FileLock.acquire(places.publishing_lock, Flag()).release()
    finally:
        lock.release()


def staged_manifest(places: BuildPlaces, url: ArchiveUrl) -> Manifest:
    """What of the build is staged, from ``url``.

    Raises:
        BuildConflict: the build's directory holds the build of another archive URL.

    """
    manifest = Manifest.read(places) or Manifest(str(url))
    if manifest.archive_url != str(url):
        raise BuildConflict(places.build_path, manifest.archive_url, str(url))
    return manifest


def prepare_build_directory(places: BuildPlaces, url: ArchiveUrl) -> None:
    """Make the build's directory what every build's is: with a manifest, and an image for those who look for one.

    Raises:
        PathTaken: a part of the build path is a file.

    """
    publish_empty_file(places, TEST_IMAGE)
    update_manifest(places, str(url), {})


def gather_artifact_downloads(
    catalogue: Sequence[CatalogueEntry], archive: Archive
) -> tuple[list[GatheredArtifact], list[CatalogueEntry]]:
    """Which of the catalogue's artifacts the archive has for its build, and which optional ones it has not.

    Raises:
        ObjectNotFound: a required one is missing.
        AmbiguousArtifact: several objects are one artifact.
        ArchiveError

    """
    objects = [item for item in archive.list() if _is_safe_name(item.name)]
    if not objects:
        raise ObjectNotFound(archive.url_of("").rstrip("/"))
    gathered, absent = [], []
    for entry in catalogue:
        matching = tuple(item for item in objects if entry.matches(item.name))
        if len(matching) > 1:
            raise AmbiguousArtifact(entry.name, [item.name for item in matching])
        if matching:
            gathered.append(GatheredArtifact(entry, matching))
        elif entry.required:
            raise ObjectNotFound(archive.url_of(entry.pattern))
        else:
            absent.append(entry)
    return gathered, absent


def _is_safe_name(name: str) -> bool:
    """Whether an object's name can be a path below the build's directory; an archive may hold any name at all."""
    path = PurePosixPath(name)
    is_plain = path.as_posix() == name and not path.is_absolute() and "\0" not in name
    return is_plain and not {"..", RESERVED_NAME} & set(path.parts)
