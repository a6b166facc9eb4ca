"""Where things lie under a static directory.

    <static>/<build path>/...                        what is published; /static serves it
    <static>/<build path>/.devserver/manifest.json   what of the build is staged, and where it came from
    <static>/<build path>/.devserver/<artifact>.files.json   the files that an artifact published
    <static>/<build path>/.devserver/objects/<object>        a tarball as it came, where those are kept for peers
    <static>/<build path>/.devserver/last-use        changed when the build was last used
    <static>/.devserver/buckets/<bucket>/<build path>/...    the same of a build whose address is another's
    <static>/.devserver/buckets/file:/<path>/...             and of one that comes from a directory
    <static>/.devserver/claims/<key>.json            whose a build's place is while it is being staged
    <static>/.devserver/staging/<key>/<artifact>/    where an artifact is made ready; <artifact>+<token> is another one
    <static>/<build path>/.devserver/verified        changed when the build was last read and verified
    <static>/.devserver/verifying                    held by the devserver that does so
    <static>/.devserver/orders/<devserver>/...       what its downloads are to do, while they are under way
    <static>/.devserver/staging/<key>/+build-path    whose that is, where the key does not say
    <static>/.devserver/synchronous                  held by all who stage what a harness waits for
    <static>/.devserver/locks/<key>                  who is staging the build
    <static>/.devserver/locks/<key>+publishing       who is changing what is published of it
    <static>/.devserver/locks/<key>+holds            who is changing its pin and its leases, or relies on them
    <static>/.devserver/locks/+area-<digest>         who is at work in a staging area
    <static>/.devserver/locks/+room                  who is making room
    <static>/.devserver/locks/+places                who decides where a build lies
    <static>/.devserver/holds/<key>.json             the build's pin and its leases
    <static>/.devserver/dumps/dump-*/                minidumps, while stacks are made of them
    <static>/.devserver/on-its-way/<key>/            what is promised to those who stage it, and not there yet
    <static>/.devserver/removing/<key>.json          what was the manifest of a build that is being removed

A build's key is its name (see :mod:`staging.build_names`) as a file name. Staging areas lie inside the static
directory, so that publishing is a rename within one file system. The name
``.devserver`` is reserved everywhere: no build, object or tarball may use it, and nothing below it is
served but objects that are kept for peers, to who asks for one.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, unquote

from staging import paths
from staging.build_names import directory_of, fault_of_name
from staging.errors import RecordError
from staging.presence import names_in
from staging.records.files import read_bytes

RESERVED_NAME = paths.OWN_NAME
_LONGEST_KEY = 200
_PUBLISHING = "+publishing"  # a key has no plus sign but before its digest
_HOLDS = "+holds"
_KEPT = "objects"
_NOTE = "+build-path"  # no area's name begins with a plus sign
_BUCKET_KEY = "%"  # of the build that is a whole bucket; no other key has a percent sign without two digits


def synchronous_lock(static_dir: Path) -> Path:
    """The file whose lock says that somebody stages synchronous artifacts, of whichever build."""
    return static_dir / RESERVED_NAME / "synchronous"


def room_lock(static_dir: Path) -> Path:
    """The lock file of those who make room; the name is no build's."""
    return locks_directory(static_dir) / "+room"


def places_lock(static_dir: Path) -> Path:
    """The lock file of those who decide where a build lies; the name is no build's."""
    return locks_directory(static_dir) / "+places"


def claims_directory(static_dir: Path) -> Path:
    """The directory of what says whose places are of which nothing is published yet."""
    return static_dir / RESERVED_NAME / "claims"


def clock_file(static_dir: Path) -> Path:
    """What was last known of the time of day."""
    return static_dir / RESERVED_NAME / "clock"


def locks_directory(static_dir: Path) -> Path:
    """The directory of all lock files of builds."""
    return static_dir / RESERVED_NAME / "locks"


def holds_directory(static_dir: Path) -> Path:
    """The directory of all pins and leases."""
    return static_dir / RESERVED_NAME / "holds"


def promises_directory(static_dir: Path) -> Path:
    """The directory of what is on its way, with a directory for each build."""
    return static_dir / RESERVED_NAME / "on-its-way"


def removals_directory(static_dir: Path) -> Path:
    """The directory of what were the manifests of builds that are being removed."""
    return static_dir / RESERVED_NAME / "removing"


def kept_object(name: str) -> str:
    """Where a build keeps the object ``name`` that it unpacked, relative to its directory."""
    return f"{RESERVED_NAME}/{_KEPT}/{as_file_name(name)}"


def verifying_lock(static_dir: Path) -> Path:
    """The file whose lock says that a devserver reads a build in the background, to verify it."""
    return static_dir / RESERVED_NAME / "verifying"


def dumps_directory(static_dir: Path) -> Path:
    """The directory of minidumps for as long as stacks are made of them."""
    return static_dir / RESERVED_NAME / "dumps"


def orders_directory(static_dir: Path) -> Path:
    """The directory of the orders of downloads that are under way."""
    return static_dir / RESERVED_NAME / "orders"


@dataclass(frozen=True)
class BuildPlaces:
    """The places of one build below the directory ``static_dir``.

    ``build_path`` is the build's name: its build path, or where it lies in a place of its own, its archive URL.
    """

    static_dir: Path
    build_path: str

    @property
    def published(self) -> Path:
        """The build's directory, as /static serves it."""
        return self.static_dir / directory_of(self.build_path)

    @property
    def records(self) -> Path:
        """The directory of the manifest and the lists of files."""
        return self.static_dir.joinpath(directory_of(self.build_path), RESERVED_NAME)

    @property
    def manifest(self) -> Path:
        """The manifest."""
        return self.static_dir.joinpath(directory_of(self.build_path), RESERVED_NAME, "manifest.json")

    @property
    def broken_manifest(self) -> Path:
        """What was the manifest, and could not be understood."""
        return self.manifest.with_name(f"{self.manifest.name}.broken")

    @property
    def last_use(self) -> Path:
        """The empty file whose time of change is when the build was last used."""
        return self.static_dir.joinpath(directory_of(self.build_path), RESERVED_NAME, "last-use")

    @property
    def verified(self) -> Path:
        """The empty file whose time of change is when every byte of the build was last read and found right."""
        return self.records / "verified"

    @property
    def kept_objects(self) -> Path:
        """The directory of the objects that the build keeps beside what was unpacked from them."""
        return self.records / _KEPT

    @property
    def staging(self) -> Path:
        """The directory that holds the build's staging areas."""
        return self.static_dir / RESERVED_NAME / "staging" / self.key

    @property
    def is_key_cut(self) -> bool:
        """Whether nobody can read the build path off the names of its staging directory and its lock."""
        return "+" in self.key

    @property
    def build_path_note(self) -> Path:
        """Among the staging areas of such a build, the file that holds the build path."""
        return self.staging / _NOTE

    @property
    def lock(self) -> Path:
        """The lock file of the build's download."""
        return locks_directory(self.static_dir) / self.key

    @property
    def claim(self) -> Path:
        """The record of whose the places are, as long as no manifest says so."""
        return claims_directory(self.static_dir) / f"{self.key}.json"

    def area_lock(self, area: str) -> Path:
        """The lock file of who works in the staging area of that file name; the lock's name is no build's."""
        digest = hashlib.sha256(f"{self.build_path}\0{area}".encode()).hexdigest()[:32]
        return self.lock.with_name(f"+area-{digest}")

    @property
    def publishing_lock(self) -> Path:
        """The lock file of those who change what is published."""
        return self.lock.with_name(f"{self.key}{_PUBLISHING}")

    @property
    def holds(self) -> Path:
        """The record of the build's pin and its leases. Not in the build's directory: a lease may come before that, and
        outlives that it is staged anew.
        """
        return holds_directory(self.static_dir) / f"{self.key}.json"

    @property
    def holds_lock(self) -> Path:
        """The lock file of those who change that, or rely on it."""
        return self.lock.with_name(f"{self.key}{_HOLDS}")

    @property
    def promises(self) -> Path:
        """The directory of what is promised to those who stage the build."""
        return promises_directory(self.static_dir) / self.key

    @property
    def removing(self) -> Path:
        """What was the manifest, from when the build's removal begins until the last of it is gone."""
        return removals_directory(self.static_dir) / f"{self.key}.json"

    @property
    def key(self) -> str:
        """The build's name as a file name: what the build's own places are called by."""
        return key_of(self.build_path)


def key_of(build_path: str) -> str:
    """A build's name as a file name."""
    return as_file_name(build_path) if build_path else _BUCKET_KEY


@lru_cache(maxsize=16_384)
def as_file_name(text: str) -> str:
    """Any text as one file name; a long one is cut, and told apart by its digest."""
    name = quote(text, safe="", errors="surrogateescape")
    if len(name) <= _LONGEST_KEY:
        return name
    digest = hashlib.sha256(os.fsencode(text)).hexdigest()[:32]
    return f"{name[: _LONGEST_KEY - 40]}+{digest}"


def places_in_use(static_dir: Path) -> list[BuildPlaces]:
    """The builds that have a lock or a staging area, whether somebody is at work there or died at it.

    A name that is no build's key is nobody's: nothing that lies under it is touched.
    """
    own = static_dir / RESERVED_NAME
    names = [name for folder in ("locks", "staging") for name in names_in(own / folder)]
    keys = {name.removesuffix(_PUBLISHING) for name in names}
    keys |= {name.removesuffix(".json") for name in names_in(removals_directory(static_dir))}
    found = ("" if key == _BUCKET_KEY else unquote(key) for key in sorted(keys) if "+" not in key)
    # A key that was cut cannot be read back: where there are staging areas, a note among them says whose they are.
    noted = list(_noted(own))
    return [
        *(BuildPlaces(static_dir, path) for path in found if _is_a_builds(path, keys)),
        *(BuildPlaces(static_dir, path) for path in noted if _is_a_builds(path, keys) and "+" in key_of(path)),
    ]


def _noted(own: Path) -> Iterator[str]:
    for name in names_in(own / "staging"):
        try:
            yield (read_bytes(own / "staging" / name / _NOTE) or b"").decode()
        except (RecordError, ValueError):
            continue


def _is_a_builds(build_path: str, keys: set[str]) -> bool:
    """Whether a build may be called so, and one of the ``keys`` is its own: it has but one spelling."""
    return not fault_of_name(build_path) and key_of(build_path) in keys


def holds_lock_of(record: str) -> str:
    """The name of the lock file for the record of holds whose file's name, or half-written one's, is ``record``."""
    return f"{record.partition('.json')[0]}{_HOLDS}"
