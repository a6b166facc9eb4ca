"""Objects become files: read in order, a slice at a time, hashed on the way."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event as Flag

import google_crc32c

from staging.archives import Archive, ArchiveObject
from staging.errors import ChecksumMismatch
from staging.retry import Patience, check, retrying

SLICE_BYTES = 8 * 1024 * 1024

OnBytes = Callable[[int], None]


def fetch(
    archive: Archive, item: ArchiveObject, target: Path, patience: Patience, cancelled: Flag, on_bytes: OnBytes
) -> str:
    """Write ``item`` to the file ``target`` and return its crc32c; ``on_bytes`` is told of every piece that arrived.

    Raises:
        ChecksumMismatch: the archive states another crc32c.
        ArchiveError, Cancelled, OSError

    """
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = google_crc32c.Checksum()
    with target.open("wb") as file:
        for data in _slices(archive, item, patience, cancelled):
            digest.update(data)
            file.write(data)
            on_bytes(len(data))
    actual = base64.b64encode(digest.digest()).decode()
    if item.crc32c and actual != item.crc32c:
        raise ChecksumMismatch(archive.url_of(item.name), item.crc32c, actual)
    return actual


def _slices(archive: Archive, item: ArchiveObject, patience: Patience, cancelled: Flag) -> Iterator[bytes]:
    for start in range(0, item.size, SLICE_BYTES):
        check(cancelled)
        stop = min(start + SLICE_BYTES, item.size)

        def read_slice(start: int = start, stop: int = stop) -> bytes:
            return archive.read(item, start, stop)

        yield retrying(read_slice, patience.retry_deadline, cancelled)
