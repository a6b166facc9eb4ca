"""Processes whose parent died: they become this process's children, and are reaped, as an init would.

The programs of a worker that was killed are such, and so is, where the devserver is process 1 of a container, whatever
anybody starts there. Without this each would stay as a zombie, and hold a process id.
"""

from __future__ import annotations

import ctypes
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from time import monotonic, sleep

import psutil

from staging import threads

_SET_CHILD_SUBREAPER = 36  # prctl(2)
_SECONDS_BETWEEN_LOOKS = 1.0
_LOOKS = 3  # that find the same zombie, before it is taken for one that nobody waits for
_TIME_TO_DIE = 2.0  # seconds for a process that was killed; longer only where the kernel waits for a disk


def adopt_orphans() -> None:
    """Become the parent of all orphans below this process, and reap those that nobody waits for, from now on."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(*(ctypes.c_ulong(one) for one in (_SET_CHILD_SUBREAPER, 1, 0, 0, 0)))
    threads.start("reaper", _reap_for_ever, threading.Event(), logging.getLogger(__name__).warning)


def reap_group(group: int) -> None:
    """Reap this process's children of the process group ``group``, which were killed; returns at once without any."""
    deadline = monotonic() + _TIME_TO_DIE
    with suppress(ChildProcessError):  # there is none, or no more
        while monotonic() < deadline:
            if os.waitpid(-group, os.WNOHANG) == (0, 0):
                sleep(0.005)


def _reap_for_ever() -> None:
    seen: dict[int, int] = {}
    while True:
        sleep(_SECONDS_BETWEEN_LOOKS)
        with suppress(OSError, psutil.Error):  # of a moment: a process that is gone, no descriptor
            seen = _reaped(seen)


def _reaped(seen: dict[int, int]) -> dict[int, int]:
    """Look once, and reap what was ``seen`` often enough; returns how often each zombie was seen, by process id."""
    found = {pid: seen.get(pid, 0) + 1 for pid in _stray_zombies()}
    for pid in [pid for pid, looks in found.items() if looks >= _LOOKS]:
        del found[pid]
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return found


def _stray_zombies() -> Iterator[int]:
    """The process ids of zombies that are children of this process, and in other process groups than its own.

    What Python starts, and waits for, is in this process's own group.
    """
    if not _has_zombies():
        return
    mine = os.getpgrp()
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if child.status() == psutil.STATUS_ZOMBIE and os.getpgid(child.pid) != mine:
                yield child.pid


def _has_zombies() -> bool:
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False
