"""Where the logs go, what their lines look like, and the line that each request is to them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from io import TextIOWrapper
from logging import FileHandler
from pathlib import Path
from typing import Any

import cherrypy
from cherrypy._cplogging import LogManager

from staging import log_lines
from staging.errors import ConfigurationError
from staging.log_lines import JSON, with_fields
from web.answers import Served
from web.callers import REQUEST_ID_KEY


def configure_logs(logfile: Path | None, log_dir: Path | None, production: bool, line_format: str) -> None:
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
    for handler in (*log.error_log.handlers, *log.access_log.handlers):
        handler.setFormatter(log_lines.formatter(line_format, tag="DEVSERVER") if line_format == JSON else _TEXT)
    # CherryPy makes text of a line before any handler sees it: here it is told what a line consists of instead.
    LogManager.error = _log
    LogManager.access_log_format += ' "{i}"'
    if line_format == JSON:
        LogManager.access = _log_access
        log_lines.log_to_stderr(JSON, tag="LIBRARY")
        for logger in (log.error_log, log.access_log):
            logger.propagate = False


def reopened_logs() -> Callable[[], None]:
    """Open the files of the logs again, which others may have renamed; the function returned has the lines go there.

    Raises:
        ConfigurationError: one of them cannot be opened.

    """
    log = cherrypy.log
    handlers = [one for one in (*log.error_log.handlers, *log.access_log.handlers) if isinstance(one, FileHandler)]
    opened: list[tuple[FileHandler, TextIOWrapper]] = []
    try:
        for handler in handlers:
            opened.append((handler, handler._open()))
    except OSError as error:
        for _, file in opened:
            file.close()
        raise ConfigurationError(handler.baseFilename, f"cannot be written ({error.strerror})") from error

    def take_them() -> None:
        for handler, file in opened:
            old = handler.setStream(file)
            if old is not None:
                old.close()

    return take_them


def log_line(tag: str, text: str, **fields: str) -> None:
    """Log one line about something that has these fields: ``build``, ``artifact``, ``request_id``, ``client``."""
    cherrypy.log.error_log.info(text, extra=with_fields(tag=tag, **fields))


class AccessLog:
    """Logs every request that CherryPy knows nothing of as CherryPy logs its own, in the combined log format."""

    def __init__(self, line_format: str) -> None:
        self._line_format = line_format

    def begins(self, served: Served) -> None:
        """See :class:`~web.answers.Observer`: a request is logged when its answer begins."""
        log = cherrypy.log.access_log
        if not any(handler.level <= logging.INFO for handler in log.handlers):
            return
        if self._line_format == JSON:
            _log_as_fields(served.environ, served.environ["REMOTE_ADDR"], served.status, served.size)
        else:
            log.info(_combined(served))

    def ends(self, served: Served, sent: int) -> None:
        """See :class:`~web.answers.Observer`."""


def _combined(served: Served) -> str:
    environ = served.environ
    request = f"{environ['REQUEST_METHOD']} {environ['REQUEST_URI']} {environ['SERVER_PROTOCOL']}"
    texts = (request, environ.get("HTTP_REFERER", ""), environ.get("HTTP_USER_AGENT", ""), environ[REQUEST_ID_KEY])
    quoted = [_quoted(text) for text in texts]
    return (
        f'{environ["REMOTE_ADDR"]} - - {cherrypy.log.time()} "{quoted[0]}" {int(served.status)} {served.size} '
        f'"{quoted[1]}" "{quoted[2]}" "{quoted[3]}"'
    )


def _log(
    self: LogManager, msg: str = "", context: str = "", severity: int = logging.INFO, traceback: bool = False
) -> None:
    """In place of CherryPy's ``LogManager.error``."""
    self.error_log.log(severity, msg, exc_info=traceback, extra=with_fields(tag=context))


def _log_access(_: LogManager) -> None:
    """In place of CherryPy's ``LogManager.access``."""
    request, response = cherrypy.serving.request, cherrypy.serving.response
    status = (response.output_status or b"0").split()[0]
    size = str(dict.get(response.headers, "Content-Length") or "0")
    _log_as_fields(request.wsgi_environ, request.remote.ip, int(status), int(size))


def _log_as_fields(environ: Mapping[str, Any], client: str, status: int, size: int) -> None:
    request = f"{environ['REQUEST_METHOD']} {environ['REQUEST_URI']}"
    fields = with_fields(
        tag="ACCESS",
        client=client,
        request_id=environ[REQUEST_ID_KEY],
        status=int(status),
        bytes=size,
        referer=environ.get("HTTP_REFERER", ""),
        user_agent=environ.get("HTTP_USER_AGENT", ""),
    )
    cherrypy.log.access_log.info("%s", request, extra=fields)


def _quoted(text: str) -> str:
    """``text`` on one line and without a quotation mark of its own: nobody can write a line of the log himself."""
    return text.replace("\\", "\\\\").replace('"', '\\"').encode("unicode_escape").decode("ascii").replace("\\\\", "\\")


_TEXT = log_lines.formatter(log_lines.TEXT)
