"""The directory of a zip file, as PKWARE's APPNOTE.TXT 6.3.10 describes it and as archivers write it.

Read here, and not by zipfile, because that makes an object of each member before any is looked at, decodes names by a
code page of 1981, and takes what MS-DOS left in a field for a Unix mode.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from calendar import timegm
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

_END, _END_MAGIC = struct.Struct("<4s4H2LH"), b"PK\5\6"
_LOCATOR, _LOCATOR_MAGIC = struct.Struct("<4sLQL"), b"PK\6\7"
_END64, _END64_MAGIC = struct.Struct("<4sQ2H2L4Q"), b"PK\6\6"
_ENTRY, _ENTRY_MAGIC = struct.Struct("<4s6H3L5H2L"), b"PK\1\2"
_LOCAL, _LOCAL_MAGIC = struct.Struct("<4s5H3L2H"), b"PK\3\4"
_LONGEST_COMMENT = 0xFFFF
_ELSEWHERE, _NO_DISK = 0xFFFFFFFF, 0xFFFF  # what stands where a number is in the field of zip64
_ZIP64, _NTFS, _TIMES, _UNICODE_PATH = 0x0001, 0x000A, 0x5455, 0x7075  # extra fields
_DOS, _UNIX = (0, 6, 10, 14), (3, 19)  # who made a member: MS-DOS, OS/2, Windows, VFAT; Unix, macOS
_DOS_DIRECTORY, _UNIX_BY_7ZIP = 0x10, 0x8000  # bits of a member's attributes
_END_MARKER, _ENCRYPTED, _AES = 0x2, 0x1 | 0x40 | 0x2000, 99
_EPOCH_OF_WINDOWS = 11_644_473_600  # seconds from 1601 to 1970


class BadZip(Exception):
    """A zip file that cannot be read, and why."""


class NoZip(BadZip):
    """What has no directory of a zip file at its end."""


@dataclass(frozen=True)
class ZipMember:
    """One member of a zip file, as the directory describes it.

    Attributes:
        name: its bytes, as a file system has them (:func:`os.fsdecode`); a directory's may end in a slash.
        mode: of Unix, with its type; 0 where the archive has none.
        mtime: in seconds since the epoch.
        method: how it is packed.
        has_end_marker: whether its end is marked where it is packed by LZMA.
        packed, size: bytes, in the zip file and out of it.
        offset: of its local header in the zip file.

    """

    name: str
    mode: int
    mtime: float
    method: int
    has_end_marker: bool
    is_encrypted: bool
    is_directory: bool
    crc32: int
    packed: int
    size: int
    offset: int


def members_of(source: IO[bytes], size: int) -> Iterator[ZipMember]:
    """The members of the zip file ``source`` of ``size`` bytes, one at a time: it may claim any number of them.

    Raises:
        NoZip: it has no directory.
        BadZip: that is broken, or one of a zip file in several parts.

    """
    start, stop, shift = _directory(source, size)
    source.seek(start)
    while start < stop:
        fixed = source.read(_ENTRY.size)
        if len(fixed) < _ENTRY.size or not fixed.startswith(_ENTRY_MAGIC):
            raise BadZip("its directory is broken")
        fields = _ENTRY.unpack(fixed)
        lengths = fields[10:13]
        rest = source.read(sum(lengths))
        if len(rest) < sum(lengths):
            raise BadZip("its directory is cut off")
        yield _member(fields, rest, shift)
        start += _ENTRY.size + len(rest)


def content_offset(source: IO[bytes], member: ZipMember) -> int:
    """Where the content of a member begins.

    Raises:
        BadZip: no member is there.

    """
    source.seek(member.offset)
    local = source.read(_LOCAL.size)
    if len(local) < _LOCAL.size or not local.startswith(_LOCAL_MAGIC):
        raise BadZip(f"its member {member.name!r} is not where the directory says")
    *_, name, extra = _LOCAL.unpack(local)
    return member.offset + _LOCAL.size + int(name) + int(extra)


def _directory(source: IO[bytes], size: int) -> tuple[int, int, int]:
    """Where the directory begins and ends, and by how much more each offset counts: what stands before the zip file."""
    end, tail = _end_record(source, size)
    _, disk, first_disk, *_, length, offset, _ = _END.unpack_from(tail)
    locator = end - _LOCATOR.size
    if locator >= 0 and _at(source, locator, _LOCATOR.size).startswith(_LOCATOR_MAGIC):
        end, disk, first_disk, length, offset = _zip64(source, locator)
    if (disk, first_disk) != (0, 0):
        raise BadZip("it is the last part of a split zip file; zip -s 0 --out whole.zip joins the parts")
    shift = end - length - offset
    if shift < 0:
        raise BadZip("its directory is not where its end says: it is cut off, or broken")
    return end - length, end, shift


def _end_record(source: IO[bytes], size: int) -> tuple[int, bytes]:
    start = max(0, size - _END.size - _LONGEST_COMMENT)
    tail = _at(source, start, size - start)
    at = tail.rfind(_END_MAGIC, 0, len(tail) - _END.size + len(_END_MAGIC))
    while at >= 0 and len(tail) < at + _END.size + _comment(tail, at):
        at = tail.rfind(_END_MAGIC, 0, at)
    if at < 0:
        raise NoZip("it has no directory at its end: it is cut off")
    return start + at, tail[at:]


def _comment(tail: bytes, at: int) -> int:
    return int.from_bytes(tail[at + _END.size - 2 : at + _END.size], "little")


def _zip64(source: IO[bytes], locator: int) -> tuple[int, int, int, int, int]:
    _, _, claimed, disks = _LOCATOR.unpack(_at(source, locator, _LOCATOR.size))
    # Right before its locator, if it has no data of its own; else where it is said to be.
    for end in (locator - _END64.size, claimed):
        record = _at(source, end, _END64.size) if 0 <= end < locator else b""
        if len(record) == _END64.size and record.startswith(_END64_MAGIC):
            *_, disk, first_disk, _, _, length, offset = _END64.unpack(record)
            return end, disk if disks <= 1 else 1, first_disk, length, offset
    raise BadZip("its directory is not where its end says: it is cut off, or broken")


def _at(source: IO[bytes], offset: int, size: int) -> bytes:
    source.seek(offset)
    return source.read(size)


def _member(fields: tuple[int, ...], rest: bytes, shift: int) -> ZipMember:
    _, maker, _, flags, method, time, date, crc32, packed, size, length, extras, _, disk, _, attributes, offset = fields
    extra = dict(_extra_fields(rest[length : length + extras]))
    size, packed, offset, disk = _long_numbers(extra.get(_ZIP64, b""), size, packed, offset, disk)
    if disk:
        raise BadZip("it is a part of a split zip file; zip -s 0 --out whole.zip joins the parts")
    mode = _mode(maker >> 8, attributes)
    name = _name(rest[:length], extra.get(_UNICODE_PATH, b""), maker >> 8)
    is_directory = name.endswith("/") or (not size and (stat.S_ISDIR(mode) or bool(attributes & _DOS_DIRECTORY)))
    return ZipMember(
        name=name,
        mode=mode,
        mtime=_mtime(extra, date, time),
        method=method,
        has_end_marker=bool(flags & _END_MARKER),
        is_encrypted=bool(flags & _ENCRYPTED) or method == _AES,
        is_directory=is_directory,
        crc32=crc32,
        packed=packed,
        size=size,
        offset=offset + shift,
    )


def _extra_fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    """The extra fields, up to the first that is none: archivers pad them, and some leave what they like."""
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<2H", extra, at)
        yield tag, extra[at + 4 : at + 4 + length]
        at += 4 + length


def _long_numbers(field: bytes, *numbers: int) -> Iterator[int]:
    """``numbers``, each from zip64's field where it did not fit into its own."""
    at = 0
    for index, number in enumerate(numbers):
        width, placeholder = (4, _NO_DISK) if index == 3 else (8, _ELSEWHERE)
        if number == placeholder and at + width <= len(field):
            yield int.from_bytes(field[at : at + width], "little")
            at += width
        else:
            yield number


def _mode(maker: int, attributes: int) -> int:
    return attributes >> 16 if maker in _UNIX or attributes & _UNIX_BY_7ZIP else 0


def _name(name: bytes, unicode_path: bytes, maker: int) -> str:
    """A name, as bytes of a file system: what its flag says of UTF-8 changes none of them."""
    if unicode_path[:1] == b"\1" and unicode_path[1:5] == zlib.crc32(name).to_bytes(4, "little"):
        name = unicode_path[5:]
    if maker in _DOS:
        name = name.replace(b"\\", b"/")
    return os.fsdecode(name)


def _mtime(extra: dict[int, bytes], date: int, time: int) -> float:
    """A member's time: that of Unix or of Windows, where it is there; else MS-DOS', which has no zone, taken as UTC."""
    times, windows = extra.get(_TIMES, b""), extra.get(_NTFS, b"")
    if len(times) >= 5 and times[0] & 1:
        return float(int.from_bytes(times[1:5], "little", signed=True))
    if len(windows) >= 16 and windows[4:8] == b"\1\0\x18\0":
        return int.from_bytes(windows[8:16], "little") / 10_000_000 - _EPOCH_OF_WINDOWS
    day = ((date >> 9) + 1980, date >> 5 & 15, date & 31)
    return float(timegm((*day, time >> 11, time >> 5 & 63, time % 32 * 2))) if 1 <= day[1] <= 12 and day[2] else 0.0
