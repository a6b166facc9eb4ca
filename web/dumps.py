"""Minidumps that clients send: the one body that may be large. It is written to the disk as it comes, within bounds."""

from __future__ import annotations

import gzip
import io
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import cherrypy
from cherrypy import _cpreqbody

from staging.errors import InvalidParameter
from web.http.request import LARGEST_DUMP
from web.incoming import Part

FIELD = "minidump"
_MAGIC, _GZIP = b"MDMP", b"\x1f\x8b"
_LONGEST_VALUE = 4096  # bytes of a field beside the dump
_UNREADABLE = (ValueError, LookupError, EOFError, zlib.error, gzip.BadGzipFile)
_HOW = f"send it as multipart/form-data: curl -F {FIELD}=@FILE"


class Dump(NamedTuple):
    """A minidump in a directory of its own, and the fields that came along with it."""

    path: Path
    fields: dict[str, str]


@contextmanager
def received(directory: Path) -> Iterator[Dump]:
    """The dump that the request in this thread brings, in ``directory`` for as long as the context lasts.

    Raises:
        InvalidParameter: there is none, or more than one.
        cherrypy.HTTPError: the body is too large, or none that can be read.

    """
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="dump-", dir=directory) as scratch:
        parts = _parts(scratch)
        dumps = [part for part in parts if part.name == FIELD]
        if len(dumps) != 1:
            raise InvalidParameter(FIELD, f"there should be one such field, and there are {len(dumps)}; {_HOW}")
        path = Path(scratch) / FIELD
        _write(path, dumps[0])
        fields = {part.name: _value(part) for part in parts if part.name and part.name != FIELD}
        yield Dump(path, fields)


def _parts(scratch: str) -> list[Any]:
    """The parts of the body, the large ones in files without a name."""
    request = cherrypy.serving.request
    body = request.body
    coding = request.headers.get("Content-Encoding", "").strip().lower()
    if coding not in ("", "identity", "gzip"):
        raise cherrypy.HTTPError(415, f"the body has the Content-Encoding {coding[:40]!r}; gzip is known")
    if coding == "gzip":
        body.fp, body.length = gzip.GzipFile(fileobj=body.fp), None
    body.maxbytes = LARGEST_DUMP
    body.processors = {"multipart": _cpreqbody.process_multipart}
    body.part_class = type("DumpPart", (_Part,), {"make_file": partial(_nameless_file, scratch)})
    try:
        body.process()
    except _UNREADABLE:
        raise cherrypy.HTTPError(400, "the body is not what its Content-Type says") from None
    if body.parts and not getattr(body.fp, "has_end", False):
        raise cherrypy.HTTPError(400, "the body ends before its last boundary")
    return list(body.parts or ())


class _Part(Part):
    """A part of the body, by which it is known whether the last boundary came."""

    @classmethod
    def from_fp(cls, fp: Any, boundary: bytes) -> Any:
        """Read the next part."""
        fp.lines = getattr(fp, "lines", None) or _Lines(fp)
        return super().from_fp(fp.lines, boundary)


class _Lines:
    """The lines of a body. That it is at its end, whoever reads the parts says at the last boundary alone."""

    def __init__(self, body: Any) -> None:
        self._body = body
        self.readline = body.readline

    @property
    def done(self) -> bool:
        """Whether there is no more; CherryPy's reader says so while there are lines in its buffer."""
        return getattr(self._body, "has_end", False) or (self._body.done and not self._body.buffer)

    def finish(self) -> None:
        """Take note of the last boundary."""
        self._body.has_end = True
        self._body.finish()


def _write(path: Path, part: Any) -> None:
    """Write the dump of a part, which may be compressed, to a file.

    Raises:
        InvalidParameter: it is no dump.

    """
    source: IO[bytes] = part.file or io.BytesIO(part.value or b"")
    source.seek(0)
    is_packed = source.read(len(_GZIP)) == _GZIP
    source.seek(0)
    with source, path.open("wb") as target:
        try:
            _copy(gzip.GzipFile(fileobj=source) if is_packed else source, target)
        except _UNREADABLE:
            raise InvalidParameter(FIELD, "it begins as gzip does, and is none") from None
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise InvalidParameter(FIELD, f"it is no minidump, which begins with {_MAGIC.decode()}; {_HOW}")


def _nameless_file(directory: str, _part: Any = None) -> IO[bytes]:
    return tempfile.TemporaryFile(dir=directory)


def _copy(source: Any, target: IO[bytes]) -> None:
    bounded: Any = _Bounded(source)
    shutil.copyfileobj(bounded, target)


class _Bounded:
    """A file of which no more is read than a dump may have."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._left = LARGEST_DUMP

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes."""
        piece: bytes = self._file.read(size)
        self._left -= len(piece)
        if self._left < 0:
            raise cherrypy.HTTPError(413, f"the minidump is larger than {LARGEST_DUMP} bytes")
        return piece


def _value(part: Any) -> str:
    """The text of a field; nothing of one that is longer than any that means something."""
    content = part.file.read(_LONGEST_VALUE) if part.file is not None else part.value or b""
    return str(content[:_LONGEST_VALUE].decode(errors="replace"))
