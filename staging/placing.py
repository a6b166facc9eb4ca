"""Where each build lies: at its build path, unless a build of another archive has that address.

Builds are told apart by the bucket or directory that they come from, and by their path. Those of two buckets may meet
at one address: they have one path, or the path of one lies below that of the other. The first of them lies at its build
path; the other in a place of its own (see :mod:`staging.build_names`). Which is the first is decided once, by one
process at a time, when a build is asked for, and holds while anything of it is there: its manifest says so, or what is
left of one that is being removed, or, before it has one, a *claim*.

    <static>/.devserver/claims/<key>.json     whose the place of that key is; locked for as long as it is being staged

A claim counts while somebody holds its lock, and after that, for as long as there are staging areas, pins or leases.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Flag
from threading import Lock

from staging.archives import ArchiveUrl
from staging.build_names import fault_of_name, has_own_place, root_of
from staging.errors import DISK_ERRORS, InvalidArchiveUrl, NewerFormat, RecordError, RecordMalformed, as_devserver_error
from staging.file_lists import published_files
from staging.in_mind import InMind
from staging.layout import BuildPlaces, claims_directory, places_lock
from staging.locks import FileLock, is_locked_by_any
from staging.manifest import Manifest
from staging.newer import glimpsed
from staging.overview import builds_below
from staging.presence import exists, let_go, names_in, remove_file
from staging.records.decoding import Text, as_data, read, write
from staging.records.files import read_bytes

_URL = re.compile(rb'"archive_url":\s*"([!#-\[\]-~]+)"')  # of a manifest that is no record any more


@dataclass(frozen=True)
class _Claim:
    """Whose the place of a build is.

    Attributes:
        build: the build's name.
        archive_url: where it comes from.

    """

    build: Text
    archive_url: Text


class Claim:
    """A place that is a build's for as long as somebody holds this, whether anything lies there or not."""

    def __init__(self, places: BuildPlaces, descriptor: int | None) -> None:
        """``descriptor`` holds the lock of the record; there is none where there was no room for a record."""
        self.places = places
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go of it, and remove the record where it says nothing that is not known without it."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        let_go(descriptor)
        with suppress(*DISK_ERRORS), _deciding(self.places.static_dir):
            _tidy(self.places)


class Placing:
    """Says where builds lie below one static directory. All methods may be called from any number of threads."""

    def __init__(self, static_dir: Path) -> None:
        self._static_dir = static_dir

    def of(self, url: ArchiveUrl) -> BuildPlaces:
        """The places of a build, or those that it would have if it was staged now.

        Raises:
            InvalidArchiveUrl: it can have none here; its URL is too long.
            DiskFailure, RecordUnreadable: it cannot be told now.

        """
        try:
            return self._of(url)
        except OSError as error:
            raise as_devserver_error(error, str(url)) from error

    def _of(self, url: ArchiveUrl) -> BuildPlaces:
        first, own = BuildPlaces(self._static_dir, url.build_path), BuildPlaces(self._static_dir, str(url))
        owner = _owner_of(first)
        if owner == str(url):
            return first
        is_own = owner is not None or _owner_of(own) or exists(own.manifest) or self._meets_another(url)
        return _checked(own) if is_own else first

    @contextmanager
    def claimed(self, url: ArchiveUrl) -> Iterator[BuildPlaces]:
        """The places of a build that is about to be staged; they stay its own while the context lasts."""
        places = self.of(url)
        if _url_of(places) == str(url):
            yield places  # as its manifest says; who stages something of it claims it all the same
            return
        claim = self.claim(url)
        try:
            yield claim.places
        finally:
            claim.release()

    def claim(self, url: ArchiveUrl) -> Claim:
        """Decide where a build lies, and keep it so.

        Raises:
            InvalidArchiveUrl, DiskFailure, RecordUnreadable

        """
        with _deciding(self._static_dir):
            places = self.of(url)
            try:
                if _claimant(places) != str(url):
                    write(places.claim, as_data(_Claim(places.build_path, str(url))), indent=None)
                descriptor = os.open(places.claim, os.O_RDWR | os.O_CLOEXEC)
            except DISK_ERRORS:  # no room; the manifest will say whose it is
                return Claim(places, None)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            return Claim(places, descriptor)

    def sweep(self) -> None:
        """Remove the claims that count for nothing: those of devservers that are no more."""
        directory = claims_directory(self._static_dir)
        names = names_in(directory)
        if not names:
            return
        with _deciding(self._static_dir):
            for name in names:
                claim = _read_claim(directory / name) if name.endswith(".json") else None
                places = BuildPlaces(self._static_dir, claim.build) if claim else None
                if places is not None and places.claim.name == name:
                    _tidy(places)
                else:
                    remove_file(directory / name)

    def _meets_another(self, url: ArchiveUrl) -> bool:
        """Whether the build would meet one of another bucket or directory: above it or below."""
        root, path = root_of(str(url), url.build_path), url.build_path
        parts = path.split("/")
        for count in range(1, len(parts)):
            above = "/".join(parts[:count])
            owner = _owner_of(BuildPlaces(self._static_dir, above))
            if owner is not None and root_of(owner, above) != root:
                return True
        return self._meets_a_whole_bucket(url, root) or self._meets_below(path, root)

    def _meets_a_whole_bucket(self, url: ArchiveUrl, root: str) -> bool:
        """Whether a file of the build that is a whole bucket lies where this one would. That build has no directory of
        its own: all builds lie below it, and most have nothing to do with it.
        """
        whole = BuildPlaces(self._static_dir, "")
        owner = _owner_of(whole) if url.build_path else None
        if owner is None or owner == root:
            return False
        here = f"{url.build_path}/"
        return any(f"{path}/".startswith(here) or here.startswith(f"{path}/") for path in published_files(whole))

    def _meets_below(self, path: str, root: str) -> bool:
        for places in builds_below(self._static_dir, path) if self._is_there(path) else ():
            below = places.build_path
            owner = None if has_own_place(below) or not below else _owner_of(places)
            if owner is not None and root_of(owner, below) != root:
                return True
        return any(root_of(claim.archive_url, claim.build) != root for claim in self._claims_below(path))

    def _is_there(self, path: str) -> bool:
        return exists(self._static_dir / path)

    def _claims_below(self, path: str) -> Iterator[_Claim]:
        directory = claims_directory(self._static_dir)
        for name in names_in(directory):
            claim = _read_claim(directory / name) if name.endswith(".json") else None
            if claim is None or has_own_place(claim.build) or not claim.build:
                continue
            places = BuildPlaces(self._static_dir, claim.build)
            is_below = claim.build.startswith(f"{path}/") if path else True
            if is_below and places.claim.name == name and _counts(places):
                yield claim


_IN_THIS_PROCESS = Lock()  # so that the threads of one process wait for each other without polling


@contextmanager
def _deciding(static_dir: Path) -> Iterator[None]:
    with _IN_THIS_PROCESS:
        lock = FileLock.acquire(places_lock(static_dir), Flag())
        try:
            yield
        finally:
            lock.release()


def _checked(places: BuildPlaces) -> BuildPlaces:
    fault = fault_of_name(places.build_path)
    if fault:
        raise InvalidArchiveUrl(places.build_path, f"another build has its address here, and {fault}")
    return places


def _owner_of(places: BuildPlaces) -> str | None:
    """The archive URL of the build whose the places are; None where nothing of any is there.

    Raises:
        OSError, RecordUnreadable

    """
    return _url_of(places) or _claimant(places) or _removed_url(places)


def _claimant(places: BuildPlaces) -> str | None:
    claim = _read_claim(places.claim)
    return claim.archive_url if claim and claim.build == places.build_path and _counts(places) else None


def _removed_url(places: BuildPlaces) -> str | None:
    """The archive URL of what is being removed, or could not be removed wholly."""
    text = read_bytes(places.removing)
    try:
        return Manifest.parsed(text).archive_url if text else None
    except RecordError:
        return None


def _read_claim(path: Path) -> _Claim | None:
    try:
        claim = read(_Claim, path, "a claim")
    except RecordMalformed:
        return None
    is_sane = claim is not None and not fault_of_name(claim.build) and not fault_of_name(claim.archive_url)
    return claim if is_sane else None


def _counts(places: BuildPlaces) -> bool:
    """Whether a claim of the places says something."""
    return is_locked_by_any(places.claim) or _has_left_something(places)


def _has_left_something(places: BuildPlaces) -> bool:
    return bool(names_in(places.staging)) or exists(places.holds) or exists(places.removing)


def _tidy(places: BuildPlaces) -> None:
    """Remove a claim that says no more than what else is there; the caller decides where builds lie."""
    if not is_locked_by_any(places.claim) and (exists(places.manifest) or not _has_left_something(places)):
        remove_file(places.claim)


def _url_of(places: BuildPlaces) -> str | None:
    """The archive URL that the manifest of a build states, as far as it can be read off it."""
    return _URLS.of(places) or _rest_of_url(places)


def _read_url(places: BuildPlaces, _status: os.stat_result) -> str:
    try:
        manifest = Manifest.read(places)
    except NewerFormat:
        manifest = glimpsed(places)
    return manifest.archive_url if manifest else ""


_URLS = InMind(_read_url)


def _rest_of_url(places: BuildPlaces) -> str | None:
    """The archive URL in a manifest that is malformed: what lies there is still that build's."""
    with suppress(RecordMalformed):
        found = _URL.search(read_bytes(places.manifest) or b"")
        return found[1].decode() if found else None
    return None
