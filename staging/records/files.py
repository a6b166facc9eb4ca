"""A record's file: opened so that nothing in its place can hang or mislead the reader, and replaced in one step."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import threading
from pathlib import Path

from staging.errors import RecordMalformed, RecordUnreadable

MOST_BYTES = 64 * 1024**2  # of a record; of a build's manifest with 100,000 objects, half

# Neither does a pipe hang whoever opens it, nor is a link followed, nor becomes a terminal this process' own.
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
_ABSENT = (errno.ENOENT, errno.ENOTDIR)  # the latter: what should be a directory on the way is a file
_NO_FILE = (errno.ELOOP, errno.ENXIO)  # a link, or a socket


def read_bytes(path: Path, what: str = "", most: int = MOST_BYTES) -> bytes | None:
    """What the record at ``path`` holds; None where there is none. Errors call it ``what``, or by its file's name.

    Raises:
        RecordMalformed: what lies there is no file, or larger than ``most``.
        RecordUnreadable: it cannot be read now; nothing may be concluded from that.

    """
    what = what or path.name
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        if error.errno in _NO_FILE:
            raise RecordMalformed(what, "it is no file") from None
        raise _unreadable(what, error) from error
    try:
        return _content(descriptor, what, most)
    except OSError as error:
        raise _unreadable(what, error) from error
    finally:
        os.close(descriptor)


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


def write_bytes(path: Path, content: bytes, most: int = MOST_BYTES) -> None:
    """Write ``content`` to the file ``path`` whole or not at all, through a crash of this process as well.

    Nothing is flushed to the disk: the staged files are not either, and a flush waits for what others write, while a
    harness waits for this.

    Raises:
        OSError: there is no room, or it is more than a reader takes.

    """
    if len(content) > most:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    path.parent.mkdir(parents=True, exist_ok=True)
    # Each thread's own: two downloads of one build may write the same record.
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_native_id()}.tmp")
    try:
        descriptor = os.open(temporary, _NEW, 0o644)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        temporary.replace(path)
    except BaseException:  # the disk is full, for one
        temporary.unlink(missing_ok=True)
        raise


def discard(path: Path) -> None:
    """Remove a record, whatever lies in its place."""
    try:
        path.unlink(missing_ok=True)
    except (IsADirectoryError, PermissionError):
        shutil.rmtree(path)


def set_aside(path: Path) -> None:
    """Put a record that is none out of the way, beside itself; the latest such is kept."""
    broken = path.with_name(f"{path.name}.broken")
    discard(broken)
    path.replace(broken)
