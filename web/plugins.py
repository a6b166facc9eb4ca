"""What starts and stops with the server, on CherryPy's bus."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from cherrypy.process.plugins import SimplePlugin
from cherrypy.process.wspbus import Bus

from downloader import Downloader
from staging.executors.base import Executor

_TIME_TO_STOP = 3.0  # seconds


class DownloadsPlugin(SimplePlugin):  # type: ignore[misc]
    """Gets the executor ready, and ends every download when the server stops."""

    def __init__(self, bus: Bus, downloader: Downloader, executor: Executor) -> None:
        super().__init__(bus)
        self._downloader = downloader
        self._executor = executor

    def start(self) -> None:
        """Warm up and clear up, once the server listens."""
        self._executor.start()
        self._downloader.start()

    start.priority = 90  # type: ignore[attr-defined]  # after the HTTP server's 75

    def stop(self) -> None:
        """Tell those who wait and end the work, so that the HTTP server finds its threads free."""
        self._downloader.stop(0)
        self._executor.stop()
        self._downloader.stop(_TIME_TO_STOP)

    stop.priority = 10  # type: ignore[attr-defined]  # before the HTTP server's 25


class PortFile(SimplePlugin):  # type: ignore[misc]
    """Writes the number of the port to a file, once the server listens on it."""

    def __init__(self, bus: Bus, path: Path, port: Callable[[], int]) -> None:
        super().__init__(bus)
        self._path = path
        self._port = port

    def start(self) -> None:
        """Write the file in one step: whoever polls it never reads half a number."""
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
        temporary.write_text(str(self._port()))
        temporary.replace(self._path)

    start.priority = 80  # type: ignore[attr-defined]  # after the HTTP server's 75

    def exit(self) -> None:
        """Nobody listens there any more."""
        self._path.unlink(missing_ok=True)
