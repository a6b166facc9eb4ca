"""What makes compressed streams plain, one library for each format, all of them by the same rules.

Several streams may stand one behind the other, as parallel compressors write them, with zeros between and behind them,
which are padding. Anything else behind the last one is refused, as a stream is that ends too early.
"""

from __future__ import annotations

import bz2
import importlib
import io
import lzma
import zlib
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any, Protocol, cast

import zstandard
from isal import igzip_lib

from staging.zstd_frames import ZstdFrames, is_frame

if TYPE_CHECKING:
    from typing_extensions import Buffer

PIECE = 256 * 1024
_PLAIN_PIECE = 64 * 1024  # as ISA-L is fastest: of more, its buffer is copied each time that it grows
_BROKEN: tuple[type[Exception], ...] = (
    EOFError,
    OSError,  # of bz2
    RuntimeError,  # of lz4
    ValueError,
    zlib.error,
    lzma.LZMAError,
    zstandard.ZstdError,
    cast("type[Exception]", igzip_lib.IsalError),  # which its stubs take for an instance
)
_LACKS_MEMORY = (
    "memory usage limit",  # liblzma, and xz
    "cannot allocate memory",
    "mib of memory is required",  # the last line of xz
    "too much memory",  # libzstd
)


class BrokenStream(Exception):
    """A compressed stream that cannot be read, and why."""


class NotEnoughMemory(BrokenStream):
    """A compressed stream that takes more memory than it may."""


class MissingLibrary(BrokenStream):
    """A compressed stream of a format whose library is not installed."""


class Decompressor(Protocol):
    """What a library has for one stream; the standard library's ``bz2.BZ2Decompressor`` is one."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""

    @property
    def needs_input(self) -> bool:
        """Whether nothing more comes without more of the packed bytes."""

    @property
    def unused_data(self) -> bytes:
        """What followed the end of the stream."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """At most ``max_length`` plain bytes, of ``data`` and of what was given before."""


class Streams(io.RawIOBase):
    """The plain content of streams of one format that stand one behind the other."""

    def __init__(self, packed: IO[bytes], title: str, begin: Callable[[], Decompressor], magic: bytes = b"") -> None:
        """Each but the first begins with ``magic``; without one, there is no other."""
        super().__init__()
        self._packed = packed
        self._title = title
        self._begin = begin
        self._magic = magic
        self._decompressor = begin()

    def readable(self) -> bool:
        """See :class:`io.RawIOBase`."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """See :class:`io.RawIOBase`."""
        target = memoryview(buffer).cast("B")
        rest = b""
        while True:
            if self._decompressor.eof:
                rest = self._next_stream()
                if not rest:
                    return 0
            piece = self._decompress(rest or self._more(), min(len(target), _PLAIN_PIECE))
            rest = b""
            if piece:
                target[: len(piece)] = piece
                return len(piece)

    def _more(self) -> bytes:
        if not self._decompressor.needs_input:
            return b""
        packed = self._packed.read(PIECE)
        if not packed:
            raise BrokenStream(f"it ends too early: its {self._title} stream is cut off")
        return packed

    def _decompress(self, packed: bytes, most: int) -> bytes:
        try:
            return self._decompressor.decompress(packed, most)
        except _BROKEN as error:
            raise _broken(self._title, error) from error

    def _next_stream(self) -> bytes:
        """Begin with the stream that follows; what it begins with, or nothing at the end."""
        rest = past_padding(self._packed, self._decompressor.unused_data or b"", len(self._magic))
        if rest and not (self._magic and rest.startswith(self._magic)):
            raise followed(self._title, _count(self._packed, rest))
        if rest:
            self._decompressor = self._begin()
        return rest


class _Zstd(io.RawIOBase):
    """The plain content of zstd's frames, and of nothing between them."""

    def __init__(self, packed: IO[bytes], max_memory: int) -> None:
        super().__init__()
        decompressor = zstandard.ZstdDecompressor(max_window_size=max_memory)
        self._plain = decompressor.stream_reader(cast("Any", _Frames(packed)), read_across_frames=True)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        try:
            return self._plain.readinto(buffer)
        except zstandard.ZstdError as error:
            raise _broken("zstd", error) from error


class _Frames:
    """The bytes of a packed stream that are of zstd's frames, to whose end it is known to have come."""

    def __init__(self, packed: IO[bytes]) -> None:
        self._packed = packed
        self._frames = ZstdFrames()
        self._rest = b""
        self._is_over = False

    def read(self, size: int) -> bytes:
        while not self._is_over:
            more = b"" if self._frames.has_ended else self._packed.read(size)
            if not more:
                self._rest = self._next_frame()
            piece, self._rest = self._rest + more, b""
            count = self._frames.follow(piece)
            self._rest = piece[count:]
            if count:
                return piece[:count]
        return b""

    def _next_frame(self) -> bytes:
        """What the frame begins with that follows zeros; nothing at the end."""
        if not self._frames.is_between:
            raise BrokenStream("it ends too early: its zstd stream is cut off")
        rest = past_padding(self._packed, self._rest, 4)
        if rest and not is_frame(rest):
            raise followed("zstd", _count(self._packed, rest))
        self._frames = ZstdFrames()
        self._is_over = not rest
        return rest


def past_padding(packed: IO[bytes], rest: bytes, wanted: int = 1) -> bytes:
    """What follows the zeros that ``rest`` and ``packed`` begin with: ``wanted`` bytes or more, fewer at the end."""
    rest = rest.lstrip(b"\0")
    while len(rest) < max(wanted, 1) and (piece := packed.read(PIECE)):
        rest = (rest + piece).lstrip(b"\0")
    return rest


def _count(packed: IO[bytes], rest: bytes) -> str:
    """How many bytes there are in ``rest`` and are left in ``packed``."""
    count = len(rest)
    while piece := packed.read(PIECE):
        count += len(piece)
    return str(count)


def followed(title: str, count: str) -> BrokenStream:
    """What is said where ``count`` bytes behind a stream are neither another nor padding."""
    return BrokenStream(f"{count} bytes that are no part of it follow the end of its {title} stream")


def lacks_memory(complaint: str) -> bool:
    """Whether a library or a program complains that it may not take as much memory as a stream needs."""
    return any(words in complaint.lower() for words in _LACKS_MEMORY)


def _broken(title: str, error: Exception) -> BrokenStream:
    if lacks_memory(str(error)):
        return NotEnoughMemory(str(error))
    return BrokenStream(f"its {title} stream is broken: {error}")


def _gzip(packed: IO[bytes], _: int) -> io.RawIOBase:
    return Streams(packed, "gzip", lambda: igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_GZIP), b"\x1f\x8b")


def deflate(packed: IO[bytes], _: int) -> io.RawIOBase:
    """What zip files have: neither a head nor a checksum."""
    return Streams(packed, "deflate", lambda: igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_DEFLATE))


def bzip2(packed: IO[bytes], _: int) -> io.RawIOBase:
    """See :data:`CODECS`."""
    return Streams(packed, "bzip2", bz2.BZ2Decompressor, b"BZh")


def xz(packed: IO[bytes], max_memory: int) -> io.RawIOBase:
    """See :data:`CODECS`."""
    return Streams(packed, "xz", lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, max_memory), b"\xfd7zXZ\0")


def lzma_alone(packed: IO[bytes], max_memory: int) -> io.RawIOBase:
    """See :data:`CODECS`."""
    return Streams(packed, "lzma", lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, max_memory))


def zstd(packed: IO[bytes], max_memory: int) -> io.RawIOBase:
    """See :data:`CODECS`."""
    return _Zstd(packed, max_memory)


def _lz4(packed: IO[bytes], _: int) -> io.RawIOBase:
    try:
        frames = importlib.import_module("lz4.frame")
    except ImportError as error:
        wanted = "lz4, which takes a library that is not installed: pip install 'devserver[lz4]'"
        raise MissingLibrary(f"it is packed with {wanted}") from error
    return Streams(packed, "lz4", frames.LZ4FrameDecompressor, b"\x04\x22\x4d\x18")


# What makes a plain stream of a packed one, within so many bytes of memory; gzip, bzip2 and lz4 take some megabytes.
CODECS: dict[str, Callable[[IO[bytes], int], io.RawIOBase]] = {
    "gzip": _gzip,
    "bzip2": bzip2,
    "xz": xz,
    "lzma": lzma_alone,
    "zstd": zstd,
    "lz4": _lz4,
}
