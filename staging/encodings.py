"""Content-Encoding: objects that are stored packed once more than their names say, and are to be served so.

Beside a build's manifest lies a record for each artifact that has such files, ``<artifact>.encodings.json``: an object
of paths in the build, and for each the generation of its object and the encoding. Beside each file, in its directory,
there is an empty ``.devserver/encoded/<file>``: nginx, which knows no builds, looks for that.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from staging.errors import RecordMalformed
from staging.layout import RESERVED_NAME, BuildPlaces, as_file_name
from staging.paths import are_published
from staging.presence import names_in, remove_if_empty, remove_tree
from staging.records.decoding import write
from staging.records.files import discard, read_bytes, touch
from staging.records.names import spelled, understood
from staging.records.text import data_of

GZIP = "gzip"  # the one encoding that is known
SUFFIX = ".encodings.json"
ENCODED = "encoded"
HEAD_BYTES = 4096  # of a file, by which it is told
_MAGIC = b"\x1f\x8b"
_WINDOW = 31  # zlib's way to say gzip
# What a file begins with whose name ends so.
_BEGINNINGS: tuple[tuple[tuple[str, ...], bytes], ...] = (
    ((".gz", ".tgz", ".taz"), _MAGIC),
    ((".bz2", ".tbz", ".tbz2"), b"BZh"),
    ((".xz", ".txz"), b"\xfd7zXZ"),
    ((".zst", ".tzst"), b"\x28\xb5\x2f\xfd"),
    ((".lz4",), b"\x04\x22\x4d\x18"),
    ((".zip",), b"PK"),
)


class Encoded(NamedTuple):
    """How a file is encoded, as long as it is that ``generation`` of its object."""

    generation: str
    encoding: str


def is_one_layer_more(name: str, head: bytes) -> bool:
    """Whether an object that begins with ``head`` is packed by gzip once more than its ``name`` says.

    Who uploads a ``.tgz`` with ``Content-Encoding: gzip`` has mostly packed it once.
    """
    try:
        inner = zlib.decompressobj(wbits=_WINDOW).decompress(head, HEAD_BYTES)
    except zlib.error:
        return False
    expected = next((begins for ends, begins in _BEGINNINGS if name.lower().endswith(ends)), b"")
    return inner.startswith(expected)


def write_encodings(tree: Path, artifact: str, encodings: Mapping[str, Encoded]) -> None:
    """Put the record of an artifact into the ``tree`` that is to be published, and what nginx goes by."""
    if not encodings:
        return
    records = tree / RESERVED_NAME
    records.mkdir(exist_ok=True)
    write(records / f"{as_file_name(artifact)}{SUFFIX}", {spelled(path): list(one) for path, one in encodings.items()})
    for path in encodings:
        mark = _mark_of(tree / path)
        mark.parent.mkdir(parents=True, exist_ok=True)
        touch(mark)


def read_encodings(places: BuildPlaces) -> dict[str, Encoded]:
    """How the files of a build are encoded, by their paths; nothing of a record that is none.

    Raises:
        RecordUnreadable, OSError

    """
    found: dict[str, Encoded] = {}
    for name in _records_of(places):
        found |= _understood(read_bytes(places.records / name) or b"")
    return found


def _understood(text: bytes) -> dict[str, Encoded]:
    try:
        data: Any = data_of(text)
        found = msgspec.convert(data, dict[str, Encoded])
        named = {understood(path): one for path, one in found.items()}
    except (ValueError, TypeError, RecursionError, RecordMalformed):
        return {}
    return named if are_published(named) else {}


def remove_encodings(places: BuildPlaces) -> None:
    """Remove the records of a build that is removed, and what nginx goes by."""
    root = os.path.realpath(places.published)
    for path in read_encodings(places):
        marks = _mark_of(places.published / path).parent
        # A link may have come in the place of a directory since: it is not followed.
        if f"{os.path.realpath(marks)}/".startswith(f"{root}/"):
            remove_tree(marks)
            remove_if_empty(marks.parent)
    for name in _records_of(places):
        discard(places.records / name)


def _records_of(places: BuildPlaces) -> list[str]:
    return [] if places.records.is_symlink() else [one for one in names_in(places.records) if one.endswith(SUFFIX)]


def _mark_of(path: Path) -> Path:
    """What is beside a file that an nginx in front must leave to the devserver; left over, it costs a little speed."""
    return path.parent / RESERVED_NAME / ENCODED / path.name
