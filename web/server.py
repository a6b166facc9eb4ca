"""The HTTP server's tuning, and its logs."""

from __future__ import annotations

import socket
from pathlib import Path

import cherrypy

from web.errors import error_page

# A caller of /wait_for_status holds a thread for as long as it waits.
_THREADS = 200
_BACKLOG = 1024  # connections that the kernel keeps until a thread takes them


def configure(host: str, port: int) -> None:
    """Set up CherryPy's server for ``host`` and ``port``; port 0 picks a free one."""
    cherrypy.config.update(
        {
            "server.socket_host": host,
            "server.socket_port": port,
            "server.socket_queue_size": _BACKLOG,
            "server.thread_pool": _THREADS,
            "engine.autoreload.on": False,
            "checker.on": False,
            "error_page.default": error_page,
            "request.show_tracebacks": False,
        }
    )


def configure_logs(logfile: Path | None, log_dir: Path | None, production: bool) -> None:
    """Send the logs where the operator wants them.

    Events go to ``logfile`` instead of the screen, or else to the screen and to ``log_dir``; requests to the screen,
    unless in ``production`` or with a ``logfile``, and to ``log_dir``.
    """
    log = cherrypy.log
    log.screen = logfile is None
    if production:
        log._set_screen_handler(log.access_log, False)
    if log_dir is not None:
        log.access_file = str(log_dir / "access.log")
        log.error_file = str(log_dir / "devserver.log")
    if logfile is not None:
        log.error_file = str(logfile)


def bound_port() -> int:
    """The port that the server listens on."""
    return int(cherrypy.server.bound_addr[1])


def busy_connections() -> list[socket.socket]:
    """The connections of the clients that are being served."""
    pool = getattr(cherrypy.server.httpserver, "requests", None)
    connections = [thread.conn for thread in pool._threads] if pool is not None else []
    return [connection.socket for connection in connections if hasattr(connection, "socket")]


def clients_being_served() -> int:
    """How many of the server's threads are at work on a request."""
    pool = getattr(cherrypy.server.httpserver, "requests", None)
    return len(pool._threads) - pool.idle if pool is not None else 0
