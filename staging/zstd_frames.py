"""The frames of a zstd stream (RFC 8878), followed from block to block and not decompressed.

The library ends without a word where a stream was cut off, and does not say where its last frame ended.
"""

from __future__ import annotations

from collections.abc import Callable

_MAGIC = 0xFD2FB528
_SKIPPABLE = 0x184D2A50  # and the fifteen numbers behind it
_BLOCK_HEADER, _CHECKSUM = 3, 4  # bytes
_RLE = 1  # a block of one byte, repeated


def is_frame(start: bytes) -> bool:
    """Whether a frame begins with these bytes: one of content, or one to be skipped."""
    magic = int.from_bytes(start[:4], "little")
    return magic == _MAGIC or magic & ~0xF == _SKIPPABLE


class ZstdFrames:
    """Where in its frames a stream is, of which all that came was followed.

    Attributes:
        has_ended: whether something follows the last frame that is none.

    """

    def __init__(self) -> None:
        self.has_ended = False
        self._needed = 4  # bytes of the next header
        self._read: Callable[[bytes], bool] = self._magic
        self._left = 0  # bytes of content, up to that header
        self._checksum = 0  # bytes behind the last block of this frame

    @property
    def is_between(self) -> bool:
        """Whether a frame ended and no other has begun."""
        return self._read == self._magic and not self._left

    def follow(self, piece: bytes) -> int:
        """Go on by ``piece``; how many of its bytes were followed. The rest, if any, begins the next piece."""
        at = 0
        while True:
            step = min(self._left, len(piece) - at)
            self._left -= step
            at += step
            head = piece[at : at + self._needed]
            if len(head) < self._needed:
                return at
            self.has_ended = not self._read(head)
            if self.has_ended:
                return at
            at += len(head)

    def _next(self, needed: int, read: Callable[[bytes], bool], content: int = 0) -> bool:
        self._needed, self._read, self._left = needed, read, content
        return True

    def _magic(self, head: bytes) -> bool:
        if int.from_bytes(head, "little") == _MAGIC:
            return self._next(1, self._descriptor)
        return is_frame(head) and self._next(4, self._skippable)

    def _skippable(self, head: bytes) -> bool:
        return self._next(4, self._magic, int.from_bytes(head, "little"))

    def _descriptor(self, head: bytes) -> bool:
        is_single = head[0] >> 5 & 1
        window = 1 - is_single
        dictionary = (0, 1, 2, 4)[head[0] & 3]
        size = (is_single, 2, 4, 8)[head[0] >> 6]
        self._checksum = _CHECKSUM if head[0] & 4 else 0
        return self._next(_BLOCK_HEADER, self._block, window + dictionary + size)

    def _block(self, head: bytes) -> bool:
        header = int.from_bytes(head, "little")
        size = 1 if header >> 1 & 3 == _RLE else header >> 3
        if header & 1:
            return self._next(4, self._magic, size + self._checksum)
        return self._next(_BLOCK_HEADER, self._block, size)
