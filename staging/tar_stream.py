"""A tar archive as a stream: one member after the other, and the content of each."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace

from staging.pax import pax_fields
from staging.sparse import BLOCK, FIELDS, SparseMap, of_fields, of_old_header
from staging.tar_headers import (
    DUMP_DIRECTORY,
    LATER_VOLUME,
    OLD_LONG_NAMES,
    VOLUME_LABEL,
    Member,
    is_header,
    member_of,
    number,
    padding,
    text,
)

_PIECE = 256 * 1024  # bytes, a multiple of a block
_TOLD_EVERY = 64 * 1024  # bytes
_MOST_EXTENSIONS = 8  # headers that one member may have before its own
_LONGEST_NAME = 64 * 1024  # bytes that a name may take in a header of its own
_EARLY = "it ends too early"
_LONG_NAMES = {tarfile.GNUTYPE_LONGNAME: "path", tarfile.GNUTYPE_LONGLINK: "linkpath"}
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_EXTENSIONS = (*_PAX, *_LONG_NAMES, tarfile.XGLTYPE, VOLUME_LABEL)
_OF_ALL = ("mtime",)  # the fields of a global header that can be true of more than one member
_LONGEST_NUMBER = 20  # digits
_SPARSE_NAME = f"{FIELDS}name"

Fields = dict[str, str]


class TarStream:
    """The members of the archive that ``read`` reads.

    ``read`` returns as many bytes as it is asked for, or fewer at the end of all. Archives that were put one behind the
    other are read as one, and what lies behind the last of them is left.
    """

    def __init__(self, read: Callable[[int], bytes], on_bytes: Callable[[int], None]) -> None:
        """``on_bytes`` is told of what was read, headers too, now and then, and may raise."""
        self._read_on = read
        self._on_bytes = on_bytes
        self._ahead = b""  # read already, and not asked for yet
        self._untold = 0
        self._left = 0  # of the member's content
        self._padding = 0  # behind it
        self._of_all: Fields = {}
        self._has_members = False

    def next_member(self) -> Member | None:
        """The next member, at whose content the stream stands then; None at the end of all.

        Raises:
            tarfile.TarError: a header is broken, or the member is of a kind that is not supported.
            EOFError: the archive ends too early.

        """
        self._go_past()
        fields: Fields = {}
        extensions = 0
        while (header := self._header(is_end_near=not extensions)) is not None:
            member = member_of(header)
            self._has_members = True
            if not self._is_extension(member, fields):
                return self._described(member, header, fields)
            extensions += member.kind not in (tarfile.XGLTYPE, VOLUME_LABEL)
            if extensions > _MOST_EXTENSIONS:
                raise tarfile.ReadError("it holds too many headers for one member")
        return None

    def content(self) -> Iterator[bytes]:
        """The content of the member, or what is left of it, in pieces."""
        while self._left:
            piece = self._read(min(self._left, _PIECE))
            if not piece:
                raise EOFError(_EARLY)
            self._left -= len(piece)
            yield piece

    def _read(self, count: int) -> bytes:
        """As many bytes, or fewer at the end."""
        if not self._ahead:
            piece = self._read_on(count)
            self._untold += len(piece)
            if self._untold >= _TOLD_EVERY:
                self._on_bytes(self._untold)
                self._untold = 0
            return piece
        piece, self._ahead = self._ahead[:count], self._ahead[count:]
        return piece if len(piece) == count or self._ahead else piece + self._read(count - len(piece))

    def _go_past(self) -> None:
        """Go past what is left of the member, but for its padding."""
        for _ in self.content():
            pass

    def _header(self, is_end_near: bool) -> bytes | None:
        """The next header; None at the end of all."""
        before, self._padding = self._padding, 0
        block = self._read(before + BLOCK)[before:]
        if len(block) == BLOCK and (block[0] or any(block)):
            return block
        if (block and len(block) < BLOCK) or not is_end_near:
            raise EOFError(_EARLY)
        if not block and not self._has_members:
            raise EOFError("it is empty")
        return self._behind_the_end() if block else None

    def _behind_the_end(self) -> bytes | None:
        """The header of another archive behind the end of one; None where there is none."""
        header = None
        while header is None and (piece := self._read(_PIECE)):
            zeros = len(piece) - len(piece.lstrip(b"\0"))
            start = zeros // BLOCK * BLOCK
            if zeros < len(piece) and is_header(piece[start : start + BLOCK]):
                header, self._ahead = piece[start : start + BLOCK], piece[start + BLOCK :] + self._ahead
            elif zeros < len(piece) and not self._has_members:
                raise tarfile.ReadError("it is no tar archive: it begins with zeros, and goes on with something else")
            elif zeros < len(piece):
                break
        while header is None and self._read(_PIECE):
            pass  # it is part of the stream: a decompressor checks it at its end
        return header

    def _is_extension(self, member: Member, fields: Fields) -> bool:
        """Whether a header says something of the member behind it; that is added to ``fields``."""
        if member.kind in (LATER_VOLUME, OLD_LONG_NAMES):
            raise tarfile.ReadError(_refusal_of(member))
        if member.kind not in _EXTENSIONS:
            return False
        if member.size < 0:
            raise tarfile.ReadError("it holds a header of negative size")
        self._left, self._padding = member.size, padding(member.size)
        if member.kind in _PAX:
            fields.update(pax_fields(self._read_of_member, member.size))
        elif member.kind in _LONG_NAMES:
            fields[_LONG_NAMES[member.kind]] = self._long_name()
        elif member.kind == tarfile.XGLTYPE:
            self._note_for_all(member)
        self._go_past()
        return True

    def _long_name(self) -> str:
        if self._left > _LONGEST_NAME:
            raise tarfile.ReadError("it holds a header that is too long")
        count = self._left
        name = self._read_of_member(count)
        if len(name) < count:
            raise EOFError(_EARLY)
        return text(name)

    def _note_for_all(self, member: Member) -> None:
        """Note what a header says of all members behind it. One that cannot be read most often holds a comment alone:
        git's has the commit.
        """
        try:
            found = pax_fields(self._read_of_member, member.size)
        except tarfile.ReadError:
            return
        if "GNU.volume.filename" in found:
            raise tarfile.ReadError(_refusal_of(replace(member, name=found["GNU.volume.filename"])))
        of_one = [field for field in found if field not in _OF_ALL and not field.startswith("GNU.volume.")]
        if of_one:
            raise tarfile.ReadError(f"it holds a header that says {of_one[0]!r} of all its members")
        self._of_all.update(found)

    def _described(self, member: Member, header: bytes, fields: Fields) -> Member:
        """The member, as all of its headers describe it; the stream stands at its content then."""
        _apply(fields, self._of_all, member)
        if member.size < 0:
            raise tarfile.ReadError("it holds a file of negative size")
        is_file = member.is_file
        if is_file and member.name.endswith("/"):  # as Unix had it before 1988
            member.kind, is_file = tarfile.DIRTYPE, False
            self._left = member.size
        elif is_file or member.kind == DUMP_DIRECTORY or (member.is_hard_link and self._is_content_ahead(member)):
            self._left = member.size
        self._padding = -self._left % BLOCK
        if is_file:
            member.sparse = self._sparse_map(member, header, fields)
        member.size = self._left
        return member

    def _is_content_ahead(self, member: Member) -> bool:
        """Whether a hard link comes with the content of the file, as pax may write it; others leave that out and may
        state a size all the same.
        """
        if not member.size:
            return False
        block = self._read(BLOCK)
        self._ahead = block + self._ahead
        return len(block) == BLOCK and any(block) and not is_header(block)

    def _sparse_map(self, member: Member, header: bytes, fields: Fields) -> SparseMap | None:
        """Which stretches of the file the content is; None for a whole file."""
        if member.kind == tarfile.GNUTYPE_SPARSE:
            found = of_old_header(header, self._read, number, member.name)
        elif fields and any(field.startswith(FIELDS) for field in fields):
            found = of_fields(fields, self._read_of_member, self._left, member.name)
        else:
            return None
        if found.stored != self._left:
            raise tarfile.ReadError(f"it holds {member.name!r} as a sparse file, and not as many bytes as its map says")
        return found

    def _read_of_member(self, count: int) -> bytes:
        """As many bytes of a member's content, or of a header's, or fewer at its end."""
        piece = self._read(min(count, self._left))
        self._left -= len(piece)
        return piece


def _apply(fields: Fields, of_all: Fields, member: Member) -> None:
    """Have the fields of extended headers say what the header itself says; an empty value stands for that."""
    if of_all:
        fields = {**of_all, **fields}
    if not fields:
        return
    member.name = fields.get(_SPARSE_NAME) or fields.get("path") or member.name
    member.link = fields.get("linkpath") or member.link
    size = fields.get("size") or "0"
    if not (size.isascii() and size.isdigit() and len(size) <= _LONGEST_NUMBER):
        raise tarfile.ReadError("it holds a number that cannot be read")
    member.size = int(size) if fields.get("size") else member.size
    try:
        member.mtime = float(fields.get("mtime") or member.mtime)
    except ValueError as error:
        raise tarfile.ReadError("it holds a number that cannot be read") from error


def _refusal_of(member: Member) -> str:
    if member.kind == OLD_LONG_NAMES:
        return f"it holds {member.name!r}, long names as GNU tar wrote them before 1994"
    return f"it is a later volume of an archive of several, and begins within {member.name!r}"
