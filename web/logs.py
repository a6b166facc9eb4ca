"""Where the logs go, and the line that each request for a file is to them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cherrypy


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


def log_file_request(environ: Mapping[str, Any], status: int, size: int) -> None:
    """Log a request that CherryPy knows nothing of as CherryPy logs its own, in the combined log format."""
    log = cherrypy.log
    if not any(handler.level <= logging.INFO for handler in log.access_log.handlers):
        return
    request = f"{environ['REQUEST_METHOD']} {environ['REQUEST_URI']} {environ['SERVER_PROTOCOL']}"
    quoted = [_quoted(text) for text in (request, environ.get("HTTP_REFERER", ""), environ.get("HTTP_USER_AGENT", ""))]
    line = f'{environ["REMOTE_ADDR"]} - - {log.time()} "{quoted[0]}" {int(status)} {size} "{quoted[1]}" "{quoted[2]}"'
    log.access_log.info(line)


def _quoted(text: str) -> str:
    """``text`` on one line and without a quotation mark of its own: nobody can write a line of the log himself."""
    return text.replace("\\", "\\\\").replace('"', '\\"').encode("unicode_escape").decode("ascii").replace("\\\\", "\\")
