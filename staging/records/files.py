"""A record's file: opened so that nothing in its place can hang or mislead the reader, and replaced in one step.

The directory of a record is opened without following a link, and the record below it: a worker may put a link into the
place of its own build's directory of records, and nothing is read, written or removed where that leads.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from staging.errors import RecordMalformed, RecordUnreadable
from staging.presence import is_absence, let_go, remove_tree

MOST_BYTES = 64 * 1024**2  # of a record; of a build's manifest with 100,000 objects, half

# Neither does a pipe hang whoever opens it, nor is a link followed, nor becomes a terminal this process' own.
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
_EMPTY = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_FILE = (errno.ELOOP, errno.ENXIO)  # a link, or a socket


def read_bytes(path: Path, what: str = "", most: int = MOST_BYTES) -> bytes | None:
    """What the record at ``path`` holds; None where there is none. Errors call it ``what``, or by its file's name.

    Raises:
        RecordMalformed: what lies there is no file, or larger than ``most``.
        RecordUnreadable: it cannot be read now; nothing may be concluded from that.

    """
    what = what or path.name
    try:
        with folder_of(path, what) as folder:
            descriptor = os.open(path.name, _FLAGS, dir_fd=folder)
    except OSError as error:
        if is_absence(error):
            return None
        if error.errno in _NO_FILE:
            raise RecordMalformed(what, "it is no file") from None
        raise _unreadable(what, error) from error
    try:
        return _content(descriptor, what, most)
    except OSError as error:
        raise _unreadable(what, error) from error
    finally:
        let_go(descriptor)


def _content(descriptor: int, what: str, most: int) -> bytes:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise RecordMalformed(what, "it is no file")
    pieces, left = [], most + 1
    size = max(status.st_size, 4096) + 1
    while left and (piece := os.read(descriptor, min(left, size))):
        pieces.append(piece)
        left -= len(piece)
        if len(piece) < size and left:  # of a file, that is its end
            break
    if not left:
        raise RecordMalformed(what, f"it has more than {most} bytes")
    return b"".join(pieces)


def _unreadable(what: str, error: OSError) -> RecordUnreadable:
    return RecordUnreadable(what, error.strerror or type(error).__name__)


def write_bytes(path: Path, content: bytes, most: int = MOST_BYTES, through: Path | None = None) -> None:
    """Write ``content`` to the file ``path`` whole or not at all, through a crash of this process as well.

    It is written to a temporary file beside ``path``, or in the directory ``through``: whoever renames that directory
    keeps the record as it is.

    Nothing is flushed to the disk: the staged files are not either, and a flush waits for what others write, while a
    harness waits for this.

    Raises:
        FileNotFoundError: ``through`` is not there any more.
        OSError: there is no room, or it is more than a reader takes.
        RecordUnreadable: its directory is a link.

    """
    if len(content) > most:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    path.parent.mkdir(parents=True, exist_ok=True)
    # Each thread's own: two downloads of one build may write the same record.
    temporary = f"{path.name}.{os.getpid()}-{threading.get_native_id()}.tmp"
    with folder_of(path) as folder, _folder_of_temporary(folder, through) as other:
        try:
            descriptor = os.open(temporary, _NEW, 0o644, dir_fd=other)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            # By its path: a descriptor stays good when the directory is renamed.
            source = (temporary, other) if through is None else (through / temporary, None)
            os.replace(source[0], path.name, src_dir_fd=source[1], dst_dir_fd=folder)
        except BaseException:  # the disk is full, for one
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=other)
            raise


@contextmanager
def _folder_of_temporary(folder: int, through: Path | None) -> Iterator[int]:
    if through is None:
        yield folder
        return
    with folder_of(through / "x") as other:
        yield other


def touch(path: Path) -> None:
    """Set the time of change of an empty record to now, and make it where there is none.

    Raises:
        OSError, RecordUnreadable

    """
    with folder_of(path) as folder:
        descriptor = os.open(path.name, _EMPTY, 0o644, dir_fd=folder)
        try:
            os.utime(descriptor)
        finally:
            os.close(descriptor)


def discard(path: Path) -> None:
    """Remove a record, whatever lies in its place.

    Raises:
        OSError, RecordUnreadable

    """
    with suppress(FileNotFoundError, NotADirectoryError), folder_of(path) as folder:
        try:
            os.unlink(path.name, dir_fd=folder)
        except (IsADirectoryError, PermissionError):
            remove_tree(Path(f"/proc/self/fd/{folder}/{path.name}"))


def set_aside(path: Path) -> None:
    """Rename a malformed record to ``<name>.broken``, replacing an older one of that name.

    Raises:
        OSError, RecordUnreadable

    """
    broken = path.with_name(f"{path.name}.broken")
    discard(broken)
    rename(path, broken.name)


def rename(path: Path, name: str) -> None:
    """Give a record another name in its directory.

    Raises:
        OSError, RecordUnreadable

    """
    with folder_of(path) as folder:
        os.replace(path.name, name, src_dir_fd=folder, dst_dir_fd=folder)


@contextmanager
def folder_of(path: Path, what: str = "") -> Iterator[int]:
    """Open the directory of the record ``path``: yields a descriptor that names below it can be opened from.

    Raises:
        OSError: it cannot be opened.
        RecordUnreadable: it is a link.

    """
    try:
        folder = os.open(path.parent, _FOLDER)
    except NotADirectoryError:
        if path.parent.is_symlink():
            raise RecordUnreadable(what or path.name, "its directory is a link") from None
        raise
    try:
        yield folder
    finally:
        let_go(folder)
