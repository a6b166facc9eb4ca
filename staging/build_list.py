"""The list of all builds, kept up to date, so that no request reads the manifests of all."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic
from typing import Any, NamedTuple

from staging.board import StatusBoard
from staging.errors import RecordError
from staging.layout import BuildPlaces
from staging.overview import BuildView, builds_below, staged_view
from staging.status import State

# So many builds are looked at whenever somebody asks, if that is quick, so that what others do to the directory is
# seen at once. Of more, that is seen when the directory was read again; the board tells of what this devserver does.
_FEW = 500
_QUICK = 0.25  # seconds
_SHORTEST = 5.0  # seconds between two reads of a directory of many builds
_MOMENT = 1.0  # seconds that who needs not all waits for the first read
_AFTER_A_FAILURE = 5.0  # seconds until a directory that could not be read is read again
_REST = 20.0  # times that a read took pass before the next one: reading takes a twentieth of a core at most

View = Callable[[str], BuildView | None]


class Summary(NamedTuple):
    """What lists are ordered and filtered by.

    Attributes:
        build_path: the build's.
        moment: when the newest of it was staged or asked for, in seconds since the epoch.
        state: of the build.
        size: bytes of its files.

    """

    build_path: str
    moment: float
    state: State
    size: int

    @property
    def age(self) -> tuple[float, str]:
        """What the newest builds are the first by."""
        return -self.moment, self.build_path


class Builds:
    """All builds at one moment; before the directory was read for the first time, not ``is_whole``: some of them."""

    def __init__(self, by_path: Mapping[str, Summary], is_whole: bool = True) -> None:
        self._by_path = by_path
        self.is_whole = is_whole

    def __len__(self) -> int:
        return len(self._by_path)

    @cached_property
    def newest(self) -> Sequence[Summary]:
        """All, the newest first."""
        return sorted(self._by_path.values(), key=lambda one: one.age)

    @cached_property
    def states(self) -> Mapping[State, int]:
        """How many are in each state."""
        return Counter(one.state for one in self._by_path.values())

    @cached_property
    def size(self) -> int:
        """Bytes of the files of all."""
        return sum(one.size for one in self._by_path.values())

    def after(self, build_path: str, prefix: str = "") -> Iterator[Summary]:
        """Those whose path comes after this one, and begins with ``prefix``, in order."""
        paths = self._paths
        first = max(bisect_right(paths, build_path), bisect_left(paths, prefix))
        rest = (paths[at] for at in range(first, len(paths)))
        return (self._by_path[path] for path in takewhile(lambda path: path.startswith(prefix), rest))

    @cached_property
    def _paths(self) -> Sequence[str]:
        return sorted(self._by_path)


class BuildList:
    """The list of all builds that are staged, under way, or went wrong.

    A directory of many builds is read by one thread at a time, in the background, and seldom; what the board tells of
    meanwhile is put in at once. Only the first read is waited for, by who needs all; it begins with the server.
    """

    def __init__(self, static_dir: Path, board: StatusBoard, view: View) -> None:
        """``view`` gives what is known of one build."""
        self._static_dir = static_dir
        self._board = board
        self._view = view
        self._lock = Lock()  # held while the directory is read for a caller, and while what follows is changed
        self._staged: dict[str, Summary] = {}  # what was read of manifests
        self._shown: dict[str, Summary] = {}  # of those on the board, as they were when `_builds` was made
        self._builds: Builds | None = None
        self._next_read = 0.0  # by the monotonic clock
        self._is_reading = False
        self._beginning = Lock()
        self._has_begun = False
        self._was_read = Event()  # once, or could not be
        self._so_far: dict[str, Summary] = {}  # of the first read
        self._telling = Lock()
        self._changed: set[str] = set()  # builds that something was told of since `_staged` has what is on the disk
        self._changed_while_reading: set[str] = set()
        board.subscribe(lambda status, _event, _change: self._note(status.build), of_others=True)
        board.subscribe_to_removals(self._note)

    def begin(self) -> None:
        """Read the directory for the first time, behind the caller."""
        with self._beginning:
            if not self._has_begun:
                self._has_begun = True
                try:
                    Thread(target=self._read_first, name="list builds", daemon=True).start()
                except RuntimeError:  # no thread can be had now: who asks reads
                    self._was_read.set()

    def soon(self) -> Builds:
        """All builds, or those that are known after a moment, where the directory was not read yet."""
        self.begin()
        if self._was_read.wait(_MOMENT):
            return self.now()
        return Builds({**self._so_far.copy(), **self._of_the_board()}, is_whole=False)

    def check(self) -> None:
        """Find out whether the builds can be told.

        Raises:
            OSError: the directory was never read, and cannot be now.

        """
        with self._lock:
            if self._was_read.is_set() and self._next_read == 0.0:
                self._read_again()

    def now(self) -> Builds:
        """All builds, as far as is known now.

        Raises:
            OSError: the directory was never read, and cannot be now.

        """
        self.begin()
        self._was_read.wait()
        with self._lock:
            if monotonic() >= self._next_read:
                self._read_again()
            return self._put_together()

    def views(self, summaries: Sequence[Summary]) -> list[BuildView]:
        """What is known of these; what is gone, or cannot be read now, is left out."""
        return list(self._views(one.build_path for one in summaries))

    def _views(self, build_paths: Iterator[str]) -> Iterator[BuildView]:
        for build_path in build_paths:
            with suppress(OSError, RecordError):
                view = self._view(build_path)
                if view is not None:
                    yield view

    def _note(self, build_path: str) -> None:
        with self._telling:
            self._changed.add(build_path)
            if self._is_reading:
                self._changed_while_reading.add(build_path)

    def _read_first(self) -> None:
        try:
            self._note_what_changes()
            with suppress(OSError):  # then who asks reads, and is told
                self._take_what_is_read(self._lock)
        finally:
            self._was_read.set()
            self._so_far = {}

    def _note_what_changes(self) -> None:
        with self._telling:
            self._is_reading = True
            self._changed_while_reading.clear()

    def _read_again(self) -> None:
        """Read the directory: here, where that takes no time, or else behind the caller."""
        if self._is_reading:
            return
        self._note_what_changes()
        if self._next_read == 0.0:
            self._take_what_is_read(nullcontext())
            return
        try:
            Thread(target=self._take_what_is_read, args=(self._lock,), name="list builds", daemon=True).start()
        except RuntimeError:  # no thread can be had now
            self._is_reading = False

    def _take_what_is_read(self, lock: AbstractContextManager[Any]) -> None:
        """Have the list be what is on the disk; ``lock`` is what the caller does not hold yet."""
        try:
            staged, seconds = self._read()
            with lock:
                self._take(staged, seconds)
        except OSError:
            if self._builds is None:
                raise
            with lock:  # the list stays what it was
                self._next_read = monotonic() + _AFTER_A_FAILURE
        finally:
            with self._telling:
                self._is_reading = False

    def _read(self) -> tuple[dict[str, Summary], float]:
        """What the manifests say, and how long it took to read them."""
        began = monotonic()
        staged: dict[str, Summary] = {}
        if not self._was_read.is_set():
            self._so_far = staged
        for places in builds_below(self._static_dir):
            with suppress(OSError, RecordError):
                view = staged_view(places)
                if view is not None:
                    staged[view.build_path] = _summary(view)
        return staged, monotonic() - began

    def _take(self, staged: dict[str, Summary], seconds: float) -> None:
        """Have the list be what was read; what was told of meanwhile is looked at once more."""
        self._staged = staged
        self._builds = None
        is_quick = len(staged) <= _FEW and seconds < _QUICK
        self._next_read = 0.0 if is_quick else monotonic() + max(_SHORTEST, _REST * seconds)
        with self._telling:
            self._changed |= self._changed_while_reading

    def _put_together(self) -> Builds:
        """The list: of what was staged, with what is on the board in its place."""
        with self._telling:
            changed, self._changed = self._changed, set()
        for build_path in changed:
            self._look_at(build_path)
        shown = self._of_the_board()
        if self._builds is None or changed or shown != self._shown:
            self._builds, self._shown = Builds({**self._staged, **shown}), shown
        return self._builds

    def _of_the_board(self) -> dict[str, Summary]:
        return {one.build_path: _summary(one) for one in self._views(iter(self._board.builds()))}

    def _look_at(self, build_path: str) -> None:
        """Have the list say of a build what its manifest says by now; where that cannot be read, what it said."""
        with suppress(OSError, RecordError):
            view = staged_view(BuildPlaces(self._static_dir, build_path))
            if view is None:
                self._staged.pop(build_path, None)
            else:
                self._staged[build_path] = _summary(view)


def _summary(view: BuildView) -> Summary:
    return Summary(view.build_path, max(view.staged_at, view.asked_at), view.state, view.size)
