"""Verifies the builds in the background, once in so many days, while the server runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event as Flag

from cherrypy.process.plugins import SimplePlugin
from cherrypy.process.wspbus import Bus

from staging import threads
from staging.verification import OnVerified, Rounds


class VerificationPlugin(SimplePlugin):  # type: ignore[misc]
    """Starts the rounds with the server, and ends them with it."""

    def __init__(
        self,
        bus: Bus,
        static_dir: Path,
        days: float,
        note: Callable[[str, str], None],
        on_verified: OnVerified = lambda *_: None,
    ) -> None:
        """Every build is read once in so many ``days``; ``note`` is told of what is wrong, ``on_verified`` of all."""
        super().__init__(bus)
        self._stopped = Flag()
        self._rounds = Rounds(static_dir, days, note, on_verified, self._stopped)

    def start(self) -> None:
        """Begin, once the server listens."""
        threads.start("verify", self._rounds.run, self._stopped, self.bus.log)

    start.priority = 95  # type: ignore[attr-defined]  # after what clears up

    def stop(self) -> None:
        """End; what was being read is read anew by the next devserver."""
        self._stopped.set()
