"""The body of a file that is stored gzipped, for clients that do not take it so."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator

_PIECE = 256 * 1024  # bytes at a time, packed and plain
_WINDOW = 31  # zlib's way to say gzip


class DecodedBody:
    """A WSGI answer's body: what a gzipped file holds, as it is decompressed."""

    def __init__(self, descriptor: int, on_close: Callable[[], None]) -> None:
        """``descriptor`` and ``on_close`` are as of a ``FileBody``; ``on_end``, too."""
        self._descriptor = descriptor
        self._on_close = on_close
        self._sent = 0
        self.on_end: Callable[[int], None] = lambda _: None

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces():
            yield piece
            self._sent += len(piece)

    def _pieces(self) -> Iterator[bytes]:
        position, unread, stream = 0, b"", zlib.decompressobj(wbits=_WINDOW)
        while True:
            if not unread:
                unread = os.pread(self._descriptor, _PIECE, position)
                position += len(unread)
            if not unread or (stream.eof and not unread.lstrip(b"\0")):
                break
            if stream.eof:  # one stream behind the other
                stream = zlib.decompressobj(wbits=_WINDOW)
            try:
                piece = stream.decompress(unread, _PIECE)
            except zlib.error:
                raise ConnectionAbortedError("the file is not gzipped to its end") from None
            unread = stream.unused_data if stream.eof else stream.unconsumed_tail
            if piece:
                yield piece
        if not stream.eof:
            raise ConnectionAbortedError("the file is not gzipped to its end")

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
        self._on_close()
        self.on_end(self._sent)
