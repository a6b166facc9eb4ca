"""Headers of tar archives, as POSIX.1-2017 (pax, "ustar interchange format") and GNU tar write them.

Read here, and not by tarfile, because a build holds tens of thousands of files of a few kilobytes: tarfile takes as
long for the header of such a file as it takes to be written.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

BLOCK = 512  # bytes; everything in a tar archive begins at a multiple of it

_TYPE = 156  # the offset of the one byte that says what a header is of
_SPACES = 8 * ord(" ")  # what a checksum counts for in its own sum
_LONGEST_NUMBER = 12  # digits that a length may take
_MOST_EXTENSIONS = 8  # headers that one member may have before its own
_LONGEST_EXTENSION = 1024 * 1024  # bytes that a name or a set of pax fields may take
# Headers that say something of the member behind them.
_EXTENSIONS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.XGLTYPE,
)
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)

Read = Callable[[int], bytes]


@dataclass
class Member:
    """One member of an archive, as its headers describe it.

    Attributes:
        size: bytes of content that follow, if it is a file.

    """

    name: str
    kind: bytes
    mode: int
    size: int
    mtime: float
    link: str

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return self.kind in _FILES

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return self.kind == tarfile.DIRTYPE

    @property
    def is_symbolic_link(self) -> bool:
        """Whether it is a symbolic link, to ``link``."""
        return self.kind == tarfile.SYMTYPE

    @property
    def is_hard_link(self) -> bool:
        """Whether it is another name of the member ``link``."""
        return self.kind == tarfile.LNKTYPE


def next_member(read: Read) -> Member | None:
    """The next member of the archive that ``read`` reads, which stands at its content then; None at the end.

    ``read`` returns as many bytes as it is asked for, or fewer at the end of all.

    Raises:
        tarfile.TarError: a header is broken, or the member is of a kind that is not supported.
        EOFError: the archive ends too early.

    """
    fields: dict[str, str] = {}
    for _ in range(_MOST_EXTENSIONS + 1):
        header = read(BLOCK)
        if len(header) < BLOCK:
            raise EOFError("it ends too early")
        if not header[0] and not any(header):
            return None
        member = _member(header)
        if member.kind not in _EXTENSIONS:
            return _with_fields(member, fields)
        extended = _extended(read, member)
        if member.kind != tarfile.XGLTYPE:  # which is for all members, and says nothing of a file
            fields.update(extended)
    raise tarfile.ReadError("it holds too many headers for one member")


def padding(size: int) -> int:
    """The bytes that follow ``size`` bytes of content, up to the next header."""
    return -size % BLOCK


def _member(header: bytes) -> Member:
    if _number(header[148:156]) != sum(header) - sum(header[148:156]) + _SPACES:
        raise tarfile.ReadError("it holds a broken header")
    name = _text(header[:100])
    kind = header[_TYPE : _TYPE + 1]
    if header[257:263] == b"ustar\0" and header[345]:
        name = f"{_text(header[345:500])}/{name}"
    if kind == tarfile.AREGTYPE and name.endswith("/"):  # how directories were before there was a type for them
        kind = tarfile.DIRTYPE
    mode, size, mtime = _number(header[100:108]), _number(header[124:136]), _number(header[136:148])
    return Member(name, kind, mode, size, mtime, _text(header[157:257]))


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _number(field: bytes) -> int:
    """A number in octal digits or, where its first bit is set, in binary: GNU tar's, for what needs more digits."""
    if field[0] & 0x80:
        return int.from_bytes(field, "big", signed=True) + (0 if field[0] == 0xFF else 1 << (8 * len(field) - 1))
    try:
        return int(field.partition(b"\0")[0] or b"0", 8)
    except ValueError:
        if not field.strip(b" \0"):
            return 0
        raise tarfile.ReadError("it holds a number that cannot be read") from None


def _extended(read: Read, member: Member) -> dict[str, str]:
    """The fields that a header brings for the member behind it, in the names of the pax format."""
    if not 0 <= member.size <= _LONGEST_EXTENSION:
        raise tarfile.ReadError("it holds a header that is too long")
    payload = read(member.size)
    if len(payload) < member.size:
        raise EOFError("it ends too early")
    read(padding(member.size))
    text = payload.rstrip(b"\0").decode("utf-8", "surrogateescape")
    if member.kind == tarfile.GNUTYPE_LONGNAME:
        return {"path": text}
    if member.kind == tarfile.GNUTYPE_LONGLINK:
        return {"linkpath": text}
    return dict(_pax_fields(payload))


def _pax_fields(payload: bytes) -> Iterator[tuple[str, str]]:
    """The records of a pax header: a length that counts itself, a space, ``key=value``, a newline."""
    start = 0
    while start < len(payload):
        if not payload[start]:  # what lies behind the last record is padding
            return
        space = payload.find(b" ", start, start + _LONGEST_NUMBER)
        digits = payload[start : max(space, start)]
        stop = start + (int(digits) if digits.isdigit() else 0)
        key, equals, value = payload[space + 1 : stop - 1].partition(b"=")
        if not (start < space < stop <= len(payload) and equals and payload[stop - 1 : stop] == b"\n"):
            raise tarfile.ReadError("it holds a header that cannot be read")
        yield key.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape")
        start = stop


def _with_fields(member: Member, fields: Mapping[str, str]) -> Member:
    if member.kind == tarfile.GNUTYPE_SPARSE or any(field.startswith("GNU.sparse.") for field in fields):
        raise tarfile.ReadError(f"it holds the sparse file {member.name!r}")
    # An empty value stands for what the header itself says.
    member.name = fields.get("path") or member.name
    member.link = fields.get("linkpath") or member.link
    try:
        member.size = int(fields.get("size", member.size))
        member.mtime = float(fields.get("mtime", member.mtime))
    except ValueError as error:
        raise tarfile.ReadError("it holds a number that cannot be read") from error
    if member.size < 0:
        raise tarfile.ReadError("it holds a file of negative size")
    return member
