"""What a worker may do to the machine: it handles what strangers wrote, and should one of its parts err, the kernel
still says no.
"""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_OPEN_FILES = 4096
_MEMORY = 4 * 1024**3  # bytes that a worker may ask for; it uses a tenth of them
_NOBODY_ELSES = 0o022  # nothing that is staged may be written to by others

_SET_NO_NEW_PRIVS = 38  # prctl(2)
# Landlock, for which libc has no functions (landlock(7)); the numbers are the same on every machine.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION, _PATH_BENEATH = 1, 1
_WRITE_FILE, _TRUNCATE = 1 << 1, 1 << 14
_PLAIN = _WRITE_FILE | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 12 | 1 << 13  # remove, and make what trees are made of
_SPECIAL = 1 << 6 | 1 << 9 | 1 << 10 | 1 << 11  # make devices, sockets and pipes: nobody may
_OLDEST_THAT_RENAMES = 2  # the version of Landlock from which a file may be moved to another directory
_OLDEST_THAT_TRUNCATES = 3
_DEV_NULL = Path("/dev/null")


@dataclass(frozen=True)
class Confinement:
    """The bounds of a worker.

    Attributes:
        writable: the directories that it may write below; empty for all.
        largest_file: bytes of the largest file that it may write; 0 for any.

    """

    writable: tuple[Path, ...] = ()
    largest_file: int = 0

    def apply(self) -> None:
        """Confine this process, and all that it starts, for ever; while it has one thread.

        Raises:
            OSError: the kernel does not do it.

        """
        tighten_umask()
        _limit(resource.RLIMIT_CORE, 0)  # a core would hold the credentials
        _limit(resource.RLIMIT_NOFILE, _OPEN_FILES)
        _limit(resource.RLIMIT_DATA, _MEMORY)
        if self.largest_file:
            _limit(resource.RLIMIT_FSIZE, self.largest_file)
        _call(_LIBC.prctl, _SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if self.writable and has_landlock():
            _write_only_below(self.writable)


NONE = Confinement()


def tighten_umask() -> None:
    """Have files made that only their owner may write to, whatever else this process was told of them."""
    os.umask(os.umask(_NOBODY_ELSES) | _NOBODY_ELSES)


def has_landlock() -> bool:
    """Whether the kernel keeps a process from writing anywhere but where it is told."""
    return _landlock_version() >= _OLDEST_THAT_RENAMES


class _Rules(ctypes.Structure):
    _fields_ = (("handled_access_fs", ctypes.c_uint64),)


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


_LIBC = ctypes.CDLL(None, use_errno=True)


def _call(function: Callable[..., int], *arguments: object) -> int:
    result = int(function(*(ctypes.c_long(one) if isinstance(one, int) else one for one in arguments)))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _landlock_version() -> int:
    """The version that the kernel has; 0 where it has none, or does not let this process use it."""
    try:
        return _call(_LIBC.syscall, _CREATE_RULESET, None, 0, _ASK_VERSION)
    except OSError:
        return 0


def _write_only_below(directories: tuple[Path, ...]) -> None:
    truncate = _TRUNCATE if _landlock_version() >= _OLDEST_THAT_TRUNCATES else 0
    rules = _Rules(_PLAIN | _SPECIAL | truncate)
    ruleset = _call(_LIBC.syscall, _CREATE_RULESET, ctypes.byref(rules), ctypes.sizeof(rules), 0)
    try:
        for directory in directories:
            _allow(ruleset, directory, _PLAIN | truncate)
        _allow(ruleset, _DEV_NULL, _WRITE_FILE | truncate)
        _call(_LIBC.syscall, _RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, access: int) -> None:
    with _opened(path) as descriptor:
        rule = _Beneath(access, descriptor)
        _call(_LIBC.syscall, _ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _limit(what: int, wanted: int) -> None:
    """Set a limit that cannot be raised again, unless there is a lower one already."""
    _, most = resource.getrlimit(what)
    bound = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    resource.setrlimit(what, (bound, bound))
