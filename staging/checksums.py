"""The crc32c of files: in the archive's spelling, and of what lies on the disk."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path

import google_crc32c

_PIECE = 1024 * 1024


def as_text(crc32c: int) -> str:
    """The checksum as the archive writes it: base64 of its four big-endian bytes."""
    return base64.b64encode(crc32c.to_bytes(4, "big")).decode()


def crc32c_of(path: Path | str, size: int, on_bytes: Callable[[int], None] = lambda _: None) -> int | None:
    """The crc32c of the first ``size`` bytes of a file; None where it has not so many.

    ``on_bytes`` is told of every piece before it is read, and may raise or sleep. A link is not followed.
    """
    crc32c = 0
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if os.fstat(descriptor).st_size < size:
            return None
        while size:
            on_bytes(min(_PIECE, size))
            piece = os.read(descriptor, min(_PIECE, size))
            if not piece:
                return None
            crc32c = google_crc32c.extend(crc32c, piece)
            size -= len(piece)
    finally:
        os.close(descriptor)
    return crc32c
