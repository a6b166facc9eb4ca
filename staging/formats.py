"""What an object is: recognised by its first bytes, whatever its name says."""

from __future__ import annotations

import re
from typing import NamedTuple

from staging.tar_headers import is_header

START = 512  # bytes that tell what an object is: a tarball's first header
ZEROS = 64 * 1024  # bytes that are looked at where the first are zeros, as those of disk images and empty tarballs are


class Kind(NamedTuple):
    """A kind of content.

    Attributes:
        title: what an error calls it, with its article: ``an HTML page``.
        codec: the key of what decompresses it; empty where nothing here does.
        is_tar: whether it is a tarball, without any compression.

    """

    title: str
    codec: str = ""
    is_tar: bool = False


TAR = Kind("a tarball", is_tar=True)
ZIP = Kind("a zip file")
_GZIP, _BZIP2, _XZ = Kind("a gzip file", "gzip"), Kind("a bzip2 file", "bzip2"), Kind("an xz file", "xz")
_ZSTD, _LZ4, _LZMA = Kind("a zstd file", "zstd"), Kind("an lz4 file", "lz4"), Kind("an lzma file", "lzma")
_EMPTY = Kind("an empty file")
_ONLY_ZEROS = Kind("nothing but zeros, as of a file that was allocated and never written")
_CPIO = Kind("a cpio archive")
_DISK = Kind("an image of a disk or a file system")
_LZ4_MAGIC, _ZSTD_MAGIC = b"\x04\x22\x4d\x18", b"\x28\xb5\x2f\xfd"

# Where each has its magic number. What is looked for far behind the start is only looked for behind zeros.
_MAGICS: tuple[tuple[int, bytes, Kind], ...] = (
    (0, b"\x1f\x8b\x08", _GZIP),
    (0, b"\xfd7zXZ\0", _XZ),
    (0, _ZSTD_MAGIC, _ZSTD),
    (0, _LZ4_MAGIC, _LZ4),
    (0, b"\x02\x21\x4c\x18", Kind("an lz4 file in the legacy format (lz4 -l); lz4 without -l packs what can be read")),
    (0, b"PK\x03\x04", ZIP),
    (0, b"PK\x05\x06", ZIP),
    (0, b"PK\x07\x08", Kind("the first part of a split zip file")),
    (0, b"PK00PK", ZIP),
    (0, b"7z\xbc\xaf\x27\x1c", Kind("a 7z archive")),
    (0, b"Rar!\x1a\x07", Kind("a rar archive")),
    (0, b"070701", _CPIO),
    (0, b"070702", _CPIO),
    (0, b"070707", _CPIO),
    (0, b"\xc7\x71", _CPIO),
    (0, b"\x71\xc7", _CPIO),
    (0, b"!<arch>\ndebian-binary", Kind("a Debian package")),
    (0, b"!<arch>\n", Kind("an ar archive")),
    (0, b"\xed\xab\xee\xdb", Kind("an RPM package")),
    (0, b"LZIP", Kind("an lzip file")),
    (0, b"\x89LZO\0\r\n\x1a\n", Kind("an lzop file")),
    (0, b"\x1f\x9d", Kind("a file of compress (.Z)")),
    (0, b"xar!", Kind("a xar archive")),
    (0, b"MSCF", Kind("a cabinet file")),
    (0, b"hsqs", Kind("a squashfs image")),
    (0, b"sqsh", Kind("a squashfs image")),
    (0, b"\x3a\xff\x26\xed", Kind("an Android sparse image")),
    (0, b"\x7fELF", Kind("an ELF file")),
    (0, b"CrAU", Kind("an update payload")),
    (0, b"%PDF-", Kind("a PDF file")),
    (0, b"version https://git-lfs.github.com/spec/", Kind("a pointer of Git LFS in place of the file")),
    (0x8001, b"CD001", Kind("an ISO 9660 image")),
    (0x438, b"\x53\xef", Kind("an image of an ext2, ext3 or ext4 file system")),
    (0x400, b"\xe2\xe1\xf5\xe0", Kind("an image of an EROFS file system")),
    (0x200, b"EFI PART", _DISK),
    (0x1FE, b"\x55\xaa", _DISK),
)
_BZIP2_START = re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)")
_TEXTS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"<!doctype html|<html|<head|(<\?xml[^>]*>\s*)?<!doctype html", re.IGNORECASE), "an HTML page"),
    (re.compile(rb"<\?xml|<[a-z!]", re.IGNORECASE), "an XML document"),
    (re.compile(rb"\{\s*[\"}]|\[\s*[\[\]{\"0-9]"), "a JSON document"),
)
_QUOTED = 40  # bytes


def kind_of(start: bytes) -> Kind | None:
    """The kind of an object that begins with ``start``; None where it is none that is known.

    ``start`` is all of it, or its first :data:`START` bytes, or, where these are zeros, one more than :data:`ZEROS`.
    """
    if not start:
        return _EMPTY
    if is_header(start[:START]):
        return TAR
    if not start[0]:
        return _of_magic(start) or _behind_zeros(start)
    if _BZIP2_START.match(start):
        return _BZIP2
    return _of_magic(start) or _behind_skippable_frames(start) or _of_lzma(start) or _of_text(start)


def described(start: bytes) -> str:
    """What an error says that an object is which begins with ``start``."""
    kind = kind_of(start)
    if kind is not None:
        return kind.title
    if _is_text(start):
        return f"text, which begins with {start[:_QUOTED].decode(errors='replace')!r}"
    return f"of no format that is known here; it begins with the bytes {start[:8].hex(' ')}"


def _of_magic(start: bytes) -> Kind | None:
    return next((kind for offset, magic, kind in _MAGICS if start.startswith(magic, offset)), None)


def _behind_zeros(start: bytes) -> Kind | None:
    content = len(start) - len(start.lstrip(b"\0"))
    if content < len(start):
        block = content // START * START
        return TAR if is_header(start[block : block + START]) else _DISK
    return TAR if START <= len(start) <= ZEROS else _ONLY_ZEROS


def _behind_skippable_frames(start: bytes) -> Kind | None:
    """What follows frames that zstd and lz4 go past; pzstd writes one before each of its own."""
    at = 0
    while _is_skippable(start[at : at + 4]):
        at += 8 + int.from_bytes(start[at + 4 : at + 8], "little")
    if not at:
        return None
    return _LZ4 if start.startswith(_LZ4_MAGIC, at) else _ZSTD


def _is_skippable(magic: bytes) -> bool:
    return magic[1:] == b"\x2a\x4d\x18" and 0x50 <= magic[0] <= 0x5F


def _of_lzma(start: bytes) -> Kind | None:
    """What has no magic number, but a head that xz takes for one of an ``.lzma`` file."""
    properties, dictionary = start[0], int.from_bytes(start[1:5], "little")
    size = int.from_bytes(start[5:13], "little")
    is_usual = dictionary == 2**32 - 1 or _is_round(dictionary)
    is_head = len(start) > 13 and properties < 225 and not start[13] and (size == 2**64 - 1 or size < 2**38)
    return _LZMA if is_head and is_usual else None


def _is_round(size: int) -> bool:
    """Whether it is a power of two, or the sum of two that are neighbours."""
    return size >= 4096 and size & (size - 1) in (0, 1 << (size.bit_length() - 1))


def _of_text(start: bytes) -> Kind | None:
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    return next((Kind(title) for pattern, title in _TEXTS if pattern.match(text)), None)


def _is_text(start: bytes) -> bool:
    return start.isascii() and start.translate(None, b"\t\r\n").decode().isprintable()
