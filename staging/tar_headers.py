"""Headers of tar archives, as POSIX.1-2017 (pax, "ustar interchange format") and GNU tar write them.

Read here, and not by tarfile, because a build holds tens of thousands of files of a few kilobytes: tarfile takes as
long for the header of such a file as it takes to be written.
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass

from staging.sparse import BLOCK, SparseMap

VOLUME_LABEL, DUMP_DIRECTORY, LATER_VOLUME, OLD_LONG_NAMES = b"V", b"D", b"M", b"N"  # of GNU tar
DEVICES_AND_PIPES = (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)

_TYPE = 156  # the offset of the one byte that says what a header is of
_SPACES = 8 * ord(" ")  # what a checksum counts for in its own sum
_POSIX, _GNU = b"ustar\0", b"ustar "
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE)
_NO_FILES = (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, DUMP_DIRECTORY, *DEVICES_AND_PIPES)


@dataclass
class Member:
    """One member of an archive, as its headers describe it.

    Attributes:
        size: bytes of content that follow.
        sparse: which stretches of the file these are; None where they are the whole file.

    """

    name: str
    kind: bytes
    mode: int
    size: int
    mtime: float
    link: str
    sparse: SparseMap | None = None

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file; so is what is of a kind that nobody knows, as POSIX has it."""
        return self.kind in _FILES or self.kind not in _NO_FILES

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return self.kind in (tarfile.DIRTYPE, DUMP_DIRECTORY)

    @property
    def is_symbolic_link(self) -> bool:
        """Whether it is a symbolic link, to ``link``."""
        return self.kind == tarfile.SYMTYPE

    @property
    def is_hard_link(self) -> bool:
        """Whether it is another name of the member ``link``."""
        return self.kind == tarfile.LNKTYPE

    @property
    def file_size(self) -> int:
        """Bytes of the file, holes included."""
        return self.sparse.size if self.sparse else self.size


def padding(size: int) -> int:
    """The bytes that follow ``size`` bytes of content, up to the next header."""
    return -size % BLOCK


def is_header(block: bytes) -> bool:
    """Whether a block of an archive is a header: its checksum tells. Some writers summed up signed bytes."""
    if len(block) < BLOCK or not any(block):
        return False
    return _is_sum_right(block)


def _is_sum_right(block: bytes) -> bool:
    try:
        stated = number(block[148:156])
    except tarfile.ReadError:
        return False
    total = sum(block) - sum(block[148:156]) + _SPACES
    return stated == total or stated == total - 256 * sum(byte > 127 for byte in block[:148] + block[156:])


def member_of(header: bytes) -> Member:
    """The member that a header is of, as far as the header alone tells.

    Raises:
        tarfile.ReadError: the header is broken.

    """
    if not _is_sum_right(header):
        raise tarfile.ReadError("it holds a broken header")
    name = text(header[:100])
    kind = header[_TYPE : _TYPE + 1]
    if header[257:263] == _POSIX and header[345]:
        name = f"{text(header[345:500])}/{name}"
    mode, size, mtime = number(header[100:108]), number(header[124:136]), number(header[136:148])
    if kind == tarfile.GNUTYPE_SPARSE and header[257:263] != _GNU:
        raise tarfile.ReadError(f"it holds the sparse file {name!r} in a format that is not GNU tar's")
    return Member(name, kind, mode, size, mtime, text(header[157:257]))


def text(field: bytes) -> str:
    """A text in a header, which ends with the field or with a null byte."""
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def number(field: bytes) -> int:
    """A number in octal digits or, where its first bit is set, in binary: GNU tar's, for what needs more digits.

    Raises:
        tarfile.ReadError

    """
    if field[0] & 0x80:
        return int.from_bytes(field, "big", signed=True) + (0 if field[0] == 0xFF else 1 << (8 * len(field) - 1))
    try:
        return int(field.partition(b"\0")[0] or b"0", 8)
    except ValueError:
        if not field.strip(b" \0"):
            return 0
        raise tarfile.ReadError("it holds a number that cannot be read") from None
