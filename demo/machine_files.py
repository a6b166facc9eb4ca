"""Real files of this machine: an endless supply, read as it is used.

What is unreadable, or gone by the time it is opened, is passed over. When every file has been used, they come again,
under another name. The same machine gives the same files in the same order.
"""

from __future__ import annotations

import itertools
import os
import stat
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

PIECE_BYTES = 1024 * 1024

_LARGEST_SMALL_FILE = 64 * 1024
_SMALLEST_LIBRARY = 256 * 1024
_LARGEST_LIBRARY = 1024**3
_SMALL_FILE_ROOTS = (sysconfig.get_path("stdlib"), "/usr/include", "/usr/share", "/usr/lib")
_LIBRARY_ROOTS = ("/usr/lib", "/usr/local/lib", f"{sys.base_prefix}/lib", "/usr/bin")
# Made as a side effect, or installed beside what the machine came with: these make no difference between two runs.
_SKIPPED_FOLDERS = frozenset({"__pycache__", "site-packages", "dist-packages"})

NamedBytes = tuple[str, bytes]


class NoRealFiles(Exception):
    """The machine has no files of the kind that is asked for."""


def small_files() -> Iterator[NamedBytes]:
    """Files of at most 64 KiB, endlessly: a relative path that is new each time, and the content.

    Raises:
        NoRealFiles

    """
    return _endlessly(_small_files)


def library_pieces() -> Iterator[NamedBytes]:
    """The bytes of large files, in pieces of at most ``PIECE_BYTES``, endlessly: a name, and the piece, which is never
    empty and never all zeros.

    Raises:
        NoRealFiles

    """
    return _endlessly(_library_pieces)


def _endlessly(one_round: Callable[[], Iterator[NamedBytes]]) -> Iterator[NamedBytes]:
    for number in itertools.count():
        is_empty = True
        for name, data in one_round():
            is_empty = False
            yield (f"again{number}/{name}" if number else name), data
        if is_empty:
            raise NoRealFiles("this machine has no readable files to make a build of")


def _small_files() -> Iterator[NamedBytes]:
    for name, path in _files_below(_SMALL_FILE_ROOTS, 1, _LARGEST_SMALL_FILE):
        for data in _pieces(path, _LARGEST_SMALL_FILE):
            yield name, data
            break


def _library_pieces() -> Iterator[NamedBytes]:
    for name, path in _files_below(_LIBRARY_ROOTS, _SMALLEST_LIBRARY, _LARGEST_LIBRARY):
        for number, data in enumerate(_pieces(path, PIECE_BYTES)):
            if any(data):
                yield f"{name}.{number}", data


def _files_below(roots: Sequence[str], smallest: int, largest: int) -> Iterator[tuple[str, Path]]:
    """Every regular file of that many bytes: its path from the root's parent on, and where it is."""
    for root in dict.fromkeys(roots):
        start = len(str(Path(root).parent)) + 1
        for folder, folders, names in os.walk(root):
            folders[:] = sorted(set(folders) - _SKIPPED_FOLDERS)
            for name in sorted(names):
                path = f"{folder}/{name}"
                if path.isprintable() and _is_file_of(path, smallest, largest):
                    yield path[start:], Path(path)


def _is_file_of(path: str, smallest: int, largest: int) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and smallest <= status.st_size <= largest


def _pieces(path: Path, length: int) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while data := file.read(length):
                yield data
    except OSError:
        return
