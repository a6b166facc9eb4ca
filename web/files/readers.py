"""How many clients are reading the files of each build."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from threading import Lock


class Readers:
    """The clients that are being sent a file, by the build that it is of."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: Counter[str] = Counter()

    def begin(self, build_path: str) -> Callable[[], None]:
        """Count one more; gives what has to be called at its end."""
        with self._lock:
            self._counts[build_path] += 1
        return partial(self._end, build_path)

    def of(self, build_path: str) -> int:
        """How many there are of that build."""
        return self._counts.get(build_path, 0)

    def _end(self, build_path: str) -> None:
        with self._lock:
            self._counts[build_path] -= 1
            if not self._counts[build_path]:
                del self._counts[build_path]
