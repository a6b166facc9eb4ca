"""An archive that is a directory: ``file://`` URLs below an ``--archive-root``."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

from staging.archives.base import ArchiveObject, ObjectStream
from staging.archives.url import ArchiveUrl
from staging.errors import AccessDenied, ArchiveUnavailable, ObjectChanged, ObjectNotFound
from staging.layout import RESERVED_NAME
from staging.presence import real_path

_PIECE = 512 * 1024  # bytes read at a time


class DirectoryArchive:
    """A build that lies as files in a directory; it states no crc32c, and a generation is an inode with its mtime."""

    def __init__(self, url: ArchiveUrl, stall_timeout: float) -> None:
        del stall_timeout  # a local read does not stall
        self._url = url
        self._root = real_path(Path(url.root))
        self._directory = Path(url.root) / url.build_path

    def list(self, start: str = "") -> list[ArchiveObject]:
        """See :class:`~staging.archives.base.Archive`; links that leave the archive root are not listed."""
        names = []
        for folder, folders, files in os.walk(self._directory, onerror=self._refuse):
            folders[:] = [name for name in folders if name != RESERVED_NAME]
            names += [(Path(folder) / file).relative_to(self._directory).as_posix() for file in files]
        return [self.describe(name) for name in sorted(names) if name.startswith(start) and self._is_inside(name)]

    def describe(self, name: str) -> ArchiveObject:
        """See :class:`~staging.archives.base.Archive`."""
        if not self._is_inside(name):
            raise ObjectNotFound(self.url_of(name))
        try:
            status = (self._directory / name).stat()
        except OSError as error:
            raise self._translated(error, name) from error
        return ArchiveObject(name, status.st_size, "", _generation(status))

    def read(self, item: ArchiveObject, start: int, stop: int) -> ObjectStream:
        """See :class:`~staging.archives.base.Archive`."""
        return ObjectStream(self._pieces(item, start, stop))

    def _pieces(self, item: ArchiveObject, start: int, stop: int) -> Generator[bytes]:
        try:
            with (self._directory / item.name).open("rb", buffering=0) as file:
                if _generation(os.fstat(file.fileno())) != item.generation:
                    raise ObjectChanged(self.url_of(item.name), item.generation)
                while start < stop:
                    piece = os.pread(file.fileno(), min(_PIECE, stop - start), start)
                    if not piece:
                        raise ObjectChanged(self.url_of(item.name), item.generation)
                    start += len(piece)
                    yield piece
        except FileNotFoundError as error:
            raise ObjectChanged(self.url_of(item.name), item.generation) from error
        except OSError as error:
            raise self._translated(error, item.name) from error

    def url_of(self, name: str) -> str:
        """See :class:`~staging.archives.base.Archive`."""
        return f"{self._url}/{name}"

    def _is_inside(self, name: str) -> bool:
        path = real_path(self._directory / name)
        return path.is_file() and path.is_relative_to(self._root)

    def _refuse(self, error: OSError) -> None:
        """What ``os.walk`` calls: a directory that is not there is an empty listing, anything else is told."""
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            raise self._translated(error, "")

    def _translated(self, error: OSError, name: str) -> Exception:
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            return ObjectNotFound(self.url_of(name))
        if isinstance(error, PermissionError):
            return AccessDenied(self.url_of(name), "the file's permissions forbid it")
        return ArchiveUnavailable(self.url_of(name), error.strerror or type(error).__name__)


def _generation(status: os.stat_result) -> str:
    return f"{status.st_ino}-{status.st_mtime_ns}-{status.st_size}"
