"""Where the last stream of bzip2 or xz ends: their programs say not what follows it, and lbzip2 not that any does."""

from __future__ import annotations

import zlib

TAIL = 64 * 1024  # bytes of a file's end that are looked at

_BZIP2_END = bytes.fromhex("177245385090")  # in front of a checksum of four bytes; it begins at any bit
_BZIP2_START, _XZ_START = b"BZh", b"\xfd7zXZ\0"
_XZ_END, _XZ_FOOTER = b"YZ", 12


def behind_bzip2(tail: bytes) -> bytes:
    """What follows the last stream in the ``tail`` of a bzip2 file, but padding and streams that are cut off.

    All of it, if no stream ends there.
    """
    bits = int.from_bytes(tail, "big")
    ends = ((bits >> shift).to_bytes(len(tail), "big").rfind(_BZIP2_END) for shift in range(8))
    end = max(ends) + len(_BZIP2_END) + 4
    return _garbage(tail[end:] if end > len(_BZIP2_END) + 3 else tail, _BZIP2_START)


def behind_xz(tail: bytes) -> bytes:
    """The same of an xz file; nothing, if no stream ends there."""
    end = len(tail)
    while (end := tail.rfind(_XZ_END, 0, end)) >= 0:
        footer = tail[max(0, end + len(_XZ_END) - _XZ_FOOTER) : end]
        if zlib.crc32(footer[4:]) == int.from_bytes(footer[:4], "little"):
            return _garbage(tail[end + len(_XZ_END) :], _XZ_START)
    return b""


def _garbage(rest: bytes, start: bytes) -> bytes:
    stripped = rest.strip(b"\0")
    return b"" if stripped.startswith(start) else rest if stripped else b""
