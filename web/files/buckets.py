"""Which bucket's files a request is about, and where they lie: decided for each file that is served.

Below the static directory, builds of two buckets may lie one within the other; and a build whose address is another's
lies in a place of its own (see :mod:`staging.placing`). A request that names a bucket gets that bucket's files from
either place, files that nobody staged, and never a file of another bucket.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl

from staging.build_names import BUCKET, BUCKETS, name_of, root_of
from staging.errors import InvalidParameter, NewerFormat, RecordError
from staging.file_lists import published_files
from staging.in_mind import InMind
from staging.layout import RESERVED_NAME, BuildPlaces
from staging.manifest import Manifest
from staging.newer import glimpsed
from web.files import paths

PARAMETER = "gs_bucket"
_SCHEME = "gs://"
_MOST = 100  # parameters of one request
# What an nginx in front asks to be told instead of the bytes, and the place below /static/ where it then finds them.
ACCEL = "X-Accel-Redirect"
INTERNAL = f"{RESERVED_NAME}/place/"


def bucket_of(query: str) -> str:
    """The bucket that a query names, in whichever spelling; empty where it names none.

    Raises:
        InvalidParameter: it names two, or what is no bucket.

    """
    if "%" not in query and "bucket" not in query.lower():
        return ""
    try:
        given = parse_qsl(query, errors="surrogateescape", max_num_fields=_MOST)
    except ValueError:
        raise InvalidParameter(PARAMETER, f"there are more than {_MOST} parameters") from None
    values = {value for name, value in given if name.lower() == PARAMETER}
    if len(values) > 1:
        raise InvalidParameter(PARAMETER, "this parameter was given more than once")
    bucket = "".join(values).removeprefix(_SCHEME).rstrip("/")
    if values and not BUCKET.fullmatch(bucket):
        raise InvalidParameter(PARAMETER, f"{bucket[:100]!r} is no bucket; write for example {PARAMETER}=my-bucket")
    return bucket


def find(directory: str, url_path: str, bucket: str) -> paths.Found:
    """Open what ``url_path`` names of a bucket's files below ``directory``; raises like :func:`web.files.paths.find`.

    Where there is a directory of that name in both places, the one at the builds' own paths is opened.
    """
    with suppress(paths.NothingThere):
        found = paths.find(directory, url_path)
        if may_be_shown(directory, found.path, bucket, stat.S_ISDIR(found.status.st_mode)):
            return found
        os.close(found.descriptor)
    return paths.find(own_place(directory, bucket), url_path)


def find_where_it_lies(directory: str, path: str) -> paths.Found:
    """Open the file at ``path`` below ``directory``, which may lead to a place of its own; raises the same."""
    below = path.removeprefix(f"{BUCKETS}/")
    if below == path:
        return paths.find(directory, path)
    bucket, _, rest = below.partition("/")
    return paths.find(own_place(directory, bucket), rest)


def own_place(directory: str, bucket: str) -> str:
    """Where the builds of a bucket lie whose addresses are other builds'."""
    return f"{directory}/{BUCKETS}/{bucket}"


def may_be_shown(directory: str, path: str, bucket: str, is_directory: bool = False) -> bool:
    """Whether the file at the real path ``path`` may be shown to who asks for files of ``bucket``.

    What lies in the directory of a build counts as its own, but for what the list of a build above says. The build that
    is a whole bucket has no directory of its own, and has what its lists say. Of a directory, that is asked of all that
    may be in it: it may be shown unless it lies in another bucket's build.

    Raises:
        OSError: it cannot be told now.

    """
    builds = list(_builds_above(directory, f"{path}/" if is_directory else path))
    owned = [one for one in builds if one.root != f"{_SCHEME}{bucket}"]
    if not owned:
        return True
    if not is_directory:
        for build in builds:
            if build.lists(path):
                return build not in owned
    nearest = next((one for one in builds if one.name), None)
    return nearest is None or nearest not in owned


class _Build(NamedTuple):
    """A build that a file lies below.

    Attributes:
        name: the build's.
        root: its bucket or directory, as the start of its archive URL; empty where nobody can tell.
        places: where it lies.

    """

    name: str
    root: str
    places: BuildPlaces

    def lists(self, path: str) -> bool:
        """Whether the build published the file at the path."""
        file = path[len(str(self.places.published)) + 1 :]
        try:
            whole = _KNOWN.of(self.places)
            return (whole is not None and file in whole.files) or file in published_files(self.places)
        except RecordError as error:
            raise OSError(errno.EIO, str(error)) from error


def _builds_above(directory: str, path: str) -> Iterator[_Build]:
    """The builds in whose directories ``path`` lies, the nearest first."""
    for name in names_above(directory, path):
        places = BuildPlaces(Path(directory), name)
        try:
            known = _KNOWN.of(places)
        except RecordError as error:
            raise OSError(errno.EIO, str(error)) from error
        yield _Build(name, root_of(known.archive_url, name) if known else "", places)


def names_above(directory: str, path: str) -> Iterator[str]:
    """The names of the builds in whose directories ``path`` lies, the nearest first."""
    top = len(directory)
    own = f"{directory}/{BUCKETS}"
    if path.startswith(f"{own}/"):
        top = len(own) + 1
    folder = os.path.dirname(path)  # noqa: PTH120 - asked for with every request
    while len(folder) >= top and folder != own:
        if os.path.lexists(f"{folder}/{RESERVED_NAME}/manifest.json"):
            yield name_of(folder[len(directory) + 1 :])
        folder = os.path.dirname(folder)  # noqa: PTH120


class _Known(NamedTuple):
    """What a manifest says of where its files come from, and which are whole objects."""

    archive_url: str
    files: frozenset[str]


def _read(places: BuildPlaces, _status: os.stat_result) -> _Known:
    try:
        manifest = Manifest.read(places)
    except NewerFormat:
        manifest = glimpsed(places)
    if manifest is None:
        return _Known("", frozenset())
    whole = (path for record in manifest.artifacts.values() for path in record.whole_files)
    return _Known(manifest.archive_url, frozenset(whole))


_KNOWN = InMind(_read)
