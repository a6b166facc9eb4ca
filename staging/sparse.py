"""Sparse files in tar archives: an archive holds some stretches of such a file, and all between them reads as zeros.

GNU tar's manual, "Storing Sparse Files", has the formats: the old one of GNU tar, in headers of their own, and three
that are spelled in pax headers, of which 1.0 has its map in front of the content.
"""

from __future__ import annotations

import tarfile
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from staging.units import in_bytes

BLOCK = 512  # bytes; everything in a tar archive begins at a multiple of it
FIELDS = "GNU.sparse."  # what the pax fields of sparse files begin with
STRETCH_FIELDS = (f"{FIELDS}offset", f"{FIELDS}numbytes")  # of version 0.0: once for each stretch, in turns
MAP_FIELD = f"{FIELDS}map"

_MOST_STRETCHES = 1_000_000  # of one file; an image of 8 GiB that is written in every other block has as many
_LARGEST = 2**63 - 1  # bytes of a file, as Linux has them
_ENTRY = 24  # bytes of a stretch in the old format: twelve for where it begins, twelve for how long it is
# Where the old format has its first four stretches, whether more follow, and the size of the file; GNU tar's tar.h.
_IN_HEADER, _IS_EXTENDED, _REAL_SIZE = range(386, 386 + 4 * _ENTRY, _ENTRY), 482, slice(483, 495)
_IN_EXTENSION, _IS_EXTENDED_FURTHER = range(0, 21 * _ENTRY, _ENTRY), 504
_LONGEST_NUMBER = 20  # digits of 2⁶⁴

Read = Callable[[int], bytes]
Number = Callable[[bytes], int]


@dataclass(frozen=True)
class SparseMap:
    """Which stretches of a file an archive holds.

    Attributes:
        size: bytes of the whole file.
        numbers: of each stretch where it begins and how long it is, in turns; in order, and none over another.

    """

    size: int
    numbers: array[int]

    @property
    def stretches(self) -> Iterator[tuple[int, int]]:
        """Of each stretch where it begins, and how long it is."""
        numbers = iter(self.numbers)
        return zip(numbers, numbers, strict=True)

    @property
    def stored(self) -> int:
        """The bytes of all stretches."""
        return sum(self.numbers[1::2])


def of_old_header(header: bytes, read: Read, number: Number, name: str) -> SparseMap:
    """The map in the header of a member of the old format, and in those behind it, which ``read`` reads.

    ``number`` reads a number of a header.

    Raises:
        tarfile.ReadError, EOFError

    """
    numbers = array("Q")
    _add_entries(numbers, header, _IN_HEADER, number)
    is_extended = header[_IS_EXTENDED]
    while is_extended:
        block = read(BLOCK)
        if len(block) < BLOCK:
            raise EOFError("it ends too early")
        _add_entries(numbers, block, _IN_EXTENSION, number)
        check_count(len(numbers), name)
        is_extended = block[_IS_EXTENDED_FURTHER]
    return _checked(number(header[_REAL_SIZE]), numbers, name)


def of_fields(fields: Mapping[str, str], read: Read, stored: int, name: str) -> SparseMap:
    """The map that pax fields have, or that stands in front of the content.

    ``read`` reads of the ``stored`` bytes that follow, and stands at the content then.

    Raises:
        tarfile.ReadError, EOFError

    """
    version = fields.get(f"{FIELDS}major", "0"), fields.get(f"{FIELDS}minor", "")
    if version == ("1", "0"):
        numbers = _read_map(read, stored, name)
    elif version[0] == "0":
        numbers = array("Q")
        for text in filter(None, fields.get(MAP_FIELD, "").split(",")):
            numbers.append(_decimal(text.encode("utf-8", "surrogateescape"), name))
        check_count(len(numbers), name)
    else:
        raise tarfile.ReadError(f"it holds {name!r} as a sparse file of the unknown version {'.'.join(version)}")
    size = fields.get(f"{FIELDS}realsize") or fields.get(f"{FIELDS}size") or ""
    return _checked(_decimal(size.encode("utf-8", "surrogateescape"), name), numbers, name)


def _add_entries(numbers: array[int], block: bytes, offsets: range, number: Number) -> None:
    for start in offsets:
        middle = start + _ENTRY // 2
        if not block[middle]:  # no number: there are no more
            return
        for field in (block[start:middle], block[middle : start + _ENTRY]):
            value = number(field)
            if not 0 <= value <= _LARGEST:
                raise tarfile.ReadError("it holds a number that cannot be")
            numbers.append(value)


class _Lines:
    """The lines of a map that stands in front of the content, each a number, up to the end of a block."""

    def __init__(self, read: Read, stored: int, name: str) -> None:
        self._read, self._left, self._name = read, stored, name
        self._lines: Iterator[bytes] = iter(())
        self._rest = b""

    def number(self) -> int:
        """The number in the next line."""
        line = next(self._lines, None)
        while line is None:
            self._read_block()
            line = next(self._lines, None)
        return _decimal(line, self._name)

    def _read_block(self) -> None:
        if self._left < BLOCK or len(self._rest) > _LONGEST_NUMBER:
            raise _wrong(self._name)
        block = self._read(BLOCK)
        if len(block) < BLOCK:
            raise EOFError("it ends too early")
        self._left -= BLOCK
        *lines, self._rest = (self._rest + block).split(b"\n")
        self._lines = iter(lines)


def _read_map(read: Read, stored: int, name: str) -> array[int]:
    """A map as version 1.0 has it: how many stretches, then the numbers of each."""
    lines = _Lines(read, stored, name)
    count = 2 * lines.number()
    check_count(count, name)
    return array("Q", (lines.number() for _ in range(count)))


def _decimal(text: bytes, name: str) -> int:
    if not text.isdigit() or len(text) > _LONGEST_NUMBER or int(text) > _LARGEST:
        raise _wrong(name)
    return int(text)


def check_count(numbers: int, name: str) -> None:
    """Refuse a map of so many numbers, two for each stretch, where that are too many.

    Raises:
        tarfile.ReadError

    """
    if numbers > 2 * _MOST_STRETCHES:
        raise tarfile.ReadError(f"it holds {name!r} as a sparse file of more than {_MOST_STRETCHES} stretches")


def _checked(size: int, numbers: array[int], name: str) -> SparseMap:
    if not 0 <= size <= _LARGEST or len(numbers) % 2:
        raise _wrong(name)
    found = SparseMap(size, numbers)
    end = 0
    for offset, length in found.stretches:
        if offset < end or offset + length > size:
            what = f"it holds {name!r} as a sparse file of {in_bytes(size)}"
            raise tarfile.ReadError(f"{what}, with a stretch that lies outside of it or over another")
        end = offset + length
    return found


def _wrong(name: str) -> tarfile.ReadError:
    return tarfile.ReadError(f"it holds {name!r} as a sparse file, and its map cannot be read")
