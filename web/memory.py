"""What the C library does with memory that threads gave back."""

from __future__ import annotations

import ctypes
from contextlib import suppress

from cherrypy.process.plugins import Monitor
from cherrypy.process.wspbus import Bus

_M_ARENA_MAX = -8  # of glibc's malloc.h
_ARENAS = 2
_SECONDS_BETWEEN_RETURNS = 60.0


def keep_together() -> None:
    """Have glibc take all threads' memory from few places; other C libraries are left as they are.

    It makes a place for each of up to eight threads a core, and memory that is free in one is of no use to the others:
    a server whose threads come and go grows for hours.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(_M_ARENA_MAX, _ARENAS)


def give_back() -> None:
    """Have glibc give the kernel the pages that nothing lies on, wherever they are; other C libraries are left
    as they are.

    By itself it gives back what is at the end of its memory. Between what lives long, free pages pile up: after ten
    minutes of a lab's load, half of what it held. It takes a millisecond or two.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


class MemoryPlugin(Monitor):  # type: ignore[misc]
    """Does so once a minute."""

    def __init__(self, bus: Bus) -> None:
        super().__init__(bus, give_back, _SECONDS_BETWEEN_RETURNS, name="memory")
