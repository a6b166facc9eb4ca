"""Room that is promised to what is on its way, so that nobody else is promised it too.

A promise is a file, for all devservers that share the directory. It holds as long as somebody holds its build's lock,
and dies with him.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from threading import Lock
from time import monotonic

from staging.build_names import fault_of_name
from staging.errors import DISK_ERRORS, RecordError
from staging.layout import BuildPlaces, promises_directory
from staging.locks import is_locked
from staging.presence import names_in, remove_file, remove_if_empty, remove_tree
from staging.records.decoding import Count, as_data, read, write
from staging.status import Event

_WRITTEN_EVERY = 1.0  # seconds, where nothing but bytes have moved


@dataclass(frozen=True)
class Promised:
    """What is on its way to one build.

    Attributes:
        build_path: the build's.
        unpublished: bytes that its manifest does not have yet.
        unwritten: of those, the ones that the disk does not have yet, as far as that is known.

    """

    build_path: str
    unpublished: Count
    unwritten: Count


class Promise:
    """Room for artifacts of one build, each of which gives its own up once it is published, or never will be."""

    def __init__(self, places: BuildPlaces, sizes: Mapping[str, int]) -> None:
        """``sizes`` are those of the artifacts, in bytes, by name. The caller holds the build's lock."""
        self._build_path = places.build_path
        self._path = places.promises / f"{token_hex(8)}.json"
        self._lock = Lock()
        self._left = dict(sizes)
        self._unwritten = dict(sizes)
        self._is_closed = False
        self._saved_at = 0.0
        self._save()

    def note(self, events: Iterable[Event]) -> None:
        """Take note of what became of artifacts."""
        with self._lock:
            mine = [event for event in events if event.artifact in self._left]
            for event in mine:
                self._note(event)
            is_due = any(event.state.is_final for event in mine) or monotonic() >= self._saved_at + _WRITTEN_EVERY
            if mine and is_due and not self._is_closed:
                self._save()

    def _note(self, event: Event) -> None:
        if event.state.is_final:
            del self._left[event.artifact]
        elif event.bytes_total:
            share = 1 - min(event.bytes_done / event.bytes_total, 1.0)
            self._unwritten[event.artifact] = int(self._left[event.artifact] * share)

    def close(self) -> None:
        """Give up what is left of it."""
        with self._lock:
            self._is_closed = True
            with suppress(OSError):  # a sweep removes it; until then, it counts for nothing once the lock is free
                remove_file(self._path)
                remove_if_empty(self._path.parent)  # unless another download of the build has one

    def _save(self) -> None:
        unwritten = sum(self._unwritten[name] for name in self._left)
        promised = Promised(self._build_path, sum(self._left.values()), unwritten)
        with suppress(*DISK_ERRORS):  # a disk that is full, as it were: the download will tell
            write(self._path, as_data(promised))
        self._saved_at = monotonic()


def promises(static_dir: Path) -> Iterator[Promised]:
    """All that are good.

    Raises:
        OSError: it cannot be told which there are.

    """
    for path in _records(promises_directory(static_dir)):
        with suppress(RecordError, OSError):  # of one that cannot be read, nobody knows how much it is
            promised = read(Promised, path)
            if promised is None or fault_of_name(promised.build_path):
                continue
            if is_locked(BuildPlaces(static_dir, promised.build_path).lock):
                yield promised


def _records(directory: Path) -> Iterator[Path]:
    for key in names_in(directory):
        yield from (directory / key / name for name in names_in(directory / key) if name.endswith(".json"))


def forget_promises(places: BuildPlaces) -> None:
    """Remove what was promised to those who are no more: the caller has just taken the build's lock."""
    with suppress(OSError):  # what is left makes the room look smaller, until the next sweep
        remove_tree(places.promises)
