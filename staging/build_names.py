"""What a build is called on one devserver, and where below the static directory it lies.

Of all builds that meet at one address, one has it: it is called by its build path, and lies there. Each of the others
is called by its archive URL, and lies in a place of its own:

    target/version                         target/version
    gs://bucket/target/version             .devserver/buckets/bucket/target/version
    file:///srv/archive/target/version     .devserver/buckets/file:/srv/archive/target/version

No build path has an empty part and no bucket a colon in its name: no two builds share a name, or a directory.
"""

from __future__ import annotations

import re

from staging.paths import OWN_NAME, fault_of_build_path

BUCKETS = f"{OWN_NAME}/buckets"
# Bucket names: https://cloud.google.com/storage/docs/buckets#naming
BUCKET = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,221}")

_SCHEME = "://"
_GS, _FILE = f"gs{_SCHEME}", f"file{_SCHEME}"
_DIRECTORIES = "file:"  # holds the builds of directories, among the buckets


def has_own_place(name: str) -> bool:
    """Whether the build of that name lies in a place of its own."""
    return _SCHEME in name


def directory_of(name: str) -> str:
    """The directory of a build, relative to the static directory."""
    if _SCHEME not in name:
        return name
    if name.startswith(_FILE):
        return f"{BUCKETS}/{_DIRECTORIES}/{name.removeprefix(f'{_FILE}/')}".rstrip("/")
    return f"{BUCKETS}/{name.removeprefix(_GS)}"


def name_of(directory: str) -> str:
    """The name of the build whose directory that is."""
    below = directory.removeprefix(f"{BUCKETS}/")
    if below == directory:
        return directory
    if below == _DIRECTORIES or below.startswith(f"{_DIRECTORIES}/"):
        return f"{_FILE}/{below[len(_DIRECTORIES) + 1 :]}"
    return f"{_GS}{below}"


def fault_of_name(name: str) -> str:
    """Why no build can be called so, in a few words; empty where one can."""
    if _SCHEME not in name:
        return fault_of_build_path(name)
    if name.startswith(f"{_FILE}/"):
        path = name.removeprefix(f"{_FILE}/")
        return fault_of_build_path(path) if path else "it names no directory"
    bucket, slash, path = name.removeprefix(_GS).partition("/")
    if not name.startswith(_GS) or not BUCKET.fullmatch(bucket):
        return "it names no bucket"
    return fault_of_build_path(path) if path or not slash else "it has an empty part"


def root_of(archive_url: str, build_path: str) -> str:
    """The bucket or the directory that the build at ``build_path`` comes from, as the start of its archive URL."""
    return archive_url.removesuffix(f"/{build_path}") if build_path else archive_url


# Before the archive URL in the request of a job for a build in a place of its own: versions that know of no such places
# take it for no URL, and refuse the job.
_OF_ITS_OWN = "own-place+"


def in_request(archive_url: str, is_of_its_own: bool) -> str:
    """An archive URL as the request of a job has it."""
    return f"{_OF_ITS_OWN}{archive_url}" if is_of_its_own else archive_url


def of_request(text: str) -> tuple[str, bool]:
    """The archive URL in the request of a job, and whether its build lies in a place of its own."""
    return text.removeprefix(_OF_ITS_OWN), text.startswith(_OF_ITS_OWN)
