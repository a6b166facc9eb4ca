"""Zip files become trees."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event as Flag
from typing import IO, cast

from staging.codecs import PIECE, BrokenStream, NotEnoughMemory, bzip2, deflate, lzma_alone, xz, zstd
from staging.decompression import memory_exceeded
from staging.errors import BadTarball
from staging.formats import START, described, kind_of
from staging.member_names import UnsafeMember, plain
from staging.retry import check
from staging.selection import Selection, Unpacked
from staging.tree import TreeWriter, UnpackLimits
from staging.zip_directory import BadZip, NoZip, ZipMember, content_offset, members_of

_LONGEST_LINK = 4095  # bytes that Linux takes
_CONTENT = (0, stat.S_IFREG, stat.S_IFIFO)  # the last is how Info-ZIP marks what it read from its standard input
_STORED = 0
_WHAT_IS_READ = "7z a -tzip -mm=Deflate packs what is"
_NOT_READ = {
    1: "shrunk",
    6: "imploded",
    9: f"packed with Deflate64, as Windows Explorer does above 2 GB, which is not read here; {_WHAT_IS_READ}",
    10: "imploded",
    98: f"packed with PPMd, which is not read here; {_WHAT_IS_READ}",
}


def unpack_zip(
    archive: Path,
    name: str,
    target: Path,
    selection: Selection,
    limits: UnpackLimits,
    cancelled: Flag,
    leaves_out_unsafe: bool = False,
) -> Unpacked:
    """Unpack a zip file, like :func:`staging.extraction.unpack_stream`.

    Its directory is at its end, so it has to be a file on the disk.
    """
    target.mkdir(parents=True, exist_ok=True)
    writer = TreeWriter(target, name, limits, leaves_out_unsafe)
    found: set[str] = set()
    try:
        with archive.open("rb") as directory, archive.open("rb") as source:
            unpacking = _Unpacking(writer, source, archive.stat().st_size, limits.max_memory, cancelled)
            for member in _members(directory, unpacking.size):
                check(cancelled)
                path = plain(member.name)
                if selection.takes(path):
                    found.add(selection.included(path) or "")
                    unpacking.write(member)
                else:
                    writer.skip(0)
    except NotEnoughMemory as error:
        raise memory_exceeded(name, limits.max_memory) from error
    except BadZip as error:
        raise BadTarball(name, str(error)) from error
    if selection.includes and not found:
        raise BadTarball(name, f"it holds no {' and no '.join(selection.includes)}")
    writer.finish()
    return Unpacked(writer.checksums, writer.holes, writer.left_out, frozenset(found))


def _members(directory: IO[bytes], size: int) -> Iterator[ZipMember]:
    """The members of a zip file; of what is none, an error says what it is."""
    start = directory.read(START)
    kind = kind_of(start)
    if kind is not None and (kind.is_tar or kind.codec):  # in which a zip file may be the last
        raise BadZip(f"it is {kind.title}, and only zip files are unpacked under a name that ends in .zip")
    try:
        yield from members_of(directory, size)
    except NoZip as error:
        raise BadZip(
            str(error) if start.startswith(b"PK\x03\x04") else f"it is {described(start)}, and no zip file"
        ) from error


class _Unpacking:
    """The members of one zip file of ``size`` bytes, on their way into a tree."""

    def __init__(self, writer: TreeWriter, source: IO[bytes], size: int, max_memory: int, cancelled: Flag) -> None:
        self.size = size
        self._writer = writer
        self._source = source
        self._max_memory = max_memory
        self._cancelled = cancelled
        self._packed = 0  # bytes of all members that were unpacked

    def write(self, member: ZipMember) -> None:
        """Unpack one member."""
        try:
            self._write(member)
        except UnsafeMember as reason:
            self._writer.leave_out(member.name, reason)
        except NotEnoughMemory:
            raise
        except BrokenStream as error:
            raise BadZip(f"its member {member.name!r} cannot be read: {error}") from error

    def _write(self, member: ZipMember) -> None:
        if not member.name:
            raise BadZip("it holds a member without a name")
        if member.is_directory:
            self._writer.directory(member.name, member.mtime)
        elif stat.S_ISLNK(member.mode):
            self._writer.symbolic_link(member.name, self._link_of(member))
        elif stat.S_IFMT(member.mode) in _CONTENT:
            self._writer.file(member.name, member.size, member.mode, member.mtime, self._content(member))
        else:
            raise UnsafeMember(f"{member.name!r}, which is neither a file nor a directory nor a link")

    def _link_of(self, member: ZipMember) -> str:
        if member.size > _LONGEST_LINK:
            raise BrokenStream("it is a link to a name that is too long")
        return os.fsdecode(b"".join(self._content(member)))

    def _content(self, member: ZipMember) -> Iterator[bytes]:
        """The content of a member, as long as it is said to be and with the checksum that it is said to have."""
        size = crc32 = 0
        plain = self._plain(member)
        while size < member.size and (piece := plain.read(min(PIECE, member.size - size))):
            check(self._cancelled)
            self._writer.unpacked(len(piece), self.size)
            size, crc32 = size + len(piece), zlib.crc32(piece, crc32)
            yield piece
        if (size, crc32) != (member.size, member.crc32):
            raise BrokenStream("its size or its checksum is not what the directory says")

    def _plain(self, member: ZipMember) -> IO[bytes]:
        if member.is_encrypted:
            raise BrokenStream("it is encrypted")
        if member.method not in _METHODS:
            raise BrokenStream(f"it is {_NOT_READ.get(member.method, f'packed by method {member.method}')}")
        self._packed += member.packed
        if self._packed > self.size:
            raise BrokenStream("it overlaps others")
        self._source.seek(content_offset(self._source, member))
        return cast("IO[bytes]", _METHODS[member.method](self._source, member, self._max_memory))


class _Part:
    """``head``, and the next ``size`` bytes of ``source``."""

    def __init__(self, source: IO[bytes], size: int, head: bytes = b"") -> None:
        self._source = source
        self._left = size
        self._head = head

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes, or fewer."""
        piece, self._head = self._head[:size], self._head[size:]
        if not piece:
            piece = self._source.read(min(size, self._left))
            self._left -= len(piece)
        return piece


_Open = Callable[[IO[bytes], int], object]


def _with(codec: _Open) -> Callable[[IO[bytes], ZipMember, int], object]:
    return lambda source, member, most: codec(cast("IO[bytes]", _Part(source, member.packed)), most)


def _lzma(source: IO[bytes], member: ZipMember, max_memory: int) -> object:
    """A member in LZMA has a version, the size of what follows, and the properties that an ``.lzma`` file begins with.

    There, the size of the content stands behind them, or that its end is marked.
    """
    head = source.read(4)
    properties = source.read(int.from_bytes(head[2:], "little"))
    size = b"\xff" * 8 if member.has_end_marker else member.size.to_bytes(8, "little")
    packed = max(0, member.packed - len(head) - len(properties))
    return lzma_alone(cast("IO[bytes]", _Part(source, packed, properties + size)), max_memory)


_METHODS: dict[int, Callable[[IO[bytes], ZipMember, int], object]] = {
    _STORED: lambda source, member, _: _Part(source, member.packed),
    8: _with(deflate),
    12: _with(bzip2),
    14: _lzma,
    20: _with(zstd),
    93: _with(zstd),
    95: _with(xz),
}
