"""Tarballs and zip files become trees, as their bytes arrive."""

from __future__ import annotations

import errno
import lzma
import struct
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event as Flag
from typing import NamedTuple, cast

import zstandard
from isal import igzip_lib

from staging.decompression import decompressed, memory_exceeded
from staging.errors import BadTarball
from staging.left_out import LeftOut
from staging.member_names import UnsafeMember, checked, plain
from staging.reading import ObjectReader
from staging.retry import check
from staging.tar_headers import Member
from staging.tar_stream import TarStream
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

    @classmethod
    def of(cls, includes: Sequence[str], excludes: Sequence[str]) -> Selection:
        """The selection of these paths, in whatever spelling: slashes at their ends make no difference."""
        return cls(tuple(map(plain, includes)), tuple(map(plain, excludes)))

    def takes(self, name: str) -> bool:
        """Whether the member of that plain name is unpacked."""
        if self.includes and self.included(name) is None:
            return False
        return not any(_is_at_or_below(name, path) for path in self.excludes)

    def included(self, name: str) -> str | None:
        """The path that has the member of that plain name included; None where none has."""
        return next((path for path in self.includes if _is_at_or_below(name, path)), None)


EVERYTHING = Selection()

Again = Callable[[], AbstractContextManager[ObjectReader]]


@dataclass(frozen=True)
class Unpacked:
    """What became of a tarball.

    Attributes:
        checksums: the crc32c of every file that was written, by its path below the directory.
        holes: bytes of the files that take no room on the disk.
        left_out: what may not be.
        found: the paths that were to be included, and of which there was something.

    """

    checksums: Mapping[str, str]
    holes: int
    left_out: LeftOut
    found: frozenset[str] = frozenset()


def unpack_stream(
    reader: ObjectReader,
    name: str,
    target: Path,
    selection: Selection,
    limits: UnpackLimits,
    cancelled: Flag,
    leaves_out_unsafe: bool = False,
    again: Again | None = None,
) -> Unpacked:
    """Unpack what ``selection`` takes of the tarball that ``reader`` reads into the directory ``target``.

    ``name`` is what errors call it. A link that is taken may lead to a file that is not: then the tarball is read
    ``again``, for that file. With ``leaves_out_unsafe``, what may not be is left out, and is no reason to refuse all.

    Raises:
        BadTarball: it is broken, or holds what must not be, or too much.
        ArchiveError, Cancelled, OSError

    """
    writer = _writer(target, name, limits, leaves_out_unsafe)
    unpacking = _Unpacking(writer, name, selection)
    _pass_over(reader, name, writer, limits, cancelled, unpacking.take_all)
    if unpacking.lacks() and again is not None:
        with again() as second:
            _pass_over(second, name, writer, limits, cancelled, unpacking.take_what_lacks)
            second.finish()
        unpacking.lacks()  # where a link led to a link
    unpacking.finish()
    return Unpacked(writer.checksums, writer.holes, writer.left_out, frozenset(unpacking.found))


def _pass_over(
    reader: ObjectReader,
    name: str,
    writer: TreeWriter,
    limits: UnpackLimits,
    cancelled: Flag,
    take: Callable[[TarStream], None],
) -> None:
    """Have all that ``reader`` reads taken from a stream of members."""

    def watch(count: int) -> None:
        check(cancelled)
        writer.unpacked(count, reader.offset)

    check(cancelled)
    with _told_as_bad(name), decompressed(reader, name, limits.max_memory) as content:
        take(TarStream(content.read, watch))


@contextmanager
def _told_as_bad(name: str) -> Iterator[None]:
    """Say in one way that a tarball is broken, whichever part of the work finds it out."""
    try:
        yield
    except _BROKEN as error:
        raise BadTarball(name, str(error) or "it ends too early") from error
    except OSError as error:
        # The decompressors say "Invalid data stream" with an OSError that has no errno; the disk's own have one.
        if error.errno == errno.ENAMETOOLONG:
            raise BadTarball(name, "it holds a name that is too long for this devserver's directory") from error
        if error.errno is not None:
            raise
        raise BadTarball(name, str(error)) from error


class _Unpacking:
    """The members of one tarball on their way into a tree, in one pass, or in two where links ask for it."""

    def __init__(self, writer: TreeWriter, name: str, selection: Selection) -> None:
        self._writer = writer
        self._name = name
        self._selection = selection
        self._selects = bool(selection.includes or selection.excludes)
        # What is still to come, by its plain name, and the links that want it.
        self._wanted: dict[str, list[str]] = {}
        self._aliases: dict[str, str] = {}  # hard links that were not taken, and what they lead to
        self._leads: dict[str, str] = {}  # symbolic links that were not taken, which lead to what was to be included
        self.found: set[str] = set()

    def take_all(self, stream: TarStream) -> None:
        """Write the members that are to be unpacked."""
        while (member := stream.next_member()) is not None:
            if not self._selects:
                self._write(member, stream)
                continue
            name = plain(member.name)
            if self._selection.takes(name):
                self._note_found(name)
                self._write(member, stream)
            else:
                self._note_left(name, member)

    def lacks(self) -> bool:
        """Whether something that is to be unpacked leads to what was not, and may still come."""
        for include in self._selection.includes:
            target = self._writer.dangling_at(include)
            if target is not None:
                self._wanted.setdefault(self._resolved(target), [])
        for name, links in list(self._wanted.items()):
            self._wanted[name] = [link for link in links if not self._writer.has(link)]
            if links and not self._wanted[name]:  # something else came in the place of each
                del self._wanted[name]
        return bool(self._wanted)

    def take_what_lacks(self, stream: TarStream) -> None:
        """Write the files that are still to come, each under the names of the links that want it."""
        while (member := stream.next_member()) is not None:
            name = plain(member.name)
            if name in self._wanted and (member.is_file or member.is_symbolic_link):
                first, *others = self._wanted.pop(name) or [name]
                self._write(replace(member, name=first), stream)
                for other in others:
                    self._write(replace(member, name=other, kind=tarfile.LNKTYPE, link=first), stream)

    def finish(self) -> None:
        """Find out what never came, and finish the tree."""
        for name, links in self._wanted.items():
            if not links:
                raise BadTarball(self._name, f"it holds a link to {name!r}, which is to be unpacked, and not that")
            for link in links:
                self._writer.leave_out(link, UnsafeMember(f"the link {link!r} to {name!r}, which is no file in it"))
        if self._selection.includes and not self.found:
            raise BadTarball(self._name, f"it holds no {' and no '.join(self._selection.includes)}{self._lead()}")
        with _told_as_bad(self._name):
            self._writer.finish()

    def _write(self, member: Member, stream: TarStream) -> None:
        try:
            if member.is_hard_link and self._is_to_come(member):
                self._wanted.setdefault(self._resolved(plain(member.link)), []).append(member.name)
            else:
                _write(self._writer, member, stream.content())
        except UnsafeMember as reason:
            self._writer.leave_out(member.name, reason)

    def _is_to_come(self, member: Member) -> bool:
        """Whether a hard link leads to a member that was not taken."""
        if not self._selects or self._writer.has(member.link):
            return False
        checked(member.name)
        return not self._selection.takes(plain(checked(member.link)))

    def _resolved(self, name: str) -> str:
        for _ in range(len(self._aliases)):
            if name not in self._aliases:
                break
            name = self._aliases[name]
        return name

    def _note_found(self, name: str) -> None:
        include = self._selection.included(name)
        if include is not None:
            self.found.add(include)

    def _note_left(self, name: str, member: Member) -> None:
        self._writer.skip(member.file_size if member.is_file else 0)
        if member.is_hard_link:
            self._aliases[name] = plain(member.link)
        elif member.is_symbolic_link:
            below = [path for path in self._selection.includes if path.startswith(f"{name}/")]
            self._leads.update((path, f"{name!r} is a link to {member.link!r}") for path in below)

    def _lead(self) -> str:
        """What may explain that something is not found."""
        return "".join(f"; {lead}" for lead in self._leads.values())


def unpack_zip(
    archive: Path,
    name: str,
    target: Path,
    selection: Selection,
    limits: UnpackLimits,
    cancelled: Flag,
    leaves_out_unsafe: bool = False,
) -> Unpacked:
    """Unpack the zip file ``archive``, like :func:`unpack_stream`; its directory is at its end, so it needs a file."""
    writer = _writer(target, name, limits, leaves_out_unsafe)
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
    except _BROKEN_ZIP as error:
        raise BadTarball(name, str(error) or type(error).__name__) from error
    _check_found(target, name, selection)
    writer.finish()
    return Unpacked(writer.checksums, writer.holes, writer.left_out, frozenset(found))


def _writer(target: Path, name: str, limits: UnpackLimits, leaves_out_unsafe: bool = False) -> TreeWriter:
    target.mkdir(parents=True, exist_ok=True)
    return TreeWriter(target, name, limits, leaves_out_unsafe)


def _is_at_or_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def _check_found(target: Path, name: str, selection: Selection) -> None:
    if selection.includes and not any(target.iterdir()):
        raise BadTarball(name, f"it holds no {' and no '.join(selection.includes)}")


def _write(writer: TreeWriter, member: Member, content: Iterator[bytes]) -> None:
    if member.is_file:
        writer.file(member.name, member.file_size, member.mode, member.mtime, content, member.sparse)
    elif member.is_directory:
        writer.directory(member.name, member.mtime)
    elif member.is_symbolic_link:
        writer.symbolic_link(member.name, member.link)
    elif member.is_hard_link:
        writer.hard_link(member.name, member.link)
    else:
        raise UnsafeMember(f"{member.name!r}, which is neither a file nor a directory nor a link")


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
