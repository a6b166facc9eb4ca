"""Bytes go out whole."""

from __future__ import annotations

import os


def write_all(descriptor: int, piece: bytes) -> None:
    """Write all of ``piece``: the kernel may take less at once, from a pipe as from a disk that is nearly full."""
    written = os.write(descriptor, piece)
    if written == len(piece):
        return
    rest = memoryview(piece)[written:]
    while rest:
        rest = rest[os.write(descriptor, rest) :]
