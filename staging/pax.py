"""Pax headers (POSIX.1-2017, "pax Header Block"): records that say something of the member behind them, or of all.

Only what is of use is kept. A header may hold megabytes of extended attributes, which nobody here needs: they are gone
past in pieces.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator

from staging import sparse

_PIECE = 64 * 1024
_LONGEST_NUMBER = 12  # digits that a length may take
_LONGEST_KEY = 200  # bytes of a key that may be wanted
_LONGEST_NAME, _LONGEST_MAP = 64 * 1024, 32 * 1024**2  # bytes of a value
_WANTED = frozenset({b"path", b"linkpath", b"size", b"mtime"})
_WANTED_STARTS = (sparse.FIELDS.encode(), b"GNU.volume.")
_STRETCH, _MAP = tuple(field.encode() for field in sparse.STRETCH_FIELDS), sparse.MAP_FIELD.encode()

Read = Callable[[int], bytes]


def pax_fields(read: Read, size: int) -> dict[str, str]:
    """The fields of a header of ``size`` bytes, which ``read`` reads, that are of use.

    Raises:
        tarfile.ReadError, EOFError

    """
    fields: dict[str, str] = {}
    stretches: list[str] = []
    # Nearly all are small, and there is one for every file.
    records = _of_payload(_all_of(read, size)) if size <= _PIECE else _Large(read, size).records()
    for key, value in records:
        if not _is_wanted(key):
            continue
        text = value.decode("utf-8", "surrogateescape")
        if key in _STRETCH:  # of which there is one for each stretch
            stretches.append(text)
            sparse.check_count(len(stretches), fields.get("path", ""))
        else:
            fields[key.decode("ascii", "replace")] = text
    if stretches:
        fields[sparse.MAP_FIELD] = ",".join(stretches)
    return fields


def _of_payload(payload: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The records: each a length that counts itself, a space, ``key=value``, a newline."""
    start = 0
    while start < len(payload):
        if not payload[start]:  # what lies behind the last record is padding
            return
        space = payload.find(b" ", start, start + _LONGEST_NUMBER)
        digits = payload[start : max(space, start)]
        stop = start + (int(digits) if digits.isdigit() else 0)
        key, equals, value = payload[space + 1 : stop - 1].partition(b"=")
        if not (start < space < stop <= len(payload) and equals and payload[stop - 1 : stop] == b"\n"):
            raise _broken()
        yield key, value
        start = stop


class _Large:
    """A header that is read in pieces, so that what nobody wants takes no memory."""

    def __init__(self, read: Read, size: int) -> None:
        self._read = read
        self._left = size  # of what is not in the piece yet
        self._piece = b""

    def records(self) -> Iterator[tuple[bytes, bytes]]:
        """The same of it; of those that nobody wants, without the value."""
        while self._fill(1) and self._piece[0]:
            digits = self._until(b" ", _LONGEST_NUMBER)
            length = int(digits) - len(digits) - 1 if digits.isdigit() else 0
            key = self._until(b"=", min(length, _LONGEST_KEY)) if length > 0 else b""
            size = length - len(key) - 2  # without the equals sign and the newline
            if size < 0:
                raise _broken()
            if _is_wanted(key):
                yield key, self._take(size, _LONGEST_MAP if key == _MAP else _LONGEST_NAME)
            else:
                self._go_past(size)
            if self._take(1, 1) != b"\n":
                raise _broken()
        self._go_past(len(self._piece) + self._left)

    def _fill(self, count: int) -> int:
        """Have ``count`` bytes in the piece, if there are as many; how many there are."""
        if len(self._piece) < count and self._left:
            more = _all_of(self._read, min(self._left, _PIECE))
            self._left -= len(more)
            self._piece += more
        return min(len(self._piece), count)

    def _until(self, mark: bytes, most: int) -> bytes:
        """What stands before ``mark``, and past it; nothing where that does not come within ``most`` bytes."""
        self._fill(most)
        found = self._piece.find(mark, 0, most)
        if found < 0:
            return b""
        text, self._piece = self._piece[:found], self._piece[found + 1 :]
        return text

    def _take(self, count: int, most: int) -> bytes:
        if count > most:
            raise tarfile.ReadError("it holds a header that is too long")
        while len(self._piece) < count:
            if not self._left:
                raise _broken()
            self._fill(count)
        taken, self._piece = self._piece[:count], self._piece[count:]
        return taken

    def _go_past(self, count: int) -> None:
        while count:
            if not self._fill(1):
                raise _broken()
            gone = min(count, len(self._piece))
            self._piece = self._piece[gone:]
            count -= gone


def _is_wanted(key: bytes) -> bool:
    return key in _WANTED or key.startswith(_WANTED_STARTS)


def _all_of(read: Read, count: int) -> bytes:
    piece = read(count) if count else b""
    if len(piece) < count:
        raise EOFError("it ends too early")
    return piece


def _broken() -> tarfile.ReadError:
    return tarfile.ReadError("it holds a header that cannot be read")
