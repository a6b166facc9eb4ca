"""Tarballs become trees."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from threading import Event as Flag
from typing import IO, Any, cast

from staging.errors import BadTarball
from staging.layout import RESERVED_NAME
from staging.retry import check

_DECOMPRESSORS: tuple[tuple[bytes, Callable[[Path], Any]], ...] = (
    (b"BZh", bz2.open),
    (b"\x1f\x8b", gzip.open),
    (b"\xfd7zXZ\0", lzma.open),
)
_BROKEN = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError)


def unpack(tarball: Path, name: str, target: Path, excludes: Sequence[str], cancelled: Flag) -> None:
    """Unpack ``tarball`` into the directory ``target``, without what lies at or below the paths in ``excludes``.

    ``name`` is what errors call it. The members' owners are dropped, their modes made sane, their times kept.

    Raises:
        BadTarball: it is broken, or holds a name or a link that leaves ``target``, or a device.
        Cancelled, OSError

    """
    target.mkdir(parents=True, exist_ok=True)
    excluded = [PurePosixPath(path) for path in excludes]
    try:
        with _decompressed(tarball) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            tar.extractall(target, members=_wanted(tar, name, excluded, cancelled), filter="data")
    except _BROKEN as error:
        raise BadTarball(name, _reason(error)) from error
    except OSError as error:
        # bz2 and gzip say "Invalid data stream" with an OSError that has no errno; the disk's own errors have one.
        if error.errno is not None:
            raise
        raise BadTarball(name, str(error)) from error


def _decompressed(tarball: Path) -> IO[bytes]:
    """The tarball's plain content.

    Not left to tarfile, which reads the first of several compressed streams and stops: pbzip2 writes many.
    """
    with tarball.open("rb") as file:
        start = file.read(6)
    for magic, decompress in _DECOMPRESSORS:
        if start.startswith(magic):
            return cast("IO[bytes]", decompress(tarball))
    return tarball.open("rb")


def _wanted(
    tar: tarfile.TarFile, name: str, excluded: Sequence[PurePosixPath], cancelled: Flag
) -> Iterator[tarfile.TarInfo]:
    for member in tar:
        check(cancelled)
        path = PurePosixPath(member.name)
        if path.is_absolute():  # which tarfile's own filter would make relative
            raise BadTarball(name, f"it holds the absolute name {member.name!r}")
        if RESERVED_NAME in path.parts:
            raise BadTarball(name, f"it holds {member.name!r}, and {RESERVED_NAME!r} is the devserver's own")
        if not any(path.is_relative_to(prefix) for prefix in excluded):
            yield member


def _reason(error: BaseException) -> str:
    """What is wrong, without the path of the host that some of tarfile's refusals end with."""
    if isinstance(error, tarfile.FilterError):
        return f"it holds {error.tarinfo.name!r}, which is not safe to unpack ({type(error).__name__})"
    return str(error) or type(error).__name__
