"""Tarballs and zip files become trees, as their bytes arrive."""

from __future__ import annotations

import lzma
import tarfile
import time
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event as Flag
from typing import IO, cast

import zstandard
from isal import igzip_lib

from staging.decompression import decompressed
from staging.errors import BadTarball
from staging.reading import ObjectReader
from staging.retry import check
from staging.tree import TreeWriter, UnpackLimits

_BLOCK = 512  # bytes; the tar format's own
_PIECE = 256 * 1024
_LONGEST_NUMBER = 12  # digits that a length may take
_MOST_EXTENSIONS = 8  # headers that one member may have before its own
_LONGEST_HEADER = 1024 * 1024  # bytes that a name or a set of pax fields may take
_BROKEN: tuple[type[Exception], ...] = (
    tarfile.TarError,
    zipfile.BadZipFile,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    zstandard.ZstdError,
    cast("type[Exception]", igzip_lib.IsalError),  # which its stubs take for an instance
)

_BROKEN_ZIP: tuple[type[Exception], ...] = (*_BROKEN, NotImplementedError, RuntimeError, ValueError)
# Headers that say something of the member behind them.
_EXTENSIONS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.XGLTYPE,
)


def unpack_stream(
    reader: ObjectReader, name: str, target: Path, excludes: Sequence[str], limits: UnpackLimits, cancelled: Flag
) -> None:
    """Unpack the tarball that ``reader`` reads into the directory ``target``, without what is in ``excludes``.

    ``excludes`` are paths in the tarball; what lies below one is left out with it. ``name`` is what errors call it.

    Raises:
        BadTarball: it is broken, or holds what must not be, or too much.
        ArchiveError, Cancelled, OSError

    """
    writer = _writer(target, name, limits)
    try:
        with decompressed(reader, name) as plain:
            for member in _members(plain):
                check(cancelled)
                writer.check_ratio(reader.offset)
                content = _content(plain, member.size if member.isreg() else 0)
                if _is_wanted(member.name, excludes):
                    _write(writer, member, content)
                else:
                    writer.skip(member.size)
                for _ in content:
                    check(cancelled)
            # What lies behind the last member is part of the stream: a decompressor checks it at its end.
            while rest := plain.read(_PIECE):
                check(cancelled)
                writer.skip(len(rest))
    except _BROKEN as error:
        raise BadTarball(name, str(error) or "it ends too early") from error
    except OSError as error:
        # The decompressors say "Invalid data stream" with an OSError that has no errno; the disk's own have one.
        if error.errno is not None:
            raise
        raise BadTarball(name, str(error)) from error
    writer.finish()


def unpack_zip(
    archive: Path, name: str, target: Path, excludes: Sequence[str], limits: UnpackLimits, cancelled: Flag
) -> None:
    """Unpack the zip file ``archive``, like :func:`unpack_stream`; its directory is at its end, so it needs a file."""
    writer = _writer(target, name, limits)
    try:
        with zipfile.ZipFile(archive) as source:
            for member in source.infolist():
                check(cancelled)
                if _is_wanted(member.filename, excludes):
                    _write_zipped(writer, source, member)
                writer.check_ratio(archive.stat().st_size)
    except _BROKEN_ZIP as error:
        raise BadTarball(name, str(error) or type(error).__name__) from error
    writer.finish()


def _writer(target: Path, name: str, limits: UnpackLimits) -> TreeWriter:
    target.mkdir(parents=True, exist_ok=True)
    return TreeWriter(target, name, limits)


def _is_wanted(path: str, excludes: Sequence[str]) -> bool:
    plain = path.removeprefix("./").rstrip("/")
    return not any(plain == excluded or plain.startswith(f"{excluded}/") for excluded in excludes)


def _write(writer: TreeWriter, member: tarfile.TarInfo, content: Iterator[bytes]) -> None:
    if member.isreg():
        writer.file(member.name, member.size, member.mode, member.mtime, content)
    elif member.isdir():
        writer.directory(member.name, member.mtime)
    elif member.issym():
        writer.symbolic_link(member.name, member.linkname)
    elif member.islnk():
        writer.hard_link(member.name, member.linkname)
    else:
        writer.refuse(member.name, "neither a file nor a directory nor a link")


def _members(plain: IO[bytes]) -> Iterator[tarfile.TarInfo]:
    """The members of a tar stream, which stands at each one's content as it is given.

    tarfile parses the headers; its own streams and extraction cost several times what a small file takes to be written.
    """
    fields: dict[str, str] = {}
    extensions = 0
    while True:
        header = plain.read(_BLOCK)
        if len(header) < _BLOCK:
            raise EOFError("it ends too early")
        if not any(header):
            return
        member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        if member.type in _EXTENSIONS:
            extensions += 1
            if extensions > _MOST_EXTENSIONS:
                raise tarfile.ReadError("it holds too many headers for one member")
            extended = _extended(plain, member)
            if member.type != tarfile.XGLTYPE:  # which is for all members, and says nothing of a file
                fields.update(extended)
        elif member.type == tarfile.GNUTYPE_SPARSE or any(field.startswith("GNU.sparse.") for field in fields):
            raise tarfile.ReadError(f"it holds the sparse file {member.name!r}")
        else:
            yield _with_fields(member, fields)
            fields, extensions = {}, 0


def _extended(plain: IO[bytes], member: tarfile.TarInfo) -> dict[str, str]:
    """The fields that a header brings for the member behind it, in the names of the pax format."""
    if not 0 <= member.size <= _LONGEST_HEADER:
        raise tarfile.ReadError("it holds a header that is too long")
    payload = b"".join(_content(plain, member.size))
    text = payload.rstrip(b"\0").decode("utf-8", "surrogateescape")
    if member.type == tarfile.GNUTYPE_LONGNAME:
        return {"path": text}
    if member.type == tarfile.GNUTYPE_LONGLINK:
        return {"linkpath": text}
    return dict(_pax_fields(payload))


def _pax_fields(payload: bytes) -> Iterator[tuple[str, str]]:
    """The records of a pax header: a length that counts itself, a space, ``key=value``, a newline."""
    start = 0
    while start < len(payload):
        space = payload.find(b" ", start, start + _LONGEST_NUMBER)
        digits = payload[start:space] if space > 0 else b""
        stop = start + (int(digits) if digits.isdigit() else 0)
        key, equals, value = payload[space + 1 : stop - 1].partition(b"=")
        if not (space < stop <= len(payload) and equals and payload[stop - 1 : stop] == b"\n"):
            raise tarfile.ReadError("it holds a header that cannot be read")
        yield key.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape")
        start = stop


def _with_fields(member: tarfile.TarInfo, fields: dict[str, str]) -> tarfile.TarInfo:
    member.name = fields.get("path", member.name)
    member.linkname = fields.get("linkpath", member.linkname)
    try:
        member.size = int(fields.get("size", member.size))
        member.mtime = float(fields.get("mtime", member.mtime))
    except ValueError as error:
        raise tarfile.ReadError("it holds a number that cannot be read") from error
    if member.size < 0:
        raise tarfile.ReadError("it holds a file of negative size")
    return member


def _content(plain: IO[bytes], size: int) -> Iterator[bytes]:
    """The next ``size`` bytes, in pieces, and past the padding behind them."""
    left = size
    while left:
        piece = plain.read(min(left, _PIECE))
        if not piece:
            raise EOFError("it ends too early")
        left -= len(piece)
        yield piece
    plain.read(-size % _BLOCK)


def _write_zipped(writer: TreeWriter, source: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
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
            writer.file(member.filename, member.file_size, mode, mtime, iter(lambda: content.read(_PIECE), b""))
