"""Questions about builds on disk and in the archive, and the rights to change one."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Event as Flag
from typing import NamedTuple

from artifacts.artifact import TEST_IMAGE
from artifacts.catalogue import CatalogueEntry
from artifacts.job import GatheredArtifact
from staging.archives import Archive, ArchiveObject, ArchiveUrl, Attempt, Wanted, once
from staging.build_names import fault_of_name
from staging.errors import (
    AccessDenied,
    AmbiguousArtifact,
    ArchiveRefused,
    BuildConflict,
    DevServerError,
    InvalidArchiveUrl,
    InvalidParameter,
    NotStaged,
    ObjectNotFound,
    RecordMalformed,
    UnusableDirectory,
)
from staging.file_lists import published_files
from staging.layout import RESERVED_NAME, BuildPlaces
from staging.locks import FileLock
from staging.manifest import Manifest
from staging.paths import fault_of_parts, may_be_file
from staging.presence import is_absence, mount_of, names_in, real_path
from staging.promises import forget_promises
from staging.publishing import make_build_directory, publish_empty_file, update_manifest
from staging.recovery import recover
from staging.retry import retrying
from staging.versions import milestone_of, version_key

_LATEST_OFFICIAL = "LATEST-official"
_LONGEST_VERSION = 1024  # bytes
GZIP, _GZIP_WINDOW = b"\x1f\x8b", 31
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def acquire_lock(places: BuildPlaces, cancelled: Flag, while_waiting: Callable[[], None] = lambda: None) -> FileLock:
    """The right to change a build, held by one process among all devservers; what died at it before is cleared up.

    Raises:
        Cancelled: the flag was set while another held it.

    """
    lock = FileLock.acquire(places.lock, cancelled, while_waiting)
    try:
        forget_promises(places)
        recover(places)
    except BaseException:
        lock.release()
        raise
    return lock


def release_lock(lock: FileLock, places: BuildPlaces) -> None:
    """Give the right back, with everything in order; every worker that shares it must have ended."""
    try:
        recover(places)
    finally:
        lock.release()


def staged_manifest(places: BuildPlaces, url: ArchiveUrl) -> Manifest:
    """What of the build is staged, from ``url``.

    Raises:
        BuildConflict: the build's directory holds the build of another archive URL by now.
        RecordUnreadable, NewerFormat

    """
    try:
        manifest = Manifest.read(places) or Manifest(str(url))
    except RecordMalformed:  # it is set aside when the next one is written, if not before
        manifest = Manifest(str(url))
    if manifest.archive_url != str(url):
        raise BuildConflict(places.build_path, manifest.archive_url, str(url))
    return manifest


def delete_source(places: BuildPlaces, url: ArchiveUrl, entries: Sequence[CatalogueEntry]) -> None:
    """Delete the objects that were staged from a build that lies in a directory, but for those that are served as they
    lie there.

    Raises:
        InvalidArchiveUrl: the build lies in a bucket.

    """
    if url.scheme != "file":
        raise InvalidArchiveUrl(str(url), "nothing is ever deleted from a bucket")
    manifest = staged_manifest(places, url)
    records = [manifest.artifacts[entry.name] for entry in entries if entry.name in manifest.artifacts]
    for record in records:
        for item in record.objects:
            source = Path(url.root, url.build_path, item.name)
            if source != places.published / item.name or item.name not in record.whole_files:
                source.unlink(missing_ok=True)


def prepare_build_directory(places: BuildPlaces, url: ArchiveUrl, with_image: bool = True) -> None:
    """Make the build's directory: with a manifest, and ``with_image`` with an image for those who look for one.

    Raises:
        PathTaken: a part of the build path is a file.

    """
    make_build_directory(places)
    update_manifest(places, str(url), {})  # first: what has no manifest is somebody else's
    if with_image:
        publish_empty_file(places, TEST_IMAGE)


def check_build_directory(places: BuildPlaces) -> None:
    """Find out whether what is staged could be published in the build's directory, there or yet to be made.

    Raises:
        UnusableDirectory
        OSError: that cannot be told now.

    """
    path, static_dir = real_path(places.published), real_path(places.static_dir)
    if not path.is_relative_to(static_dir):
        reason = "is a link out of the static directory, and nothing is served from there; remove the link"
        raise UnusableDirectory(places.build_path, f"{reason}, or let --static-dir be where it leads to")
    if mount_of(path) != mount_of(static_dir / RESERVED_NAME):
        reason = "lies on another file system than the rest of the static directory, and what is staged is published by"
        raise UnusableDirectory(places.build_path, f"{reason} renaming it; keep both on one, in one mount")


class Gathered(NamedTuple):
    """What an archive has of what is wanted.

    Attributes:
        artifacts: can be staged.
        absent: optional ones that it does not have.
        errors: why the others cannot be staged, by their names.

    """

    artifacts: list[GatheredArtifact]
    absent: list[CatalogueEntry]
    errors: dict[str, DevServerError]


def gather_artifact_downloads(wanted: Sequence[CatalogueEntry], archive: Archive, attempt: Attempt = once) -> Gathered:
    """Which of the artifacts ``wanted`` the archive has for its build; each request is made by ``attempt``.

    Raises:
        ObjectNotFound: there is no such build.
        ArchiveError

    """
    gathered = Gathered([], [], {})
    objects = {item.name: item for item in _candidates(wanted, archive, attempt, gathered.errors)}
    for entry in wanted:
        names = entry.chosen(objects)
        fault = next((objects[name].fault for name in names if objects[name].fault), "")
        if entry.name in gathered.errors:
            continue
        if len(names) > 1 and not entry.several:
            gathered.errors[entry.name] = AmbiguousArtifact(entry.name, names)
        elif fault:
            gathered.errors[entry.name] = ArchiveRefused(archive.url_of(names[0]), fault)
        elif names:
            gathered.artifacts.append(GatheredArtifact(entry, tuple(objects[name] for name in names)))
        elif entry.required:
            gathered.errors[entry.name] = ObjectNotFound(archive.url_of(entry.pattern))
        else:
            gathered.absent.append(entry)
    return gathered


def _candidates(
    wanted: Sequence[CatalogueEntry], archive: Archive, attempt: Attempt, errors: dict[str, DevServerError]
) -> list[ArchiveObject]:
    """The archive's objects among which those of ``wanted`` are; ``errors`` gets what cannot be found out, and why.

    What is known by its name is not looked for in a listing: a bucket may hold millions of objects.
    """
    exact = [entry for entry in wanted if entry.is_file and entry.exact_names]
    listed = [entry for entry in wanted if entry not in exact]
    objects = _named(exact, archive, attempt)
    try:
        objects += _listed(listed, archive, attempt)
    except AccessDenied as denied:
        # Who may not list may read what is known by its name; of the rest, nobody can tell what there is.
        exact = [entry for entry in listed if entry.exact_names]
        if not exact:
            raise _of_listing(denied) from denied
        errors.update({entry.name: _of_listing(denied) for entry in listed if entry not in exact})
        objects += _named(exact, archive, attempt)
    return objects


def _of_listing(denied: AccessDenied) -> AccessDenied:
    return AccessDenied(denied.url, f"to list what is there takes more than to read it: {denied.reason}")


def _named(entries: Iterable[CatalogueEntry], archive: Archive, attempt: Attempt) -> list[ArchiveObject]:
    """The first object of each entry that is there, of those that it may be."""
    objects = []
    for entry in entries:
        for name in filter(may_be_file, entry.exact_names or ()):
            with suppress(ObjectNotFound):
                objects.append(attempt(partial(archive.describe, name)))
                break
    return objects


def _listed(entries: Sequence[CatalogueEntry], archive: Archive, attempt: Attempt) -> list[ArchiveObject]:
    """What of the entries' objects the archive lists, of which no more is kept than is theirs.

    Raises:
        ObjectNotFound: there is no such build.

    """
    is_there = False

    def has_name(name: str) -> bool:
        nonlocal is_there
        is_there = True
        return may_be_file(name) and any(entry.chosen((name,)) for entry in entries)

    objects = {
        item.name: item
        for start, is_shallow in _questions(entries)
        for item in archive.list(Wanted(start, is_shallow, has_name), attempt)
    }
    if not is_there and any(not entry.is_file for entry in entries):
        raise ObjectNotFound(archive.url_of("").rstrip("/"))
    return list(objects.values())


def _questions(entries: Iterable[CatalogueEntry]) -> list[tuple[str, bool]]:
    """What is to be listed so that all objects of the entries are: what names begin with, and whether no ``/`` follows.

    The artifacts of a catalogue are mostly beside each other, and found by one listing of where they are.
    """
    asked = dict.fromkeys(
        (start if entry.is_file else start[: start.rfind("/") + 1], is_shallow)
        for entry in entries
        for start, is_shallow in entry.where
    )
    deep = [start for start, is_shallow in asked if not is_shallow]
    return [
        (start, is_shallow)
        for start, is_shallow in asked
        if not any(start.startswith(other) and (is_shallow or start != other) for other in deep)
    ]


def build_directory(static_dir: Path, name: str, build: str) -> Path:
    """The directory of the build at the path ``build``, which the parameter ``name`` gave.

    Raises:
        InvalidParameter: it leads out of the static directory.

    """
    parts = [part for part in build.split("/") if part]
    directory = static_dir.joinpath(*parts)
    if fault_of_parts(parts) or not _is_below(str(directory), static_dir):
        raise InvalidParameter(name, f"{build!r} leads out of the static directory")
    return directory


def latest_build(static_dir: Path, target: str, milestone: int | None, bucket: str = "") -> str:
    """The newest version of the builds of ``target`` that are here, or of those of one milestone, or of one bucket.

    Raises:
        InvalidParameter: the target leads out of the static directory, or the bucket is none.
        NotStaged: there is none.

    """
    directory = build_directory(static_dir, "target", target)
    if directory == static_dir:
        raise InvalidParameter("target", f"{target!r} names none; write for example target=x86-mario-release")
    path = target.strip("/")
    builds = _builds_of_bucket(static_dir, path, bucket) if bucket else _builds_at(BuildPlaces(static_dir, path))
    here = [
        version
        for version, places in builds
        if (milestone is None or milestone_of(version) == milestone) and has_something(places)
    ]
    if not here:
        raise NotStaged(f"Could not determine build for {target}")
    return max(here, key=version_key)


def _builds_at(target: BuildPlaces) -> list[tuple[str, BuildPlaces]]:
    """The versions below a target's directory, and where each lies."""
    try:
        entries = [
            entry for entry in os.scandir(target.published) if _is_directory_below(entry.path, target.static_dir)
        ]
    except OSError as error:
        if not is_absence(error):
            raise
        return []
    return [(one.name, BuildPlaces(target.static_dir, f"{target.build_path}/{one.name}")) for one in entries]


def _builds_of_bucket(static_dir: Path, path: str, bucket: str) -> list[tuple[str, BuildPlaces]]:
    """The same of one bucket, in whichever place each lies."""
    own = BuildPlaces(static_dir, f"gs://{bucket}/{path}")
    fault = fault_of_name(own.build_path)
    if fault:
        raise InvalidParameter("gs_bucket", fault)
    found = []
    for version, places in (*_builds_at(BuildPlaces(static_dir, path)), *_builds_at(own)):
        manifest = Manifest.if_readable(places)
        if manifest is not None and manifest.archive_url == f"gs://{bucket}/{path}/{version}":
            found.append((version, places))
    return found


def _is_below(path: str, static_dir: Path) -> bool:
    return real_path(path).is_relative_to(static_dir)


def _is_directory_below(path: str, static_dir: Path) -> bool:
    return os.path.isdir(path) and _is_below(path, static_dir)  # noqa: PTH112 - no link that leads nowhere ends it


def has_something(places: BuildPlaces) -> bool:
    """Whether the directory is a build of which something is staged, or was made by somebody else than a devserver."""
    manifest = Manifest.if_readable(places)
    if manifest is None:
        return names_in(places.published) != [RESERVED_NAME]
    return any(record.state == "staged" for record in manifest.artifacts.values())


def staged_files(places: BuildPlaces, artifacts: Iterable[str] | None = None) -> list[str]:
    """The paths of the files that were staged of a build, or of some artifacts of it, and are served."""
    served = (path for path in published_files(places, artifacts) if not path.startswith(f"{RESERVED_NAME}/"))
    return sorted(path for path in served if (places.published / path).exists())


def latest_official(
    archive_of: Callable[[ArchiveUrl], Archive], image_dir: str, board: str, retry_deadline: float
) -> str:
    """The path, relative to ``image_dir``, of the test image of the board's latest official build in the archive.

    Raises:
        InvalidArchiveUrl, ArchiveError
        NotStaged: what the archive calls the latest is no version.

    """
    url = ArchiveUrl.parse(f"{image_dir.rstrip('/')}/{board}-release", any_depth=True)
    archive = archive_of(url)

    def read() -> bytes:
        item = archive.describe(_LATEST_OFFICIAL)
        return b"".join(archive.read(item, 0, min(item.size, _LONGEST_VERSION))) if item.size else b""

    text = _unpacked(retrying(read, retry_deadline, Flag()))
    version = text.decode("utf-8-sig", errors="replace").strip()
    if not _VERSION.fullmatch(version):
        raise NotStaged(f"{archive.url_of(_LATEST_OFFICIAL)} names no version, but {version[:100]!r}")
    return f"{board}-release/{version}/{TEST_IMAGE}"


def _unpacked(text: bytes) -> bytes:
    """``text``; what it was before, where it was gzipped for its upload."""
    if not text.startswith(GZIP):
        return text
    try:
        return zlib.decompressobj(wbits=_GZIP_WINDOW).decompress(text, _LONGEST_VERSION)
    except zlib.error:
        return text
