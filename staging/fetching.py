"""Fetching an object: slices asked for ahead by a few threads, handed on in order to one consumer.

A connection that is not what limits the whole needs none of that: it is lent to the consumer, who reads from it with
nothing in between, while the thread that opened it stands by.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from threading import Condition, Lock, Thread
from threading import Event as Flag
from time import monotonic

from staging.archives import Archive, ArchiveObject, ObjectStream, RangesIgnored
from staging.errors import ArchiveUnavailable, Cancelled
from staging.priority import GiveWay
from staging.retry import OnRetry, Patience, Retry, check

# Bytes after which a connection may be called fast, and seconds of waiting after which it may be called slow: for less
# than that, a thread that came to its turn late looks the same.
_BYTES_TO_TELL, _TIME_TO_TELL = 2 * 1024 * 1024, 0.05
_LOOK = 0.02  # seconds between two looks at whether there is something more urgent
_CANCEL_LOOK = 0.5  # and at whether somebody cancelled


@dataclass(frozen=True)
class ReadSettings:
    """How an object is read; docs/architecture.md has the measurements behind the defaults.

    Attributes:
        slice_bytes: size of one range that is asked for.
        threads: ranges of one object that are fetched at once, at most.
        slices_ahead: ranges of one object that are in memory at once, fetched or being fetched.
        fast_bytes_per_second: a connection that brings more is not what limits the whole, and is left alone: on the
            machine's own processors, a second one is only in the way.
        fast_slice_bytes: size of one range on such a connection, of which next to nothing is in memory.

    """

    slice_bytes: int = 4 * 1024 * 1024
    threads: int = 8
    slices_ahead: int = 12
    fast_bytes_per_second: int = 256 * 1024 * 1024
    fast_slice_bytes: int = 64 * 1024 * 1024


class _Slice:
    """One range of the object, on its way.

    Attributes:
        offset: of the next byte that comes from the archive.
        pieces: what came and the consumer has not taken, ``held`` bytes of it.
        stream: where it comes from, while that is lent to the consumer.
        failure: what befell the consumer while it was.

    """

    def __init__(self, start: int, stop: int) -> None:
        self.offset = start
        self.stop = stop
        self.pieces: deque[bytes] = deque()
        self.held = 0
        self.stream: _TimedStream | None = None
        self.failure: ArchiveUnavailable | None = None


class _TimedStream:
    """A stream that knows how long it let its reader wait, but for the first piece: that is the archive's latency."""

    def __init__(self, stream: ObjectStream) -> None:
        self._stream = stream
        self.abort = stream.abort
        self.close = stream.close
        self._has_begun = False
        self._count = 0
        self._seconds = 0.0

    def next_piece(self) -> bytes:
        """The next piece; nothing at the end."""
        asked_at = monotonic()
        piece = next(self._stream, b"")
        if self._has_begun:
            self._seconds += monotonic() - asked_at
            self._count += len(piece)
        self._has_begun = True
        return piece

    def is_faster_than(self, bytes_per_second: float) -> bool | None:
        """Whether it is; None while that cannot be told."""
        if self._count >= _BYTES_TO_TELL and self._count >= bytes_per_second * self._seconds:
            return True
        return False if self._seconds >= _TIME_TO_TELL else None


class Fetcher:
    """The threads that fetch one object, from ``start`` on, and what they have fetched."""

    def __init__(
        self,
        archive: Archive,
        item: ArchiveObject,
        patience: Patience,
        cancelled: Flag,
        settings: ReadSettings,
        start: int,
        give_way: GiveWay | None,
        on_retry: OnRetry,
    ) -> None:
        self._archive = archive
        self._item = item
        self._patience = patience
        self._cancelled = cancelled
        self._settings = settings
        self._give_way = give_way
        self._on_retry = on_retry
        lock = Lock()
        self._has_bytes = Condition(lock)  # the consumer waits for this one
        self._has_room = Condition(lock)  # and the fetching threads for this one
        self._closing = Flag()
        self._failure: BaseException | None = None
        self._unasked = start  # where the next slice begins
        self._to_read: deque[_Slice] = deque()
        # Whether one connection is enough; not known until the first one has brought something.
        self._is_fast: bool | None = None
        self._has_helpers = False
        self._start_thread(is_first=True)

    def close(self) -> None:
        """End the threads; what they are in the middle of is given up."""
        with self._has_room:
            self._closing.set()
            self._to_read.clear()
            self._has_bytes.notify_all()
            self._has_room.notify_all()

    # The consumer's side

    def next_piece(self) -> bytes:
        """The next bytes, of which there must be some left.

        Raises:
            ArchiveError, Cancelled

        """
        while True:
            check(self._cancelled, self._closing)
            with self._has_bytes:
                first = self._first_with_bytes()
                if first.pieces:
                    return self._taken(first)
            if piece := self._read_for_oneself(first):
                return piece

    def _first_with_bytes(self) -> _Slice:
        while not (self._to_read and (self._to_read[0].pieces or self._to_read[0].stream)):
            check(self._cancelled, self._closing)
            if self._failure is not None:
                raise self._failure
            self._has_bytes.wait(_CANCEL_LOOK)
        return self._to_read[0]

    def _taken(self, first: _Slice) -> bytes:
        piece = first.pieces.popleft()
        first.held -= len(piece)
        if first.offset >= first.stop and not first.pieces:
            self._to_read.popleft()
        self._has_room.notify_all()
        return piece

    def _read_for_oneself(self, first: _Slice) -> bytes:
        """A piece from the lent stream; nothing where it broke, and was given back for another."""
        assert first.stream  # noqa: S101 - only the consumer gives it back
        try:
            piece = first.stream.next_piece()
        except ArchiveUnavailable as error:
            first.failure = error
            piece = b""
        first.offset += len(piece)
        is_at_end = first.offset >= first.stop
        if is_at_end or not piece or first.stream.is_faster_than(self._settings.fast_bytes_per_second) is False:
            with self._has_room:
                first.stream = None
                if is_at_end and self._to_read:
                    self._to_read.popleft()
                self._has_room.notify_all()
        return piece

    # The fetching threads' side

    def _start_thread(self, is_first: bool = False) -> None:
        name = f"fetch-{self._item.name}"
        Thread(target=self._fetch_slices, args=(is_first,), name=name, daemon=True).start()

    def _start_helpers(self) -> None:
        """Let more threads fetch: one connection has shown not to be enough."""
        self._has_helpers = True
        slices_left = -(-(self._item.size - self._unasked) // self._settings.slice_bytes)
        with suppress(RuntimeError):  # the machine has no thread left: those that there are do the work
            for _ in range(min(self._settings.threads - 1, slices_left)):
                self._start_thread()

    def _fetch_slices(self, is_first: bool) -> None:
        try:
            while (part := self._next_slice(is_first)) is not None:
                self._fetch(part)
        except BaseException as error:
            with self._has_bytes:
                # Once it is closed, nobody asks; and what was kept would keep this, and all it holds, in memory.
                self._failure = None if self._closing.is_set() else self._failure or error
                self._has_bytes.notify_all()
                self._has_room.notify_all()

    def _next_slice(self, is_first: bool) -> _Slice | None:
        """The next slice to fetch, once there is room for it; None where there is no more, or no more to do."""
        with self._has_room:
            while not (self._is_over() or (self._may_fetch() and (is_first or self._is_fast is False))):
                self._has_room.wait(_LOOK if self._give_way else None)
            if self._is_over():
                return None
            size = self._settings.fast_slice_bytes if self._is_fast else self._settings.slice_bytes
            part = _Slice(self._unasked, min(self._unasked + size, self._item.size))
            self._unasked = part.stop
            self._to_read.append(part)
            return part

    def _may_fetch(self) -> bool:
        """Whether there is room for a slice, and nothing more urgent; what is wanted at once is always fetched."""
        has_room = len(self._to_read) < self._settings.slices_ahead
        return has_room and (not self._to_read or self._give_way is None or not self._give_way.is_needed())

    def _is_over(self) -> bool:
        return self._unasked >= self._item.size or self._closing.is_set() or self._failure is not None

    def _fetch(self, part: _Slice) -> None:
        """Fetch one slice; after a failure that may pass, go on from its last byte that came."""
        retry = Retry(self._patience.retry_deadline, self._closing, self._cancelled)
        while part.offset < part.stop:
            stream = _TimedStream(self._archive.read(self._item, part.offset, part.stop))
            try:
                while piece := stream.next_piece():
                    retry.went_well()
                    self._judge(stream.is_faster_than(self._settings.fast_bytes_per_second))
                    self._hand_on(part, piece)
                    del piece  # so that its memory serves for the next one
                    if self._is_fast and part.offset < part.stop:
                        self._lend(stream, part)
            except RangesIgnored:
                self._take_all(part)
            except ArchiveUnavailable as error:
                retry.wait_after(error, self._on_retry)
            finally:
                stream.close()
            if self._is_fast is None:  # it brought a whole slice and did not show to be fast
                self._judge(False)

    def _take_all(self, part: _Slice) -> None:
        """Let ``part`` be all that is left of the object: the archive sends no ranges.

        Raises:
            ArchiveUnavailable: there are slices behind it already, since it sent some until now.

        """
        with self._has_room:
            if part.stop != self._unasked:
                raise ArchiveUnavailable(self._archive.url_of(self._item.name), "it sends ranges no more")
            part.stop = self._unasked = self._item.size

    def _judge(self, is_fast: bool | None) -> None:
        """Take note of whether one connection is enough; None where that is not known."""
        if is_fast is None:
            return
        with self._has_room:
            self._is_fast = is_fast
            if not is_fast and not self._has_helpers:
                self._start_helpers()

    def _hand_on(self, part: _Slice, piece: bytes) -> None:
        with self._has_room:
            # A slice of the usual size may be in memory as a whole.
            while part.held and part.held + len(piece) > self._settings.slice_bytes and not self._closing.is_set():
                self._has_room.wait()
            self._check_open()
            part.offset += len(piece)
            part.pieces.append(piece)
            part.held += len(piece)
            if part is self._to_read[0]:
                self._has_bytes.notify()

    def _lend(self, stream: _TimedStream, part: _Slice) -> None:
        """Let the consumer read from ``stream`` itself, and return when it gave that back.

        Raises:
            ArchiveUnavailable: the stream broke.
            Cancelled: also after the one who reads was woken up.

        """
        with self._has_room:
            part.stream = stream
            self._has_bytes.notify()
            while part.stream is not None:
                if self._closing.is_set() or self._cancelled.is_set():
                    stream.abort()
                    raise Cancelled("the download was stopped")
                self._has_room.wait(_CANCEL_LOOK)
            failure, part.failure = part.failure, None
        if failure is not None:
            raise failure

    def _check_open(self) -> None:
        if self._closing.is_set():
            raise Cancelled("the reader was closed")
