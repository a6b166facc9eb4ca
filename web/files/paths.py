"""From the path of a URL to a file of the static directory, and to nothing else."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from staging.layout import RESERVED_NAME
from staging.paths import fault_of_parts

_NOTHING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO)
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe that lies there is not waited for


class NothingThere(Exception):
    """There is no file or directory at that path that may be seen."""


class Found(NamedTuple):
    """A file or a directory that was opened.

    Attributes:
        descriptor: the caller's to close.
        path: the real one.
        status: what ``fstat`` says.

    """

    descriptor: int
    path: str
    status: os.stat_result


def find(directory: str, url_path: str) -> Found:
    """Open what ``url_path``, decoded, names below ``directory``.

    Links are followed as long as they stay below ``directory``, a real path itself; the devserver's own records are
    not shown. Where a path leads is asked of the kernel once it is open: that takes a third of the calls that following
    its parts one by one does, and nobody can put another file in its place in between.

    Raises:
        NothingThere
        PermissionError

    """
    parts = [part for part in url_path.split("/") if part]
    if fault_of_parts(parts):
        raise NothingThere
    found = _opened(directory, parts)
    if not _may_be_seen(directory, found, url_path):
        os.close(found.descriptor)
        raise NothingThere
    return found


def find_own(directory: str, path: str) -> Found:
    """Open the file at ``path`` below ``directory``, which may lie among the devserver's own records; raises the same.

    The path must be the devserver's own word. No link is followed at its end.
    """
    found = _opened(directory, path.split("/"), os.O_NOFOLLOW)
    if not (stat.S_ISREG(found.status.st_mode) and found.path.startswith(f"{directory}/")):
        os.close(found.descriptor)
        raise NothingThere
    return found


def _opened(directory: str, parts: Sequence[str], flags: int = 0) -> Found:
    try:
        descriptor = os.open("/".join([directory, *parts]), _FLAGS | flags)
    except ValueError as error:
        raise NothingThere from error
    except OSError as error:
        if error.errno in _NOTHING:
            raise NothingThere from error
        raise
    try:
        path = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 - asked for with every request
        return Found(descriptor, path, os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise


def _may_be_seen(directory: str, found: Found, url_path: str) -> bool:
    if found.path != directory and not found.path.startswith(f"{directory}/"):
        return False
    if RESERVED_NAME in found.path[len(directory) :].split("/"):
        return False
    mode = found.status.st_mode
    return stat.S_ISDIR(mode) or (stat.S_ISREG(mode) and not url_path.endswith("/"))


def text_of(environment_path: str) -> str:
    """A path as WSGI gives it, bytes in the guise of Latin-1, as Python names files."""
    return os.fsdecode(environment_path.encode("latin-1"))


def relative(directory: str, path: str) -> Path:
    """``path`` from ``directory`` on."""
    return Path(path).relative_to(directory)
