"""What is read off files, and read again when one of them has changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar

from staging.errors import ConfigurationError

T = TypeVar("T")


class Reloaded(Generic[T]):
    """What ``read`` makes of some files. Where they cannot be used any more, it stays as it was: an editor may be at
    work on them.
    """

    def __init__(self, paths: Sequence[Path], read: Callable[[], T], on_news: Callable[[T | ConfigurationError], None]):
        """``on_news`` is told of what was read anew, or why that could not be.

        Raises:
            ConfigurationError: of ``read``.

        """
        self._paths = paths
        self._read = read
        self._on_news = on_news
        self._lock = Lock()
        self._version = self._version_now()
        self._value = read()

    def now(self) -> T:
        """The same as of this moment."""
        version = self._version_now()
        if version != self._version:
            with self._lock:
                if version != self._version:
                    self._version = version
                    self._read_anew()
        return self._value

    def read_anew(self) -> Callable[[], None]:
        """Read the files, whether they changed or not; the function returned puts what they hold in the old's place.

        Raises:
            ConfigurationError: of ``read``.

        """
        version, value = self._version_now(), self._read()

        def take_it() -> None:
            with self._lock:
                self._version, self._value = version, value

        return take_it

    def _read_anew(self) -> None:
        try:
            self._value = self._read()
        except ConfigurationError as error:
            self._on_news(error)
        else:
            self._on_news(self._value)

    def _version_now(self) -> tuple[int, ...]:
        """What changes whenever one of the files does."""
        try:
            statuses = [path.stat() for path in self._paths]
        except OSError:
            return ()
        return tuple(
            number
            for status in statuses
            for number in (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
        )
