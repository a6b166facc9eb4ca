"""What starts and stops with the server, on CherryPy's bus."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep

from cherrypy.process.plugins import Monitor, SimplePlugin
from cherrypy.process.wspbus import Bus

from downloader import Downloader
from staging.errors import as_devserver_error
from staging.executors.base import Executor
from staging.room import Room
from staging.threads import surviving
from staging.units import in_bytes

BEFORE_THE_SERVER = 10  # the place, among what stops, of what frees the server's threads

_TIME_TO_STOP = 3.0  # seconds
_SECONDS_BETWEEN_LOOKS = 2.0  # at the room on the disk; more, where a look takes long
_SHARE = 0.02  # of a processor's time, for that


class DownloadsPlugin(SimplePlugin):  # type: ignore[misc]
    """Gets the executor ready, and ends every download when the server stops."""

    def __init__(self, bus: Bus, downloader: Downloader, executor: Executor, resumes: bool) -> None:
        """``resumes``: whether what an earlier devserver was staging goes on by itself."""
        super().__init__(bus)
        self._downloader = downloader
        self._executor = executor
        self._resumes = resumes

    def start(self) -> None:
        """Warm up and clear up, once the server listens."""
        self._executor.start()
        for build, error in self._downloader.start(self._resumes).items():
            self.bus.log(
                f"{build}: what an earlier run left could not be cleared up: {as_devserver_error(error, build)}"
            )

    start.priority = 90  # type: ignore[attr-defined]  # after the HTTP server's 75

    def stop(self) -> None:
        """Tell those who wait and end the work, so that the HTTP server finds its threads free."""
        self._downloader.stop(0)
        self._executor.stop()
        self._downloader.stop(_TIME_TO_STOP)

    stop.priority = BEFORE_THE_SERVER  # type: ignore[attr-defined]


class EvictorPlugin(Monitor):  # type: ignore[misc]
    """Removes what the limits do not allow, between downloads too; and has the last uses of builds written down."""

    def __init__(self, bus: Bus, room: Room) -> None:
        look = surviving("making room on the disk", self._look, bus.log)
        super().__init__(bus, look, _SECONDS_BETWEEN_LOOKS, name="evictor")
        self._room = room
        self._next_look = 0.0
        self._missing = 0

    def stop(self) -> None:
        """Write down what was used last."""
        super().stop()
        self._room.write_last_use()

    stop.priority = 90  # type: ignore[attr-defined]  # when nobody is being served any more

    def _look(self) -> None:
        began = monotonic()
        self._room.write_last_use()
        if began < self._next_look:
            return
        self._tell_what_is_missing(self._room.tend().left.missing)
        self._next_look = monotonic() + (monotonic() - began) / _SHARE

    def _tell_what_is_missing(self, missing: int) -> None:
        """Log it when it begins, and when it is over."""
        if missing and not self._missing:
            self.bus.log(f"{in_bytes(missing)} more are used than may be, and all that could go is held")
        if self._missing and not missing:
            self.bus.log("no more is used than may be")
        self._missing = missing


class ConnectionsPlugin(SimplePlugin):  # type: ignore[misc]
    """Ends the connections of clients that are still being served a while after the server began to stop.

    cheroot waits for them without limit, and a device may take an hour to read a file.
    """

    def __init__(self, bus: Bus, busy_connections: Callable[[], list[socket.socket]]) -> None:
        super().__init__(bus)
        self._busy_connections = busy_connections

    def stop(self) -> None:
        """Give the answers that are on their way a moment, then cut what is left."""
        deadline = monotonic() + _TIME_TO_STOP
        while self._busy_connections() and monotonic() < deadline:
            sleep(0.02)
        for connection in self._busy_connections():
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    stop.priority = 20  # type: ignore[attr-defined]  # between the downloads' 10 and the HTTP server's 25


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
