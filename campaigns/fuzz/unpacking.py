"""Tarballs and zip files: any bytes are unpacked below their directory and within their limits, or refused."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any, cast

from staging.errors import BadTarball
from staging.extraction import unpack_stream
from staging.reading import ObjectReader
from staging.selection import EVERYTHING
from staging.tree import UnpackLimits
from staging.zip_files import unpack_zip

_BLOCK = 512  # bytes
_MAGIC = slice(257, 262)
_CHECKSUM = slice(148, 156)
_MOST_BYTES = 1024 * 1024
_MOST_FILES = 200
_LIMITS = UnpackLimits(_MOST_BYTES, _MOST_FILES)
_PLACE = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - a directory of its own is made there


class Packed(io.RawIOBase):
    """The bytes of an object, as if they came from an archive."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self._file = io.BytesIO(content)

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what is next."""
        return self._file.readinto(buffer)

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return len(self._file.getbuffer())


def tar(data: bytes) -> None:
    """A tarball that is not compressed, whose headers have the checksums that they should have."""
    _unpack_stream(_with_checksums(data), "x.tar")


def gzip_tar(data: bytes) -> None:
    """A tarball that gzip packed."""
    _unpack_stream(data, "x.tar.gz")


def zstd_tar(data: bytes) -> None:
    """A tarball that zstd packed."""
    _unpack_stream(data, "x.tar.zst")


def zip_file(data: bytes) -> None:
    """A zip file."""

    def unpack(target: Path) -> None:
        archive = target.with_name("x.zip")
        archive.write_bytes(data)
        try:
            unpack_zip(archive, "x.zip", target, EVERYTHING, _LIMITS, Event())
        finally:
            archive.unlink()

    _unpack(unpack)


def _unpack_stream(data: bytes, name: str) -> None:
    reader = cast(ObjectReader, Packed(data))
    _unpack(lambda target: unpack_stream(reader, name, target, EVERYTHING, _LIMITS, Event()))


def _unpack(unpack: Callable[[Path], object]) -> None:
    """Unpack into a new directory, and look at what is there now."""
    box = Path(tempfile.mkdtemp(dir=_PLACE))
    target = box / "deep" / "target"
    target.mkdir(parents=True)
    try:
        unpack(target)
    except BadTarball as error:
        assert str(error).isprintable(), "a message has control characters"
    finally:
        _check(box, target)
        shutil.rmtree(box)


def _check(box: Path, target: Path) -> None:
    assert os.listdir(box) == ["deep"], "a file lies outside"  # noqa: PTH208 - three times as fast
    assert os.listdir(box / "deep") == ["target"], "a file lies outside"  # noqa: PTH208
    size = count = 0
    for folder, folders, files in os.walk(target):
        for name in folders + files:
            path = os.path.join(folder, name)  # noqa: PTH118 - many of them
            assert not any(ord(sign) < ord(" ") for sign in name), "a name has control characters"
            count += 1
            found = os.lstat(path)
            size += found.st_size
            if not os.path.islink(path):  # noqa: PTH114
                assert not found.st_mode & 0o7022, "a mode that no file should have"
            else:
                inside = os.path.realpath(path) + "/"
                assert inside.startswith(f"{os.path.realpath(target)}/"), "a link leads outside"
    assert size <= 3 * _MOST_BYTES, "it is larger than it may be"
    assert count <= 20 * _MOST_FILES, "it has more entries than it may have"


def _with_checksums(data: bytes) -> bytes:
    """The same with a right checksum in each header: a search finds a way to everything but to that."""
    changed = bytearray(data)
    for start in range(0, len(changed) - _BLOCK + 1, _BLOCK):
        block = changed[start : start + _BLOCK]
        if block[_MAGIC] == b"ustar":
            block[_CHECKSUM] = b" " * 8
            block[_CHECKSUM] = b"%06o\0 " % sum(block)
            changed[start : start + _BLOCK] = block
    return bytes(changed)
