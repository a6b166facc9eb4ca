"""How many clients are reading the files of each build; and a hold on it while there are any."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Lock

from staging.layout import BuildPlaces
from staging.usage import hold_as_read


class Readers:
    """The clients that are being sent a file, by the build that it is of. Other devservers see that there are some."""

    def __init__(self, static_dir: Path) -> None:
        self._static_dir = static_dir
        self._lock = Lock()
        self._counts: Counter[str] = Counter()
        self._holding: dict[str, int | None] = {}

    def begin(self, build_path: str) -> Callable[[], None]:
        """Count one more; gives what has to be called at its end."""
        with self._lock:
            self._counts[build_path] += 1
            if self._holding.get(build_path) is None:
                self._holding[build_path] = hold_as_read(BuildPlaces(self._static_dir, build_path))
        return partial(self._end, build_path)

    def of(self, build_path: str) -> int:
        """How many there are of that build."""
        return self._counts.get(build_path, 0)

    def _end(self, build_path: str) -> None:
        with self._lock:
            self._counts[build_path] -= 1
            if not self._counts[build_path]:
                del self._counts[build_path]
                descriptor = self._holding.pop(build_path)
                if descriptor is not None:
                    os.close(descriptor)
