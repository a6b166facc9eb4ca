"""Compressed streams become plain ones, on all cores where the format and the machine allow.

bzip2 and xz go through programs, lbzip2 and xz, which use all cores; where they are not installed, Python's own modules
do the same on one. gzip goes through ISA-L and zstd and lz4 through their own libraries, which are faster on one core
than the programs on two. All of them read streams that were compressed in several parts, and take no more memory than
they may: how much an xz or a zstd stream takes is for whoever packed it to say, up to gigabytes for a few kilobytes.

What a stream is compressed with is told by its first bytes, and so is what came out of it: it may be compressed twice.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import IO, TYPE_CHECKING, cast

from staging.codecs import CODECS, PIECE, BrokenStream, NotEnoughMemory
from staging.errors import BadTarball
from staging.formats import START, ZEROS, ZIP, Kind, described, kind_of
from staging.piping import Program, piped
from staging.stream_ends import behind_bzip2, behind_xz
from staging.units import in_bytes

if TYPE_CHECKING:
    from typing_extensions import Buffer

Plain = IO[bytes]

_MOST_LAYERS = 2  # of compression
_PROGRAMS = {
    "bzip2": Program("bzip2", ("lbzip2", "--decompress", "--stdout"), behind_bzip2),
    "xz": Program(
        "xz", ("xz", "--decompress", "--stdout", "--threads=0", "--memlimit-decompress={max_memory}"), behind_xz
    ),
}


@contextmanager
def decompressed(stream: io.RawIOBase, name: str, max_memory: int) -> Iterator[Plain]:
    """The plain content of ``stream``, whatever it is compressed with; ``name`` is what errors call it.

    Raises:
        BadTarball: it is broken, or takes more than ``max_memory`` bytes; from reading, or when the context ends.

    """
    with _peeled(stream, name, max_memory) as (plain, _):
        yield io.BufferedReader(plain, PIECE)


@contextmanager
def tarball_in(stream: io.RawIOBase, name: str, max_memory: int) -> Iterator[Plain]:
    """The tarball that ``stream`` is, like :func:`decompressed`.

    Raises:
        BadTarball: as there; also where it is something else, which the error names.

    """
    with _peeled(stream, name, max_memory) as (plain, layers):
        kind = kind_of(plain.start)
        if kind is None or not kind.is_tar:
            raise BadTarball(name, _no_tarball(plain.start, kind, layers))
        yield io.BufferedReader(plain, PIECE)


def memory_exceeded(name: str, max_memory: int) -> BadTarball:
    """What is said of an object that takes more memory to decompress than it may."""
    return BadTarball(
        name, f"to decompress it takes more memory than the {in_bytes(max_memory)} that --unpack-max-memory allows"
    )


class _FromItsStart(io.RawIOBase):
    """A stream whose first bytes were looked at; closing it leaves the stream open."""

    def __init__(self, stream: io.RawIOBase) -> None:
        super().__init__()
        self._stream = stream
        self.start = b""
        self._look(START)
        if not self.start.strip(b"\0"):
            self._look(ZEROS + 1)
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

    def _look(self, size: int) -> None:
        while len(self.start) < size and (piece := self._stream.read(size - len(self.start))):
            self.start += piece


@contextmanager
def _peeled(stream: io.RawIOBase, name: str, max_memory: int) -> Iterator[tuple[_FromItsStart, list[Kind]]]:
    """``stream`` without its layers of compression, and the layers from the outside."""
    layers: list[Kind] = []
    try:
        with ExitStack() as stack:
            plain = _FromItsStart(stream)
            while len(layers) < _MOST_LAYERS and (kind := kind_of(plain.start)) and kind.codec:
                layers.append(kind)
                plain = _FromItsStart(stack.enter_context(_opened(plain, kind.codec, max_memory)))
            yield plain, layers
    except NotEnoughMemory as error:
        raise memory_exceeded(name, max_memory) from error
    except BrokenStream as error:
        raise BadTarball(name, str(error)) from error


def _opened(packed: io.RawIOBase, codec: str, max_memory: int) -> AbstractContextManager[io.RawIOBase]:
    program = _PROGRAMS.get(codec)
    path = shutil.which(program.command[0]) if program else None
    if program is None or path is None:
        return nullcontext(CODECS[codec](cast("IO[bytes]", packed), max_memory))
    words = [word.format(max_memory=max_memory) for word in program.command[1:]]
    return piped(program._replace(command=(path, *words)), packed, max_memory)


def _no_tarball(start: bytes, kind: Kind | None, layers: Sequence[Kind]) -> str:
    what = described(start)
    if kind is not None and kind.codec:
        return f"it is compressed more than {_MOST_LAYERS} times: {' in '.join(_titles(layers, kind))}"
    if layers:
        return f"it is {' in '.join(_titles(layers))}, which holds {what} and no tarball"
    if kind == ZIP:
        return "it is a zip file, and only what is called .zip is unpacked as one"
    return f"it is {what}, and no tarball"


def _titles(layers: Sequence[Kind], *inner: Kind) -> Iterator[str]:
    """What the layers are called, from the inside."""
    return (kind.title for kind in reversed((*layers, *inner)))
