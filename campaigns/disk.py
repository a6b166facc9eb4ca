"""A small disk that only a devserver sees, and that outlives it: a tmpfs in a mount namespace of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

BALLAST = "ballast"  # the name of the file that fills the disk
_SCRIPT = 'mount -t tmpfs -o size="$1",nr_inodes=20k tmpfs "$0" && echo ready && exec sleep infinity'


class SmallDisk:
    """The disk that lies at ``directory`` for those who are run by ``wrapper``; ``path`` is where others find it."""

    def __init__(self, directory: Path, holder: int) -> None:
        self.wrapper = ("nsenter", "--preserve-credentials", "--user", "--mount", f"--target={holder}", "--")
        self.path = Path(f"/proc/{holder}/root{directory}")

    @property
    def free(self) -> int:
        """Bytes."""
        status = os.statvfs(self.path)
        return status.f_bavail * status.f_frsize

    def fill(self, but: int) -> None:
        """Leave no more than ``but`` bytes free."""
        with (self.path / BALLAST).open("ab") as file, suppress(OSError):  # others take some of it meanwhile
            size = max(0, self.free - but)
            os.posix_fallocate(file.fileno(), file.tell(), max(1, size))

    def empty(self) -> None:
        """Remove what filled it."""
        (self.path / BALLAST).unlink(missing_ok=True)


@contextmanager
def small_disk(directory: Path, size: str) -> Iterator[SmallDisk]:
    """A disk of ``size``, as mount writes it, at ``directory`` for as long as the context lasts."""
    directory.mkdir(parents=True, exist_ok=True)
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", _SCRIPT, str(directory), size]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    try:
        if holder.stdout is None or holder.stdout.readline() != b"ready\n":
            raise RuntimeError("no small disk can be made here: unshare --map-root-user --mount does not work")
        yield SmallDisk(directory, holder.pid)
    finally:
        holder.kill()
        holder.wait()
