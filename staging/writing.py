"""Bytes go out whole."""

from __future__ import annotations

import os

# Bytes given to the kernel at a time. It puts larger ones into larger pages, which a virtual machine may first have to
# get back from its host: five times slower where that is so, and no faster anywhere (docs/benchmarks.md).
_AT_ONCE = 64 * 1024


def write_all(descriptor: int, piece: bytes) -> None:
    """Write all of ``piece``: the kernel may take less at once, from a pipe as from a disk that is nearly full."""
    rest = memoryview(piece)
    while rest:
        rest = rest[os.write(descriptor, rest[:_AT_ONCE]) :]
