"""What the C library does with memory that threads gave back."""

from __future__ import annotations

import ctypes
from contextlib import suppress

_M_ARENA_MAX = -8  # of glibc's malloc.h
_ARENAS = 2


def keep_together() -> None:
    """Have glibc take all threads' memory from few places; other C libraries are left as they are.

    It makes a place for each of up to eight threads a core, and memory that is free in one is of no use to the others:
    a server whose threads come and go grows for hours.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(_M_ARENA_MAX, _ARENAS)
