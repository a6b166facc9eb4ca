"""Tarballs that are written member by member, the same bytes for the same members."""

from __future__ import annotations

import bz2
import gzip
import io
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, cast

_FAST = 1  # compression level
_MODIFIED = 1_325_376_000  # when every member says it was changed: 2012-01-01
_PARALLEL_BZIP2 = ("lbzip2", "pbzip2")


class TreeWriter:
    """Writes files into a tar stream, each one's directories before it, as ``tar`` itself does."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._tar = tarfile.open(fileobj=stream, mode="w|")  # noqa: SIM115  (close() closes it)
        self._directories: set[str] = set()
        self.content_bytes = 0

    def add(self, name: str, data: bytes, mode: int = 0o644) -> None:
        """Add the file ``name`` with the content ``data``."""
        self._add_parents(name)
        self._add_member(name, mode, tarfile.REGTYPE, data)
        self.content_bytes += len(data)

    def close(self) -> None:
        """Write the end of the archive."""
        self._tar.close()

    def _add_parents(self, name: str) -> None:
        for parent in reversed(PurePosixPath(name).parents[:-1]):
            if str(parent) not in self._directories:
                self._directories.add(str(parent))
                self._add_member(str(parent), 0o755, tarfile.DIRTYPE)

    def _add_member(self, name: str, mode: int, kind: bytes, data: bytes = b"") -> None:
        member = tarfile.TarInfo(name)
        member.mode, member.type, member.size, member.mtime = mode, kind, len(data), _MODIFIED
        member.uname = member.gname = "root"
        self._tar.addfile(member, io.BytesIO(data))


@contextmanager
def bzip2_tarball(path: Path) -> Iterator[TreeWriter]:
    """A new ``.tar.bz2`` at ``path``, compressed on all cores where ``lbzip2`` or ``pbzip2`` is installed."""
    program = next(filter(None, map(shutil.which, _PARALLEL_BZIP2)), None)
    compressor = bz2.BZ2File(path, "wb", compresslevel=_FAST) if program is None else _compressed_by(program, path)
    with compressor as stream, _tree(stream) as tree:
        yield tree


@contextmanager
def gzip_tarball(stream: IO[bytes]) -> Iterator[TreeWriter]:
    """A ``.tgz``, written to ``stream``."""
    compressor = gzip.GzipFile("", "wb", _FAST, stream, mtime=_MODIFIED)
    with compressor, _tree(cast("IO[bytes]", compressor)) as tree:
        yield tree


def packed(files: Iterator[tuple[str, bytes]]) -> bytes:
    """The bytes of a small ``.tar.bz2`` that holds ``files``."""
    plain = io.BytesIO()
    with _tree(plain) as tree:
        for name, data in files:
            tree.add(name, data)
    return bz2.compress(plain.getvalue(), _FAST)


@contextmanager
def _tree(stream: IO[bytes]) -> Iterator[TreeWriter]:
    tree = TreeWriter(stream)
    try:
        yield tree
    finally:
        tree.close()


@contextmanager
def _compressed_by(program: str, path: Path) -> Iterator[IO[bytes]]:
    """A stream that ``program`` compresses into the file ``path``."""
    command = [program, f"-{_FAST}", "--stdout"]
    with path.open("wb") as file, subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file) as process:
        yield cast("IO[bytes]", process.stdin)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
