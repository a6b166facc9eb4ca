"""Orders on disk: what every download that is under way is to do, for the devserver that comes after a crash.

    <static>/.devserver/orders/<devserver>/alive           locked for as long as that devserver lives
    <static>/.devserver/orders/<devserver>/<number>.json   an order of its

The lock dies with its devserver. Whoever finds it free may take the orders over, and does so while he holds it: an
order is never two devservers' own.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any

from staging.errors import DISK_ERRORS, RecordError, RecordMalformed
from staging.layout import orders_directory
from staging.locks import FileLock
from staging.paths import fault_of_artifact, fault_of_build_path
from staging.presence import directories_in, exists, names_in, remove_file
from staging.records.decoding import Count, as_data, read, write
from staging.records.files import discard

_FORMAT = 1
_ALIVE = "alive"


@dataclass(frozen=True)
class OrderRecord:
    """What a download is to do.

    Attributes:
        archive_url: the build.
        build_path: the same below the static directory.
        artifacts: the names of what of it to stage, and whether each is required.
        clean: whether all that is staged of the build is to be removed first.
        is_whole: whether it is a whole ``/download``.
        holder: whose lease does not keep the build from being removed first.
        resumed: how often in a row it was taken up by a devserver that had not ended well before it was settled.
        unknown: what a later version noted besides.

    """

    archive_url: str
    build_path: str
    artifacts: Mapping[str, bool]
    clean: bool = False
    is_whole: bool = False
    holder: str = ""
    resumed: Count = 0
    unknown: Any = field(default=None, compare=False, repr=False)

    @classmethod
    def read(cls, path: Path) -> OrderRecord | None:
        """The order in the file ``path``; None where it is gone.

        Raises:
            RecordMalformed, RecordUnreadable, NewerFormat

        """
        order = read(cls, path, "an order", _FORMAT)
        if order and (fault_of_build_path(order.build_path) or any(map(fault_of_artifact, order.artifacts))):
            raise RecordMalformed("an order", "it names what nothing is called")
        return order


class WrittenOrder:
    """An order on the disk."""

    def __init__(self, path: Path, record: OrderRecord, on_left: Callable[[Path], None]) -> None:
        """``on_left`` is called with the file of an order that is forgotten, and cannot be removed now."""
        self._path = path
        self._on_left = on_left
        self._record = record
        self._lock = Lock()
        self.is_in_use = False  # by a download, which settles it

    @property
    def record(self) -> OrderRecord:
        """The order as it is on the disk."""
        return self._record

    def change(self, **fields: Any) -> None:
        """Give fields of the order other values; where there is no room for that, the older ones stay."""
        with self._lock:
            changed = replace(self._record, **fields)
            with suppress(*DISK_ERRORS):
                if changed != self._record and exists(self._path):
                    _write(self._path, changed)
                    self._record = changed

    def remove(self) -> None:
        """Forget the order: its outcome is known. Where it cannot be removed now, that is tried again later."""
        with self._lock:
            try:
                remove_file(self._path)
            except OSError:
                self._on_left(self._path)


class OrderBook:
    """The orders of one devserver."""

    def __init__(self, static_dir: Path) -> None:
        self._orders = orders_directory(static_dir)
        self._own = self._orders / uuid.uuid4().hex
        self._numbers = itertools.count(1)
        self._lock = Lock()
        self._alive: FileLock | None = None
        self._left: list[Path] = []  # of orders that are forgotten

    def write(self, record: OrderRecord) -> WrittenOrder:
        """Put an order on the disk.

        Raises:
            OSError: there is no room for it.

        """
        self._remove_left()
        path = self._next_path()
        _write(path, record)
        return WrittenOrder(path, record, self._left.append)

    def _remove_left(self) -> None:
        """Remove the orders that are forgotten and could not be removed before."""
        for path in list(self._left):
            with suppress(OSError):
                remove_file(path)
                self._left.remove(path)

    def take_over(self) -> Iterator[WrittenOrder | Path]:
        """The orders of devservers that are no more, which are this one's from now on; the path of one that cannot be
        understood. That it was taken up once more is on the disk before anything is done with it.
        """
        for directory in directories_in(self._orders):
            if directory != self._own:
                yield from self._taken_over(directory)

    def close(self) -> None:
        """Let go of the orders that are left: the next devserver's."""
        self._remove_left()
        with self._lock:
            if self._alive is not None:
                self._alive.release()
                self._alive = None
            for name in names_in(self._own):
                if name.endswith(".tmp"):
                    remove_file(self._own / name)
            _remove_if_empty(self._own)

    def _taken_over(self, directory: Path) -> Iterator[WrittenOrder | Path]:
        lock = _try_lock(directory)
        if lock is None:
            return
        try:
            names = names_in(directory)
            for name in sorted((name for name in names if name.endswith(".json")), key=lambda name: (len(name), name)):
                path = directory / name
                try:
                    record = OrderRecord.read(path)
                except RecordMalformed:
                    discard(path)
                    yield path
                    continue
                except RecordError:  # a later version's, or a disk's that may give it the next time
                    continue
                if record is None:
                    continue
                mine = self._next_path()
                path.replace(mine)
                order = WrittenOrder(mine, record, self._left.append)
                order.change(resumed=record.resumed + 1)
                yield order
            for name in names:
                if name.endswith(".tmp"):
                    remove_file(directory / name)
        finally:
            lock.release()
            _remove_if_empty(directory)

    def _next_path(self) -> Path:
        with self._lock:
            while self._alive is None:
                self._alive = _try_lock(self._own)
            return self._own / f"{next(self._numbers)}.json"


def _try_lock(directory: Path) -> FileLock | None:
    try:
        return FileLock.try_once(directory / _ALIVE)
    except FileNotFoundError:  # somebody who took it for that of a devserver that died has removed it in between
        return None


def _remove_if_empty(directory: Path) -> None:
    with suppress(OSError):
        directory.rmdir()


def _write(path: Path, record: OrderRecord) -> None:
    write(path, {**as_data(record), "format": _FORMAT}, indent=None)
