"""Tarballs become trees, as their bytes arrive."""

from __future__ import annotations

import errno
import tarfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event as Flag

from staging.decompression import tarball_in
from staging.errors import BadTarball
from staging.member_names import UnsafeMember, checked, plain
from staging.reading import ObjectReader
from staging.retry import check
from staging.selection import Selection, Unpacked
from staging.tar_headers import Member
from staging.tar_stream import TarStream
from staging.tree import TreeWriter, UnpackLimits

_BROKEN = (tarfile.TarError, EOFError)

Again = Callable[[], AbstractContextManager[ObjectReader]]


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
        writer.unpacked(count, reader.size)

    check(cancelled)
    with _told_as_bad(name), tarball_in(reader, name, limits.max_memory) as content:
        take(TarStream(content.read, watch))


@contextmanager
def _told_as_bad(name: str) -> Iterator[None]:
    """Say in one way that a tarball is broken, whichever part of the work finds it out."""
    try:
        yield
    except _BROKEN as error:
        raise BadTarball(name, str(error) or "it ends too early") from error
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise BadTarball(name, "it holds a name that is too long for this devserver's directory") from error


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


def _writer(target: Path, name: str, limits: UnpackLimits, leaves_out_unsafe: bool = False) -> TreeWriter:
    target.mkdir(parents=True, exist_ok=True)
    return TreeWriter(target, name, limits, leaves_out_unsafe)


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
