"""The library that makes system calls fail (``interposer.c``), as the campaign and its tests use it."""

from __future__ import annotations

import errno
import mmap
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

_SOURCE = Path(__file__).with_name("interposer.c")
_CONTROL = struct.Struct("6q64s512s512s")  # as struct control
_SWITCH = struct.Struct("6q64s512s")  # all of it but the directory
_VARIABLE = "FAULTS_CONTROL"

KINDS = (
    "open",
    "read",
    "write",
    "rename",
    "link",
    "unlink",
    "mkdir",
    "list",
    "look",
    "lock",
    "sync",
    "change",
    "close",
)
_WRITING = ("open", "write", "rename", "link", "unlink", "mkdir", "sync", "change", "close")
_BY_PATH = ("open", "rename", "link", "unlink", "mkdir", "look", "change")
# The errors, and the kinds of calls that have each of them. EDQUOT and ENOSPC come of removals too: a file system that
# copies what it changes needs room for that.
ERRORS: dict[str, tuple[int, tuple[str, ...]]] = {
    "EIO": (errno.EIO, KINDS),
    "ENOSPC": (errno.ENOSPC, _WRITING),
    "EMFILE": (errno.EMFILE, ("open",)),
    "EACCES": (errno.EACCES, _BY_PATH),
    "EDQUOT": (errno.EDQUOT, _WRITING),
    "ESTALE": (errno.ESTALE, KINDS),
}


class Mode(IntEnum):
    """What happens at the call."""

    ONCE = 0
    """It fails."""
    FROM_THEN_ON = 1
    """It fails, and so does every later one."""
    CRASH = 2
    """The process ends."""


class Fault(NamedTuple):
    """The call that fails, and how."""

    at: int
    error: str
    mode: Mode

    def __str__(self) -> str:
        return f"call {self.at}, {'a crash' if self.mode is Mode.CRASH else self.error}, {self.mode.name.lower()}"


class Met(NamedTuple):
    """What came of a fault.

    Attributes:
        calls: how many were counted.
        failed: how many of those failed.
        call: the first that did, with its path below the directory.

    """

    calls: int
    failed: int
    call: str


class Interposer:
    """Switches faults on and off, in every process that runs with :attr:`environment`."""

    def __init__(self, control: Path, below: Path, library: Path | None = None) -> None:
        """Faults are of calls ``below`` that directory. ``control`` is made where there is a ``library`` to preload."""
        self.environment: dict[str, str] = {}
        self._below = below
        if library is not None:
            control.write_bytes(_CONTROL.pack(*[0] * 6, b"", b"", os.fsencode(below)))
            self.environment = {"LD_PRELOAD": str(library), _VARIABLE: str(control)}
        with control.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _CONTROL.size)

    @classmethod
    def of_this_process(cls, below: Path) -> Interposer:
        """The one that this process was started with."""
        return cls(Path(os.environ[_VARIABLE]), below)

    def switch_on(self, fault: Fault) -> None:
        """Have calls fail from now on."""
        error, kinds = ERRORS[fault.error]
        bits = sum(1 << KINDS.index(kind) for kind in kinds)
        _SWITCH.pack_into(self._map, 0, 0, error, fault.mode, bits, 0, 0, b"", b"")
        struct.pack_into("q", self._map, 0, fault.at)

    def switch_off(self) -> Met:
        """Have no call fail any more; what came of it."""
        struct.pack_into("q", self._map, 0, 0)
        *_, calls, failed, call, path = _SWITCH.unpack_from(self._map)
        where = os.fsdecode(path.rstrip(b"\0")).replace(str(self._below), "")
        return Met(calls, failed, f"{call.rstrip(bytes(1)).decode()} {where}".strip())

    @contextmanager
    def on(self, fault: Fault) -> Iterator[None]:
        """Have calls fail for as long as the context lasts."""
        self.switch_on(fault)
        try:
            yield
        finally:
            self.switch_off()


def compiled(directory: Path) -> Path:
    """The library, made in ``directory`` by the machine's C compiler."""
    library = directory / "interposer.so"
    flags = ("-O2", "-Wall", "-shared", "-fPIC", "-D_LARGEFILE64_SOURCE")
    command = ["cc", *flags, "-o", str(library), str(_SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    return library
