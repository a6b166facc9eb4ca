"""Bytes go out whole."""

from __future__ import annotations

import os

# Bytes of a file given to the kernel at a time. It puts larger ones into larger blocks of memory, which a virtual
# machine may first have to get back from its host: up to eight times slower where that is so (docs/benchmarks.md).
_AT_ONCE = 32 * 1024


def write_all(descriptor: int, piece: bytes | memoryview) -> None:
    """Write all of ``piece``: the kernel may take less at once, from a pipe as from a disk that is nearly full."""
    written = os.write(descriptor, piece)
    while written < len(piece):
        written += os.write(descriptor, memoryview(piece)[written:])


def write_to_file(descriptor: int, piece: bytes) -> None:
    """Write all of ``piece`` to a file, in the way that is quick wherever the server runs."""
    whole = memoryview(piece)
    for start in range(0, len(piece), _AT_ONCE):
        write_all(descriptor, whole[start : start + _AT_ONCE])
