"""An archive that is a directory: ``file://`` URLs below an ``--archive-root``."""

from __future__ import annotations

import errno
import functools
import os
import stat
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from staging.archives.base import EVERYTHING, ArchiveObject, Attempt, ObjectStream, Wanted, once
from staging.archives.patient import Hangs, Pieces, patiently
from staging.archives.url import ArchiveUrl
from staging.errors import AccessDenied, ArchiveError, ArchiveRefused, ArchiveUnavailable, ObjectChanged, ObjectNotFound
from staging.layout import RESERVED_NAME

_PIECE = 512 * 1024  # bytes read at a time
_MOST_OBJECTS = 100_000  # that are kept of a listing
# Two servers of one file may tell its time differently, a moment apart: it changed where no look says otherwise.
_LOOKS, _BETWEEN_LOOKS = 5, 0.01  # seconds


class DirectoryArchive:
    """A build that lies as files in a directory; it states no crc32c, and a generation is a file's mtime and size.

    The directory may be a file server's: what that keeps for longer than ``stall_timeout`` is given up.
    """

    states_crc32c = False

    def __init__(self, url: ArchiveUrl, stall_timeout: float) -> None:
        self._url = url
        self._directory = Path(url.root) / url.build_path
        self._patience = stall_timeout

    def list(self, wanted: Wanted = EVERYTHING, attempt: Attempt = once) -> list[ArchiveObject]:
        """See :class:`~staging.archives.base.Archive`; links that leave the archive root are not listed."""
        return [*attempt(functools.partial(self._listed, wanted))]

    def describe(self, name: str) -> ArchiveObject:
        """See :class:`~staging.archives.base.Archive`."""
        with self._translated(name):
            return patiently(functools.partial(self._described, name), self._patience)

    def read(self, item: ArchiveObject, start: int, stop: int) -> ObjectStream:
        """See :class:`~staging.archives.base.Archive`."""
        opened: deque[Pieces[bytes]] = deque()

        def interrupt() -> None:
            for pieces in opened:
                pieces.interrupt()

        return ObjectStream(self._pieces(item, start, stop, opened), interrupt)

    def url_of(self, name: str) -> str:
        """See :class:`~staging.archives.base.Archive`."""
        return f"{self._url}/{name}"

    # Reading

    def _pieces(self, item: ArchiveObject, start: int, stop: int, opened: deque[Pieces[bytes]]) -> Generator[bytes]:
        try:
            with self._translated(item.name):
                opened.append(Pieces(functools.partial(self._read, item, start, stop), self._patience))
                yield from opened[0]
        except ObjectNotFound as error:
            raise ObjectChanged(self.url_of(item.name), item.generation) from error

    def _read(self, item: ArchiveObject, start: int, stop: int) -> Generator[bytes]:
        changed = ObjectChanged(self.url_of(item.name), item.generation)
        with open(self._inside(item.name), "rb", buffering=0) as file:  # noqa: PTH123
            descriptor = file.fileno()
            changed_at = _changed_at(descriptor, item.generation)
            while start < stop:
                piece = os.pread(descriptor, min(_PIECE, stop - start), start)
                start += len(piece)
                # The last one counts where nobody wrote meanwhile, be it that the file's time was set back afterwards.
                is_last = start >= stop
                if changed_at is None or not piece:
                    raise changed
                if is_last and _changed_at(descriptor, item.generation, changed_at) is None:
                    raise changed
                yield piece
                del piece  # so that its memory serves for the next one

    # Listing

    def _listed(self, wanted: Wanted) -> Sequence[ArchiveObject]:
        folder = wanted.start.rpartition("/")[0]
        found = []
        with self._translated(""):
            for item in Pieces(lambda: self._below(folder, wanted, frozenset()), self._patience):
                found += [item] if item is not None else []
                if len(found) > _MOST_OBJECTS:
                    raise ArchiveRefused(str(self._url), f"more than {_MOST_OBJECTS} files are wanted; name fewer")
        return sorted(found, key=lambda item: item.name)

    def _below(self, folder: str, wanted: Wanted, above: frozenset[str]) -> Generator[ArchiveObject | None]:
        """The wanted files below ``folder``, to which links led by way of the directories ``above``; and None for each
        directory, so that it is known that the file server answers.
        """
        yield None
        try:
            real = self._inside(folder)
            if real in above:
                return
            with os.scandir(real) as entries:
                found = [(entry.name, _is_directory(entry)) for entry in entries]
        except (FileNotFoundError, NotADirectoryError, ObjectNotFound):
            return
        for name, is_directory in found:
            path = f"{folder}/{name}" if folder else name
            if not is_directory and wanted.has(path):
                with suppress(FileNotFoundError, ObjectNotFound):  # it went meanwhile, or leads elsewhere
                    yield self._described(path)
            elif is_directory and name != RESERVED_NAME and not wanted.is_shallow and _may_hold(path, wanted.start):
                yield from self._below(path, wanted, above | {real})

    def _described(self, name: str) -> ArchiveObject:
        try:
            status = os.stat(self._inside(name))  # noqa: PTH116
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            raise ObjectNotFound(self.url_of(name)) from None
        if not stat.S_ISREG(status.st_mode):
            raise ObjectNotFound(self.url_of(name))
        return ArchiveObject(name, status.st_size, "", _generation(status))

    def _inside(self, name: str) -> str:
        """The real path of what ``name`` names; raises ``ObjectNotFound`` where it lies outside of the archive root."""
        root = os.path.realpath(self._url.root)
        path = os.path.realpath(self._directory / name)
        if path != root and not path.startswith(f"{root.rstrip('/')}/"):
            raise ObjectNotFound(self.url_of(name))
        return path

    # What may go wrong

    @contextmanager
    def _translated(self, name: str) -> Iterator[None]:
        try:
            yield
        except Hangs as error:
            raise ArchiveUnavailable(self._named(name), "its file server did not answer for too long") from error
        except OSError as error:
            raise self._cause(error, self._named(name)) from error

    def _named(self, name: str) -> str:
        return self.url_of(name) if name else str(self._url)

    def _cause(self, error: OSError, url: str) -> ArchiveError:
        if isinstance(error, (FileNotFoundError, NotADirectoryError)) or error.errno == errno.ELOOP:
            return ObjectNotFound(url)
        if isinstance(error, PermissionError):
            return AccessDenied(url, "the file's permissions forbid it")
        return ArchiveUnavailable(url, f"its file system says: {error.strerror or type(error).__name__}")


def _is_directory(entry: os.DirEntry[str]) -> bool:
    """Whether it is a directory, or leads to one; links in a circle lead nowhere."""
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return False


def _may_hold(folder: str, start: str) -> bool:
    """Whether something below ``folder`` may have a name that begins with ``start``."""
    return f"{folder}/".startswith(start) or start.startswith(f"{folder}/")


def _changed_at(descriptor: int, generation: str, before: int | None = None) -> int | None:
    """When an open file of that ``generation`` was changed in any way, in nanoseconds: at ``before``, if that is given;
    None where it is another generation, or was changed at another time, however often one looks.
    """
    for look in range(_LOOKS):
        if look:
            time.sleep(_BETWEEN_LOOKS)
        status = os.fstat(descriptor)
        if _generation(status) == generation and before in (None, status.st_ctime_ns):
            return status.st_ctime_ns
    return None


def _generation(status: os.stat_result) -> str:
    return f"{status.st_mtime_ns}-{status.st_size}"
