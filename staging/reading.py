"""Reading an object: its bytes in order, hashed on the way, and trusted once the archive's checksum has held.

One reader holds at most ``slices_ahead * slice_bytes`` of its object in memory, however large the object is and however
slow its consumer: 48 MiB with the default settings, so that 6 artifacts of each of 16 builds, 8 that are waited for and
8 in the background, can take 4.5 GiB if all of them are slower to be unpacked than to be fetched. Of what comes on a
fast connection, it holds a piece or two.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from threading import Event as Flag
from typing import IO, TYPE_CHECKING

import google_crc32c

from staging.archives import Archive, ArchiveObject
from staging.checksums import as_text
from staging.errors import ChecksumMismatch
from staging.fetching import Fetcher, ReadSettings
from staging.priority import GiveWay
from staging.retry import OnRetry, Patience, no_retry
from staging.writing import write_to_file

if TYPE_CHECKING:
    from typing_extensions import Buffer

OnBytes = Callable[[int], None]


class ObjectReader(io.RawIOBase):
    """The bytes of one generation of an object, in order, from ``start`` on.

    Reading raises what went wrong: ``ArchiveError``, or ``Cancelled``. Call :meth:`finish` after the last byte that is
    of interest, and trust nothing before it returned. Use it as a context manager: leaving it ends its threads.
    """

    def __init__(
        self,
        archive: Archive,
        item: ArchiveObject,
        patience: Patience,
        cancelled: Flag,
        on_bytes: OnBytes,
        settings: ReadSettings | None = None,
        start: int = 0,
        crc32c: int = 0,
        give_way: GiveWay | None = None,
        on_retry: OnRetry = no_retry,
        copy_to: IO[bytes] | None = None,
    ) -> None:
        """``crc32c`` is that of the bytes before ``start``; ``on_bytes`` is told of every piece that is handed on, and
        ``on_retry`` of every failure after which the archive is asked again. ``copy_to`` gets all that is read.

        With ``give_way``, the reader gets out of the way of more urgent work.
        """
        super().__init__()
        self._archive = archive
        self._item = item
        self._on_bytes = on_bytes
        self._give_way = give_way
        self.copy_to = copy_to
        self._leftover = memoryview(b"")
        self.crc32c = crc32c
        self.offset = start
        self._fetcher = Fetcher(
            archive, item, patience, cancelled, settings or ReadSettings(), start, give_way, on_retry
        )

    @property
    def size(self) -> int:
        """The bytes that the whole object has."""
        return self._item.size

    def pieces(self) -> Iterator[bytes]:
        """The bytes that are left, in pieces as they come."""
        while piece := self._next_piece():
            yield piece
            del piece  # so that its memory serves for the next one

    def readable(self) -> bool:
        """True: this is a stream to read."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """Fill ``buffer`` with the next bytes, as far as one piece goes; 0 at the end of the object."""
        if not self._leftover:
            self._leftover = memoryview(self._next_piece())
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(self._leftover))
        target[:count] = self._leftover[:count]
        self._leftover = self._leftover[count:]
        return count

    def finish(self) -> str:
        """Read what is left and return the object's crc32c, as the archive writes it.

        Raises:
            ChecksumMismatch: the archive states another one.

        """
        for _ in self.pieces():
            pass
        actual = as_text(self.crc32c)
        if self._item.crc32c and actual != self._item.crc32c:
            raise ChecksumMismatch(self._archive.url_of(self._item.name), self._item.crc32c, actual)
        return actual

    def close(self) -> None:
        """End the threads; what they are in the middle of is given up."""
        self._fetcher.close()
        super().close()

    def _next_piece(self) -> bytes:
        """The next bytes of the object; nothing at its end."""
        if self.offset >= self._item.size:
            return b""
        if self._give_way is not None:
            self._give_way.wait()
        piece = self._fetcher.next_piece()
        self.crc32c = google_crc32c.extend(self.crc32c, piece)
        self.offset += len(piece)
        if self.copy_to is not None:
            write_to_file(self.copy_to.fileno(), piece)
        self._on_bytes(len(piece))
        return piece
