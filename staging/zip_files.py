"""Zip files become trees."""

from __future__ import annotations

import lzma
import struct
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Event as Flag

from staging.decompression import memory_exceeded
from staging.errors import BadTarball
from staging.member_names import UnsafeMember, plain
from staging.retry import check
from staging.selection import Selection, Unpacked
from staging.tree import TreeWriter, UnpackLimits

_PIECE = 256 * 1024
_LENGTHS = 26  # bytes of a local header before the lengths of the name and of the extra field
_BROKEN: tuple[type[Exception], ...] = (
    zipfile.BadZipFile,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


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
        with zipfile.ZipFile(archive) as source:
            for member in source.infolist():
                check(cancelled)
                path = plain(member.filename)
                if selection.takes(path):
                    found.add(selection.included(path) or "")
                    if _dictionary_of(archive, member) > limits.max_memory:
                        raise memory_exceeded(name, limits.max_memory)
                    try:
                        _write_zipped(writer, source, member, archive.stat().st_size, cancelled)
                    except UnsafeMember as reason:
                        writer.leave_out(member.filename, reason)
    except _BROKEN as error:
        raise BadTarball(name, str(error) or type(error).__name__) from error
    if selection.includes and not found:
        raise BadTarball(name, f"it holds no {' and no '.join(selection.includes)}")
    writer.finish()
    return Unpacked(writer.checksums, writer.holes, writer.left_out, frozenset(found))


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
        writer.leave_out(member.filename, UnsafeMember(f"{member.filename!r}, which is neither a file nor a directory"))
    else:
        with source.open(member) as content:
            writer.file(
                member.filename, member.file_size, mode, mtime, watched(iter(lambda: content.read(_PIECE), b""))
            )
