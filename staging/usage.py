"""When a build was last used: kept on disk beside it, so that it is known after a restart."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from threading import Lock
from time import monotonic

from staging.layout import BuildPlaces

_EXACT_TO = 60.0  # seconds
_MOST_IN_MIND = 10_000  # builds


class LastUse:
    """The moments at which builds were last used, exact to a minute."""

    def __init__(self, static_dir: Path) -> None:
        self._static_dir = static_dir
        self._lock = Lock()
        self._noted_at: dict[str, float] = {}

    def note(self, build_path: str) -> None:
        """Take note that the build is used now; a build that is not there has nothing to be noted."""
        with self._lock:
            if monotonic() < self._noted_at.get(build_path, -_EXACT_TO) + _EXACT_TO:
                return
            if len(self._noted_at) >= _MOST_IN_MIND:
                self._noted_at.clear()
            self._noted_at[build_path] = monotonic()
        with suppress(OSError):
            descriptor = os.open(self._file(build_path), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                os.utime(descriptor)
            finally:
                os.close(descriptor)

    def of(self, build_path: str) -> float | None:
        """When the build was last used, in seconds since the epoch; None where it never was."""
        try:
            return self._file(build_path).stat().st_mtime
        except OSError:
            return None

    def _file(self, build_path: str) -> Path:
        return BuildPlaces(self._static_dir, build_path).last_use
