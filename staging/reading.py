"""Reading an object: slices fetched ahead by a few threads, handed on in order, hashed on the way.

One reader holds at most ``slices_ahead * slice_bytes`` of its object in memory, however large the object is and however
slow its consumer: 48 MiB with the default settings, so that 6 artifacts of 8 builds can take 2.3 GiB if all of them are
slower to be unpacked than to be fetched.
"""

from __future__ import annotations

import base64
import io
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Condition, Thread
from threading import Event as Flag
from time import monotonic
from typing import TYPE_CHECKING

import google_crc32c

from staging.archives import Archive, ArchiveObject
from staging.errors import ArchiveUnavailable, Cancelled, ChecksumMismatch
from staging.priority import GiveWay
from staging.retry import Patience, Retry, check

if TYPE_CHECKING:
    from typing_extensions import Buffer

_TIME_TO_TELL, _BYTES_TO_TELL = 0.02, 2 * 1024 * 1024  # seconds, or bytes, after which a connection's speed shows
_LOOK = 0.02  # seconds between two looks at whether there is something more urgent

OnBytes = Callable[[int], None]


@dataclass(frozen=True)
class ReadSettings:
    """How an object is read; docs/benchmarks.md has the measurements behind the defaults.

    Attributes:
        slice_bytes: size of one range that is asked for.
        threads: ranges of one object that are fetched at once, at most.
        slices_ahead: ranges of one object that are in memory at once, fetched or being fetched.
        fast_bytes_per_second: a connection that brings more is not what limits the whole, and is left alone: on the
            machine's own processors, a second one is only in the way.

    """

    slice_bytes: int = 4 * 1024 * 1024
    threads: int = 8
    slices_ahead: int = 12
    fast_bytes_per_second: int = 256 * 1024 * 1024


class _Slice:
    """One range of the object, on its way."""

    def __init__(self, start: int, stop: int) -> None:
        self.start = start
        self.stop = stop
        self.pieces: deque[bytes] = deque()
        self.is_done = False


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
    ) -> None:
        """``crc32c`` is that of the bytes before ``start``; ``on_bytes`` is told of every piece that is handed on.

        With ``give_way``, the reader gets out of the way of more urgent work.
        """
        super().__init__()
        settings = settings or ReadSettings()
        self._archive = archive
        self._item = item
        self._patience = patience
        self._cancelled = cancelled
        self._on_bytes = on_bytes
        self._give_way = give_way
        self._changed = Condition()
        self._closing = Flag()
        self._failure: BaseException | None = None
        self._to_fetch = deque(
            _Slice(offset, min(offset + settings.slice_bytes, item.size))
            for offset in range(start, item.size, settings.slice_bytes)
        )
        self._to_read: deque[_Slice] = deque()
        self._slices_ahead = settings.slices_ahead
        self._leftover = memoryview(b"")
        self.crc32c = crc32c
        self.offset = start
        self._fast = settings.fast_bytes_per_second
        # Whether one connection is enough; not known until the first one has brought something.
        self._is_fast: bool | None = None
        try:
            for number in range(min(settings.threads, len(self._to_fetch))):
                Thread(target=self._fetch_slices, args=(number,), name=f"fetch-{item.name}", daemon=True).start()
        except RuntimeError:  # the machine has no thread left
            self.close()
            raise

    def pieces(self) -> Iterator[bytes]:
        """The bytes that are left, in pieces as they come."""
        while piece := self._next_piece():
            yield piece

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
        actual = base64.b64encode(self.crc32c.to_bytes(4, "big")).decode()
        if self._item.crc32c and actual != self._item.crc32c:
            raise ChecksumMismatch(self._archive.url_of(self._item.name), self._item.crc32c, actual)
        return actual

    def close(self) -> None:
        """End the threads; what they are in the middle of is given up."""
        with self._changed:
            self._closing.set()
            self._changed.notify_all()
        super().close()

    # The consumer's side

    def _next_piece(self) -> bytes:
        """The next bytes of the object; nothing at its end."""
        if self.offset >= self._item.size:
            return b""
        if self._give_way is not None:
            self._give_way.wait()
        with self._changed:
            while not (self._to_read and self._to_read[0].pieces):
                check(self._cancelled, self._closing)
                if self._failure is not None:
                    raise self._failure
                self._changed.wait(1.0)
            first = self._to_read[0]
            piece = first.pieces.popleft()
            if first.is_done and not first.pieces:
                self._to_read.popleft()
                self._changed.notify_all()
        self.crc32c = google_crc32c.extend(self.crc32c, piece)
        self.offset += len(piece)
        self._on_bytes(len(piece))
        return piece

    # The fetching threads' side

    def _fetch_slices(self, number: int) -> None:
        try:
            while (part := self._next_slice(is_first=number == 0)) is not None:
                self._fetch(part)
        except BaseException as error:
            with self._changed:
                self._failure = self._failure or error
                self._changed.notify_all()

    def _next_slice(self, is_first: bool) -> _Slice | None:
        """The next slice to fetch, once there is room for it; None where there is no more, or no more to do."""
        with self._changed:
            while not (self._is_over() or (self._may_fetch() and (is_first or self._is_fast is False))):
                self._changed.wait(_LOOK)
            if self._is_over():
                return None
            part = self._to_fetch.popleft()
            self._to_read.append(part)
            return part

    def _may_fetch(self) -> bool:
        """Whether there is room for a slice, and nothing more urgent; what is wanted at once is always fetched."""
        has_room = len(self._to_read) < self._slices_ahead
        return has_room and (not self._to_read or self._give_way is None or not self._give_way.is_needed())

    def _is_over(self) -> bool:
        return not self._to_fetch or self._closing.is_set() or self._failure is not None

    def _fetch(self, part: _Slice) -> None:
        """Fetch one slice; after a failure that may pass, go on from its last byte that came."""
        retry = Retry(self._patience.retry_deadline, self._closing, self._cancelled)
        offset = part.start
        while offset < part.stop:
            began_at, began = monotonic(), offset
            try:
                for piece in self._archive.read(self._item, offset, part.stop):
                    offset += len(piece)
                    self._hand_on(part, piece, is_last=offset >= part.stop)
                    self._take_time(offset - began, monotonic() - began_at)
                    retry.went_well()
            except ArchiveUnavailable as error:
                retry.wait_after(error)

    def _take_time(self, count: int, seconds: float) -> None:
        """Find out how fast a connection is, from the request to ``count`` bytes later."""
        if seconds >= _TIME_TO_TELL or count >= _BYTES_TO_TELL:
            self._is_fast = count >= self._fast * seconds

    def _hand_on(self, part: _Slice, piece: bytes, is_last: bool) -> None:
        with self._changed:
            if self._closing.is_set():
                raise Cancelled("the reader was closed")
            part.pieces.append(piece)
            part.is_done = is_last
            if part is self._to_read[0]:
                self._changed.notify_all()
