"""A server that hangs is noticed: systemd is told that it lives, and its threads' stacks are logged when it does not.

Two things are proved. The bus's main thread has its turn, without which no signal is answered: it is the one that tells
systemd, so nothing that holds the interpreter, or that thread, passes for alive. And a request to the server's own port
is answered, without which it is of no use: accepting, a thread, the application and the way back all take part in it.
"""

from __future__ import annotations

import faulthandler
import http.client
import os
import socket
import ssl
import sys
import threading
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from time import monotonic

from cherrypy.process.plugins import SimplePlugin
from cherrypy.process.wspbus import Bus

LONGEST_SILENCE = 30.0  # seconds
_BEAT = 1.0  # seconds at least between two signs of life
_PROBE = "/check_health"


class Notifier:
    """Says to systemd how the service is doing (sd_notify(3)); without systemd, to nobody."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        """Programs that are started from here are not to speak for the service: the variable is taken away."""
        self._address = environment.pop("NOTIFY_SOCKET", "")
        limit = environment.pop("WATCHDOG_USEC", "")
        is_ours = environment.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.is_watched = bool(self._address and limit.isdigit() and is_ours)

    def tell(self, state: str) -> None:
        """Send a state; one that cannot be sent is lost."""
        if self._address[:1] not in ("/", "@"):
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as client:
            client.settimeout(1.0)
            client.sendto(state.encode(), address)


class WatchdogPlugin(SimplePlugin):  # type: ignore[misc]
    """Tells systemd that the server is ready, lives and stops; has its stacks written where it hangs."""

    def __init__(
        self, bus: Bus, notifier: Notifier, address: Callable[[], tuple[str, int]], is_encrypted: bool
    ) -> None:
        """``address`` is where the server listens once it does."""
        super().__init__(bus)
        self._notifier = notifier
        self._address = address
        self._is_encrypted = is_encrypted
        self._end = threading.Event()
        self._beaten_at = self._answered_at = float("-inf")
        self._is_told = False

    def start(self) -> None:
        """Say that the server is ready, when everything else has started."""
        self._end.clear()
        self._answered_at = monotonic()
        if self._notifier.is_watched:
            threading.Thread(target=self._ask, name="watchdog", daemon=True).start()
        self._notifier.tell("READY=1")

    start.priority = 95  # type: ignore[attr-defined]

    def stop(self) -> None:
        """Say that the server stops."""
        self._end.set()
        self._notifier.tell("STOPPING=1")
        faulthandler.cancel_dump_traceback_later()

    stop.priority = 0  # type: ignore[attr-defined]

    def main(self) -> None:
        """Give a sign of life, of the main thread; and of the server, where it answers."""
        now = monotonic()
        if now < self._beaten_at + _BEAT or self._end.is_set():
            return
        self._beaten_at = now
        with suppress(OSError, ValueError, AttributeError, RuntimeError):  # of a server without standard error
            faulthandler.dump_traceback_later(LONGEST_SILENCE, repeat=False, file=sys.stderr)
        if now - self._answered_at <= LONGEST_SILENCE:
            self._is_told = False
            if self._notifier.is_watched:
                self._notifier.tell("WATCHDOG=1")
        elif self._notifier.is_watched and not self._is_told:
            self._is_told = True
            self.bus.log(f"the server has answered no request for {LONGEST_SILENCE:.0f} s; its threads' stacks follow")
            with suppress(OSError, ValueError, AttributeError, RuntimeError):
                faulthandler.dump_traceback(file=sys.stderr)

    def _ask(self) -> None:
        """Ask the server how it is doing, again and again."""
        while not self._end.wait(_BEAT if self._answered_at < self._beaten_at - _BEAT else LONGEST_SILENCE / 6):
            with suppress(OSError, http.client.HTTPException):
                if self._is_answered():
                    self._answered_at = monotonic()

    def _is_answered(self) -> bool:
        host, port = self._address()
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - it is asked, and not bound
        connection = http.client.HTTPConnection(host, port, timeout=LONGEST_SILENCE / 3)
        if self._is_encrypted:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # it is this process that is asked
            connection = http.client.HTTPSConnection(host, port, timeout=LONGEST_SILENCE / 3, context=context)
        try:
            connection.request("GET", _PROBE, headers={"Connection": "close", "User-Agent": "devserver-watchdog"})
            return connection.getresponse().status < 500
        finally:
            connection.close()
