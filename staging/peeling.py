"""An object that is packed once more than its name says, as its name says."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from isal import igzip

from staging.archives import ArchiveObject
from staging.encodings import GZIP, HEAD_BYTES, is_one_layer_more
from staging.reading import ObjectReader

if TYPE_CHECKING:
    from typing_extensions import Buffer


def peeled(reader: ObjectReader, item: ArchiveObject, closes: bool = False) -> ObjectReader:
    """A reader of what ``reader`` reads, without the gzip around it where the object has one more than its name says.

    It shares the reader's state, and its threads, which end with it where it ``closes`` the reader.
    """
    return _Peeled(reader, item.name, closes) if item.encoding == GZIP else reader


class _Peeled(ObjectReader):
    """A reader's object without the gzip around it, where there is one; all else is the reader's."""

    def __init__(self, reader: ObjectReader, name: str, closes: bool) -> None:
        io.RawIOBase.__init__(self)
        self._reader = reader
        self._closes = closes
        self._stream: Any = _FromItsStart(reader)
        if is_one_layer_more(name, self._stream.start):
            self._stream = igzip.IGzipFile(fileobj=self._stream)  # type: ignore[no-untyped-call]

    def readinto(self, buffer: Buffer) -> int:
        """See :class:`ObjectReader`."""
        return self._stream.readinto(buffer) or 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def finish(self) -> str:
        """See :class:`ObjectReader`: what has the checksum is the object as it is stored."""
        return self._reader.finish()

    def close(self) -> None:
        """End the reader's threads, where they are this one's."""
        if self._closes:
            self._reader.close()
        io.RawIOBase.close(self)


class _FromItsStart(io.RawIOBase):
    """A stream of which the first bytes are known already."""

    def __init__(self, stream: io.RawIOBase) -> None:
        super().__init__()
        self._stream = stream
        self.start = b""
        while len(self.start) < HEAD_BYTES and (piece := stream.read(HEAD_BYTES - len(self.start))):
            self.start += piece
        self._unread = self.start

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        if not self._unread:
            return self._stream.readinto(buffer) or 0
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(self._unread))
        target[:count] = self._unread[:count]
        self._unread = self._unread[count:]
        return count
