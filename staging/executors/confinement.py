"""What a worker may do to the machine: it handles what strangers wrote, and should one of its parts err, the kernel
still says no.

Landlock bounds what it reaches: files, ports, processes. seccomp takes away the system calls that reach further.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass

from staging.executors import landlock, system_calls
from staging.executors.landlock import Rule

_OPEN_FILES = 4096
_PROCESSES = 16_384  # and threads, of this user in all; root has no such bound
_MEMORY = 4 * 1024**3  # bytes that a worker may ask for; it uses a tenth of them
_NOBODY_ELSES = 0o022  # nothing that is staged may be written to by others
_SET_NO_NEW_PRIVS = 38  # prctl(2)


@dataclass(frozen=True)
class Confinement:
    """The bounds of a worker. Of all paths, those that are not there are nothing.

    Attributes:
        writable: the directories in which it may do anything; where there are none, it may do so everywhere.
        readable: what it may read beside.
        runnable: what it may read, and run programs from.
        lock_directories: where it may make and remove plain files.
        shared_files: what it may write to.
        ports: of TCP, that it may connect to; None for all.
        largest_file: bytes of the largest file that it may write; 0 for any.
        runs_what_it_writes: whether programs in ``writable`` may be run. Their changes of modes and times do nothing.
        landlock_version: no newer one is made use of.
        has_filter: whether system calls are filtered, where that can be.

    """

    writable: tuple[str, ...] = ()
    readable: tuple[str, ...] = ()
    runnable: tuple[str, ...] = ()
    lock_directories: tuple[str, ...] = ()
    shared_files: tuple[str, ...] = ()
    ports: tuple[int, ...] | None = None
    largest_file: int = 0
    runs_what_it_writes: bool = False
    landlock_version: int = landlock.NEWEST
    has_filter: bool = True

    def apply(self) -> None:
        """Confine this process, and all that it starts, for ever; while it has one thread.

        Raises:
            OSError: the kernel does not do it.

        """
        tighten_umask()
        _limit(resource.RLIMIT_CORE, 0)  # a core would hold the credentials
        _limit(resource.RLIMIT_NOFILE, _OPEN_FILES)
        _limit(resource.RLIMIT_NPROC, _PROCESSES)
        _limit(resource.RLIMIT_DATA, _MEMORY)
        if self.largest_file:
            _limit(resource.RLIMIT_FSIZE, self.largest_file)
        landlock.call(landlock.LIBC.prctl, _SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if self.writable:
            landlock.restrict(self._rules(), self.ports, self.landlock_version)
            self._filter_calls()

    def _rules(self) -> Iterator[Rule]:
        tree = landlock.TREE_WITH_PROGRAMS if self.runs_what_it_writes else landlock.TREE
        accesses = (
            (self.writable, tree),
            (self.readable, landlock.READ),
            (self.runnable, landlock.RUN),
            (self.lock_directories, landlock.LOCK),
            (self.shared_files, landlock.WRITE),
            (_DEVICES, landlock.WRITE),
            ((f"/proc/{os.getpid()}",), landlock.READ),
        )
        return (Rule(path, access) for paths, access in accesses for path in paths)

    def _filter_calls(self) -> None:
        if self.has_filter and system_calls.is_there():
            known = min(landlock.version(), self.landlock_version)
            system_calls.restrict(self.runs_what_it_writes, signals_are_scoped=known >= landlock.SCOPES)


NONE = Confinement()
_DEVICES = ("/dev/null", "/dev/urandom", "/dev/random")


def tighten_umask() -> None:
    """Have files made that only their owner may write to, whatever else this process was told of them."""
    os.umask(os.umask(_NOBODY_ELSES) | _NOBODY_ELSES)


def has_landlock() -> bool:
    """Whether the kernel keeps a process from reaching files that it was not told of."""
    return landlock.version() >= landlock.RENAMES


def what_holds() -> str:
    """What this machine holds workers to, and what it does not, in a sentence."""
    known = landlock.version()
    missing = [
        words
        for words, is_missing in (
            ("files (Landlock 2, Linux 5.19)", known < landlock.RENAMES),
            ("TCP ports (Landlock 4, Linux 6.7)", known < landlock.NETWORK),
            ("abstract sockets (Landlock 6, Linux 6.12)", known < landlock.SCOPES),
            (f"system calls ({system_calls.MISSING})", not system_calls.is_there()),
        )
        if is_missing
    ]
    has = f"Landlock {known}" if known else "no Landlock"
    return f"workers are confined by {has}; not held: {', '.join(missing) or 'nothing'}"


def prepare(runs_what_it_writes: bool = False) -> None:
    """Make ready what all workers of this process's children share."""
    if system_calls.is_there():
        system_calls.prepared(runs_what_it_writes)


def _limit(what: int, wanted: int) -> None:
    """Set a limit that cannot be raised again, unless there is a lower one already."""
    _, most = resource.getrlimit(what)
    bound = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    resource.setrlimit(what, (bound, bound))
