"""Tarballs and zip files become trees, as their bytes arrive."""

from __future__ import annotations

import lzma
import struct
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from threading import Event as Flag
from typing import IO, NamedTuple, cast

import zstandard
from isal import igzip_lib

from staging.decompression import decompressed, memory_exceeded
from staging.errors import BadTarball
from staging.reading import ObjectReader
from staging.retry import check
from staging.tar_headers import Member, next_member, padding
from staging.tree import TreeWriter, UnpackLimits

_PIECE = 256 * 1024
_LENGTHS = 26  # bytes of a zip file's local header before the lengths of the name and of the extra field
_BROKEN: tuple[type[Exception], ...] = (
    tarfile.TarError,
    zipfile.BadZipFile,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    zstandard.ZstdError,
    cast("type[Exception]", igzip_lib.IsalError),  # which its stubs take for an instance
)

_BROKEN_ZIP: tuple[type[Exception], ...] = (*_BROKEN, struct.error, NotImplementedError, RuntimeError, ValueError)


class Selection(NamedTuple):
    """Which members of a tarball are unpacked. A path stands for itself and for all that lies below it.

    Attributes:
        includes: paths that alone are; empty for all.
        excludes: paths that are not.

    """

    includes: Sequence[str] = ()
    excludes: Sequence[str] = ()

    def takes(self, path: str) -> bool:
        """Whether the member at ``path`` is unpacked."""
        plain = path.removeprefix("./").rstrip("/")
        if self.includes and not _is_below(plain, self.includes):
            return False
        return not _is_below(plain, self.excludes)


EVERYTHING = Selection()


def unpack_stream(
    reader: ObjectReader, name: str, target: Path, selection: Selection, limits: UnpackLimits, cancelled: Flag
) -> dict[str, str]:
    """Unpack what ``selection`` takes of the tarball that ``reader`` reads into the directory ``target``.

    ``name`` is what errors call it. Returns the crc32c of every file that was written, by its path below ``target``.

    Raises:
        BadTarball: it is broken, or holds what must not be, or too much.
        ArchiveError, Cancelled, OSError

    """
    writer = _writer(target, name, limits)

    def watched(pieces: Iterable[bytes]) -> Iterator[bytes]:
        check(cancelled)
        for piece in pieces:
            check(cancelled)
            writer.unpacked(len(piece), reader.offset)
            yield piece

    try:
        with decompressed(reader, name, limits.max_memory) as plain:
            _write_members(plain, writer, selection, watched)
    except _BROKEN as error:
        raise BadTarball(name, str(error) or "it ends too early") from error
    except OSError as error:
        # The decompressors say "Invalid data stream" with an OSError that has no errno; the disk's own have one.
        if error.errno is not None:
            raise
        raise BadTarball(name, str(error)) from error
    _check_found(target, name, selection)
    writer.finish()
    return writer.checksums


def unpack_zip(
    archive: Path, name: str, target: Path, selection: Selection, limits: UnpackLimits, cancelled: Flag
) -> dict[str, str]:
    """Unpack the zip file ``archive``, like :func:`unpack_stream`; its directory is at its end, so it needs a file."""
    writer = _writer(target, name, limits)
    try:
        with zipfile.ZipFile(archive) as source:
            for member in source.infolist():
                check(cancelled)
                if selection.takes(member.filename):
                    if _dictionary_of(archive, member) > limits.max_memory:
                        raise memory_exceeded(name, limits.max_memory)
                    _write_zipped(writer, source, member, archive.stat().st_size, cancelled)
    except _BROKEN_ZIP as error:
        raise BadTarball(name, str(error) or type(error).__name__) from error
    _check_found(target, name, selection)
    writer.finish()
    return writer.checksums


def _writer(target: Path, name: str, limits: UnpackLimits) -> TreeWriter:
    target.mkdir(parents=True, exist_ok=True)
    return TreeWriter(target, name, limits)


def _is_below(path: str, folders: Sequence[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def _check_found(target: Path, name: str, selection: Selection) -> None:
    if selection.includes and not any(target.iterdir()):
        raise BadTarball(name, f"it holds no {' and no '.join(selection.includes)}")


def _write(writer: TreeWriter, member: Member, content: Iterator[bytes]) -> None:
    if member.is_file:
        writer.file(member.name, member.size, member.mode, member.mtime, content)
    elif member.is_directory:
        writer.directory(member.name, member.mtime)
    elif member.is_symbolic_link:
        writer.symbolic_link(member.name, member.link)
    elif member.is_hard_link:
        writer.hard_link(member.name, member.link)
    else:
        writer.refuse(member.name, "neither a file nor a directory nor a link")


def _write_members(
    plain: IO[bytes], writer: TreeWriter, selection: Selection, watched: Callable[[Iterable[bytes]], Iterator[bytes]]
) -> None:
    """Write the members of a tar stream that are wanted, every piece of it ``watched``."""
    while (member := next_member(plain.read)) is not None:
        content = watched(_content(plain, member.size if member.is_file else 0))
        if selection.takes(member.name):
            _write(writer, member, content)
        else:
            writer.skip(member.size)
        for _ in content:
            pass
    # What lies behind the last member is part of the stream: a decompressor checks it at its end.
    for _ in watched(iter(partial(plain.read, _PIECE), b"")):
        pass


def _content(plain: IO[bytes], size: int) -> Iterator[bytes]:
    """The next ``size`` bytes, in pieces, and past the padding behind them."""
    left = size
    while left:
        piece = plain.read(min(left, _PIECE))
        if not piece:
            raise EOFError("it ends too early")
        left -= len(piece)
        yield piece
    plain.read(padding(size))


def _dictionary_of(archive: Path, member: zipfile.ZipInfo) -> int:
    """Bytes of memory that decompressing a member takes beyond the usual: a dictionary of LZMA's may be gigabytes."""
    if member.compress_type != zipfile.ZIP_LZMA:
        return 0
    with archive.open("rb") as source:
        source.seek(member.header_offset + _LENGTHS)
        name, extra = struct.unpack("<HH", source.read(4))
        source.seek(member.header_offset + _LENGTHS + 4 + name + extra)
        head = source.read(9)  # a version, the size of what follows, and LZMA's properties
    return int.from_bytes(head[5:9], "little") if len(head) == 9 else 0


def _check_described(member: zipfile.ZipInfo, packed: int) -> None:
    """Refuse what zipfile fails at: it takes a name for granted, and asks the file system for any place."""
    if not member.filename:
        raise zipfile.BadZipFile("a member has no name")
    if not 0 <= member.header_offset < packed:
        raise zipfile.BadZipFile("a member begins outside of the file")


def _write_zipped(
    writer: TreeWriter, source: zipfile.ZipFile, member: zipfile.ZipInfo, packed: int, cancelled: Flag
) -> None:
    def watched(pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            check(cancelled)
            writer.unpacked(len(piece), packed)
            yield piece

    _check_described(member, packed)
    mode = member.external_attr >> 16
    try:
        mtime = time.mktime((*member.date_time, 0, 0, -1))
    except (ValueError, OverflowError):
        mtime = 0.0
    if member.is_dir():
        writer.directory(member.filename, mtime)
    elif mode & 0o170000 not in (0, 0o100000):
        writer.refuse(member.filename, "neither a file nor a directory")
    else:
        with source.open(member) as content:
            writer.file(
                member.filename, member.file_size, mode, mtime, watched(iter(lambda: content.read(_PIECE), b""))
            )
