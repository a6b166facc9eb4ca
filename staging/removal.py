"""Files of a build are removed where they are, whatever became of the directories that lead to them.

A record says which files those are, and a link may have come in the place of a directory since: none is followed, so
that nothing outside the build's own directory is ever removed.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import groupby
from pathlib import Path

from staging.paths import fault_of_published
from staging.presence import let_go

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_files(root: Path, paths: Iterable[str]) -> None:
    """Remove the files and links at ``paths`` below the directory ``root``; those that are not there are not missed.

    Raises:
        OSError: one of them cannot be removed.

    """
    sound = sorted(path.rpartition("/")[::2] for path in paths if not fault_of_published(path))
    with suppress(FileNotFoundError), _folder(root) as top:
        for parent, group in groupby(sound, lambda item: item[0]):
            with suppress(FileNotFoundError, NotADirectoryError), _below(top, parent) as folder:
                for _, name in group:
                    with suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=folder)


def remove_empty_directories(root: Path, name: str) -> None:
    """Remove the directories at and below ``name``, a directory of ``root``, that hold nothing else."""
    with _absent_or_full(), _folder(root) as top:
        for _, folders, _, folder in os.fwalk(name, topdown=False, onerror=_raise, dir_fd=top):
            for one in folders:
                with _absent_or_full():  # it holds something, or is a link
                    os.rmdir(one, dir_fd=folder)
        os.rmdir(name, dir_fd=top)


def hollow_directories(root: Path) -> list[str]:
    """The names of the directories in ``root`` that hold nothing but directories: those of a tarball's that were empty.

    Raises:
        OSError

    """
    try:
        with os.scandir(root) as entries:
            return sorted(entry.name for entry in entries if _is_hollow(entry))
    except FileNotFoundError:
        return []


def _is_hollow(entry: os.DirEntry[str]) -> bool:
    if not entry.is_dir(follow_symlinks=False):
        return False
    with _absent_or_full(), os.scandir(entry.path) as entries:
        return all(map(_is_hollow, entries))
    return False


@contextmanager
def _absent_or_full() -> Iterator[None]:
    """Bear with a directory that is not there, is a link, or holds something."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENOTEMPTY, errno.EEXIST):
            raise


def _raise(error: OSError) -> None:
    raise error


@contextmanager
def _folder(path: Path) -> Iterator[int]:
    # The build's own directory may be a link of the operator's; what is below it may not.
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        let_go(descriptor)


@contextmanager
def _below(top: int, path: str) -> Iterator[int]:
    """The directory at ``path`` below the directory ``top``.

    Raises:
        OSError: a part of the path is a link, or no directory.

    """
    descriptor = os.dup(top)
    try:
        for part in filter(None, path.split("/")):
            deeper = os.open(part, _FOLDER, dir_fd=descriptor)
            above, descriptor = descriptor, deeper
            let_go(above)
        yield descriptor
    finally:
        let_go(descriptor)
