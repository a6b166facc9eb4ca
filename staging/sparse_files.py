"""Sparse files on the disk: what lies between the stretches of one stays a hole."""

from __future__ import annotations

import os
from collections.abc import Iterable

import google_crc32c

from staging.sparse import SparseMap
from staging.writing import write_to_file

_ZEROS = bytes(1024 * 1024)


def write_sparse(descriptor: int, sparse: SparseMap, content: Iterable[bytes]) -> int:
    """Write the file of which ``content`` has the stretches, one after the other; its crc32c, holes included."""
    crc32c, position, left = 0, 0, 0
    stretches = (stretch for stretch in sparse.stretches if stretch[1])
    for piece in content:
        rest = memoryview(piece)
        while rest:
            if not left:
                offset, left = next(stretches)
                crc32c = _with_zeros(crc32c, offset - position)
                position = os.lseek(descriptor, offset, os.SEEK_SET)
            part = bytes(rest[:left])
            write_to_file(descriptor, part)
            crc32c = google_crc32c.extend(crc32c, part)
            rest = rest[len(part) :]
            left -= len(part)
            position += len(part)
    os.ftruncate(descriptor, sparse.size)
    return _with_zeros(crc32c, sparse.size - position)


def _with_zeros(crc32c: int, count: int) -> int:
    """The crc32c of what had ``crc32c``, with so many zeros behind it."""
    while count:
        crc32c = google_crc32c.extend(crc32c, _ZEROS[:count])
        count -= min(count, len(_ZEROS))
    return crc32c
