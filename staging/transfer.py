"""Objects become files, in bounded memory; a file that was cut off goes on from its verified part."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event as Flag
from typing import IO

from staging.archives import Archive, ArchiveObject, with_peers
from staging.archives.peers import NO_PEERS, Peers
from staging.checksums import crc32c_of
from staging.errors import Cancelled, RecordError
from staging.fetching import ReadSettings
from staging.priority import GiveWay
from staging.reading import ObjectReader, OnBytes
from staging.records.decoding import Count, read, write
from staging.records.files import discard
from staging.retry import OnRetry, Patience, check, no_retry
from staging.writing import write_to_file

_BYTES_BETWEEN_MARKS = 64 * 1024 * 1024
_MARK = ".devserver-mark"
_ZEROS = bytes(4096)


@dataclass(frozen=True)
class Transfer:
    """How the objects of one archive are fetched, and who may stop it."""

    archive: Archive
    patience: Patience
    cancelled: Flag
    settings: ReadSettings = field(default_factory=ReadSettings)
    give_way: GiveWay | None = None
    on_retry: OnRetry = no_retry
    peers: Peers = NO_PEERS

    def reader(
        self,
        item: ArchiveObject,
        on_bytes: OnBytes,
        start: int = 0,
        crc32c: int = 0,
        copy_to: IO[bytes] | None = None,
    ) -> ObjectReader:
        """The object as a stream, from ``start`` on; from a peer, where there is one that has it."""
        return ObjectReader(
            with_peers(self.archive, self.peers),
            item,
            self.patience,
            self.cancelled,
            on_bytes,
            self.settings,
            start,
            crc32c,
            self.give_way,
            self.on_retry,
            copy_to,
        )

    def fetch(self, item: ArchiveObject, target: Path, on_bytes: OnBytes, on_kept: OnBytes = lambda _: None) -> str:
        """Write ``item`` to the file ``target`` and return its crc32c; ``on_bytes`` is told of every piece.

        What an earlier attempt left at ``target`` is checked against the mark that it left beside it, and kept;
        ``on_kept`` is told how much that is.

        Raises:
            ChecksumMismatch: the archive states another crc32c. Nothing is kept.
            ArchiveError, Cancelled, OSError

        """
        target.parent.mkdir(parents=True, exist_ok=True)
        mark = _Mark(target, item)
        start, crc32c = mark.verified(self.cancelled)
        on_kept(start)
        with target.open("r+b" if start else "wb", buffering=0) as file:
            file.truncate(start)
            file.seek(start)
            with self.reader(item, on_bytes, start, crc32c) as reader:
                try:
                    _write_out(reader, file, mark)
                except Cancelled:
                    mark.set(reader.offset, reader.crc32c)
                    raise
                mark.remove()
                return reader.finish()


def _write_out(reader: ObjectReader, file: IO[bytes], mark: _Mark) -> None:
    marked = reader.offset
    for piece in reader.pieces():
        if _is_hole(piece):
            file.seek(len(piece), os.SEEK_CUR)
        else:
            write_to_file(file.fileno(), piece)
        if reader.offset - marked >= _BYTES_BETWEEN_MARKS:
            marked = reader.offset
            mark.set(marked, reader.crc32c)
        del piece  # so that its memory serves for the next one
    file.truncate(reader.offset)


def _is_hole(piece: bytes) -> bool:
    """Whether a piece is zeros alone, as images of disks have them by the gigabyte: they take no room as a hole."""
    return piece.startswith(_ZEROS) and not piece.strip(b"\0")


def has_marks(directory: Path) -> bool:
    """Whether a file below ``directory`` was cut off, and can be gone on with."""
    return any(directory.rglob(f"*{_MARK}"))


@dataclass(frozen=True)
class _Marked:
    """What a mark says: that the first ``offset`` bytes of the object have that crc32c."""

    object: ArchiveObject
    offset: Count
    crc32c: Count


class _Mark:
    """How much of a file that is being fetched is known to be right, written beside it from time to time."""

    def __init__(self, target: Path, item: ArchiveObject) -> None:
        self._target = target
        self._path = target.with_name(f"{target.name}{_MARK}")
        self._item = item

    def set(self, offset: int, crc32c: int) -> None:
        os.truncate(self._target, offset)  # which may end with a hole
        write(self._path, {"object": self._item.to_json(), "offset": offset, "crc32c": crc32c})

    def remove(self) -> None:
        discard(self._path)

    def verified(self, cancelled: Flag) -> tuple[int, int]:
        """The length and the crc32c of the part that is there and right, by reading it again; zeros for none."""
        mark = self._read()
        try:
            if mark is not None and self._crc32c_of(mark.offset, cancelled) == mark.crc32c:
                return mark.offset, mark.crc32c
        except OSError:
            pass
        self.remove()
        return 0, 0

    def _read(self) -> _Marked | None:
        """The mark, where it is one of the very object. Whatever is wrong with it, the object is fetched anew."""
        try:
            marked = read(_Marked, self._path)
            return marked if marked is not None and marked.object.checked() == self._item else None
        except (RecordError, ValueError):
            return None

    def _crc32c_of(self, size: int, cancelled: Flag) -> int | None:
        return crc32c_of(self._target, size, lambda _: check(cancelled))
