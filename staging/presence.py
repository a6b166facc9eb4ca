"""What is on the disk and what is not: only "no such file" means that something is not there.

``Path.exists``, ``Path.glob`` and their like answer "no" where the disk could not be read, or the process has no file
descriptor left. What removes, replaces or forgets because something is absent asks here: any other error is raised.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# No file can have a name that is too long; below a file, there is none.
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
_FULL = (errno.ENOTEMPTY, errno.EEXIST)
_AGAIN = (*_FULL, errno.EBADF)  # the latter: shutil closes a directory twice where that fails
_TRIES = 10  # to remove a tree into which somebody still writes


def is_absence(error: OSError) -> bool:
    """Whether an error says that something is not there."""
    return error.errno in _ABSENT


def status_of(path: Path) -> os.stat_result | None:
    """The status of a file or directory, or of a link itself; None where there is none."""
    try:
        return path.lstat()
    except OSError as error:
        if is_absence(error):
            return None
        raise


def exists(path: Path) -> bool:
    """Whether there is something at ``path``; a link is something, wherever it leads."""
    return status_of(path) is not None


def is_directory(path: Path) -> bool:
    """Whether there is a directory at ``path``, and no link to one."""
    status = status_of(path)
    return status is not None and stat.S_ISDIR(status.st_mode)


def real_path(path: Path | str) -> Path:
    """The absolute path that links lead to, as far as they lead: of links in a circle, one of them.

    ``Path.resolve`` raises an error for such, which is no ``OSError``, up to Python 3.12.
    """
    return Path(os.path.realpath(path))


def mount_of(path: Path) -> tuple[int, str]:
    """The file system of ``path``, or of where it would be made, and the mount that leads there: within one of each,
    files can be renamed.
    """
    for one in (path, *path.parents):
        try:
            descriptor = os.open(one, os.O_PATH | os.O_CLOEXEC)
        except OSError as error:
            if is_absence(error):
                continue
            raise
        try:
            return os.fstat(descriptor).st_dev, _mount_id(descriptor)
        finally:
            let_go(descriptor)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def _mount_id(descriptor: int) -> str:
    """The number of the mount; empty where the kernel does not say."""
    try:
        lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith("mnt_id:")), "")


def names_in(directory: Path) -> list[str]:
    """The names in a directory, sorted; none where there is no such directory."""
    try:
        return sorted(os.listdir(directory))  # noqa: PTH208 - names are what is wanted
    except OSError as error:
        if is_absence(error):
            return []
        raise


def directories_in(directory: Path) -> list[Path]:
    """The directories in a directory, sorted by name."""
    return [directory / name for name in names_in(directory) if is_directory(directory / name)]


def files_below(directory: Path) -> Iterator[Path]:
    """All that lies below a directory and is no directory itself."""
    for name in names_in(directory):
        path = directory / name
        if is_directory(path):
            yield from files_below(path)
        else:
            yield path


def content_of(path: Path) -> bytes | None:
    """What a file holds; None where there is none."""
    try:
        return path.read_bytes()
    except OSError as error:
        if is_absence(error):
            return None
        raise


def let_go(descriptor: int) -> None:
    """Close what was only read: that loses nothing, and Linux has closed it even where it says that it failed."""
    with suppress(OSError):
        os.close(descriptor)


def remove_file(path: Path) -> None:
    """Remove a file, if it is there."""
    try:
        path.unlink()
    except OSError as error:
        if not is_absence(error):
            raise


def remove_if_empty(directory: Path) -> bool:
    """Remove a directory unless it holds something; whether it is gone."""
    try:
        directory.rmdir()
    except OSError as error:
        if error.errno in _FULL:
            return False
        if not is_absence(error):
            raise
    return True


def remove_tree(path: Path) -> None:
    """Remove a directory with all that it holds, or a file, if it is there."""
    for _ in range(_TRIES):
        if not is_directory(path):
            remove_file(path)
            return
        try:
            shutil.rmtree(path)
        except OSError as error:
            if not is_absence(error) and error.errno not in _AGAIN:
                raise
    raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
