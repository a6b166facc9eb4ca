"""Where the logs go, what their lines look like, and the line that each request is to them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from io import TextIOWrapper
from logging import FileHandler
from pathlib import Path
from time import monotonic, time
from typing import Any

import cherrypy
from cherrypy._cplogging import LogManager

from staging import log_lines
from staging.errors import ConfigurationError
from staging.log_lines import JSON, with_fields
from web.answers import Served
from web.callers import REQUEST_ID_KEY

_WITHOUT_A_BODY = (204, 304)
_SECONDS_BETWEEN_COMPLAINTS = 60.0
_NEVER = logging.CRITICAL + 1


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
        handler.handleError = _Complaints(handler)
        handler.setFormatter(log_lines.formatter(line_format, tag="DEVSERVER") if line_format == JSON else _TEXT)
    # CherryPy makes text of a line before any handler sees it: here it is told what a line consists of instead.
    LogManager.error = _log
    requests = AccessLog(line_format)
    LogManager.access = lambda _: requests.log_of_cherrypy()
    if line_format == JSON:
        log_lines.log_to_stderr(JSON, tag="LIBRARY")
        for logger in (log.error_log, log.access_log):
            logger.propagate = False


class _Complaints:
    """Says on standard error that the lines of a log cannot be written: now and then, or once where they never will be.

    In place of ``logging``'s own way, which is twenty lines of stack for each line of the log.
    """

    def __init__(self, handler: logging.Handler) -> None:
        self._handler = handler
        self._next = float("-inf")

    def __call__(self, _record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, BrokenPipeError):  # whoever read it is gone for good
            self._handler.setLevel(_NEVER)
        if monotonic() < self._next:
            return
        self._next = monotonic() + _SECONDS_BETWEEN_COMPLAINTS
        stream = getattr(self._handler, "stream", None)
        name = getattr(self._handler, "baseFilename", getattr(stream, "name", "the screen"))
        with suppress(OSError, ValueError):
            sys.stderr.write(f"the log cannot be written to {name} ({getattr(error, 'strerror', None) or error})\n")


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
    """Logs every request once its answer is over, with the bytes of its body that were sent: in the combined log format
    with the request's id behind it, or as an object of JSON.
    """

    def __init__(self, line_format: str) -> None:
        self._write = _write_fields if line_format == JSON else _write_text

    def ends(self, served: Served, sent: int) -> None:
        """See :class:`~web.answers.Observer`: a request that CherryPy knows nothing of."""
        if any(handler.level <= logging.INFO for handler in cherrypy.log.access_log.handlers):
            self._write(served.environ, int(served.status), sent)

    def log_of_cherrypy(self) -> None:
        """Log the request that CherryPy has answered in this thread."""
        request, response = cherrypy.serving.request, cherrypy.serving.response
        status = int((response.output_status or b"0").split()[0])
        length = dict.get(response.headers, "Content-Length")
        has_body = request.method != "HEAD" and status not in _WITHOUT_A_BODY
        # Of a stream, whose end is not in sight, nobody can tell.
        sent = (int(length) if length else None) if has_body else 0
        self._write(request.wsgi_environ, status, sent)


def _write_text(environ: Mapping[str, Any], status: int, sent: int | None) -> None:
    request = f"{environ['REQUEST_METHOD']} {environ['REQUEST_URI']} {environ['SERVER_PROTOCOL']}"
    texts = (request, environ.get("HTTP_REFERER", ""), environ.get("HTTP_USER_AGENT", ""), environ[REQUEST_ID_KEY])
    quoted = [_quoted(text) for text in texts]
    count = "-" if sent is None else sent
    cherrypy.log.access_log.info(
        f'{environ["REMOTE_ADDR"]} - - {log_lines.stamp(time())} "{quoted[0]}" {status} {count} '
        f'"{quoted[1]}" "{quoted[2]}" "{quoted[3]}"'
    )


def _write_fields(environ: Mapping[str, Any], status: int, sent: int | None) -> None:
    fields = with_fields(
        tag="ACCESS",
        client=environ["REMOTE_ADDR"],
        request_id=environ[REQUEST_ID_KEY],
        status=status,
        bytes=sent,
        referer=environ.get("HTTP_REFERER", ""),
        user_agent=environ.get("HTTP_USER_AGENT", ""),
    )
    request = f"{environ['REQUEST_METHOD']} {environ['REQUEST_URI']}"
    cherrypy.log.access_log.info("%s", request, extra=fields)


def _log(
    self: LogManager, msg: str = "", context: str = "", severity: int = logging.INFO, traceback: bool = False
) -> None:
    """In place of CherryPy's ``LogManager.error``."""
    self.error_log.log(severity, msg, exc_info=traceback, extra=with_fields(tag=context))


def _quoted(text: str) -> str:
    """``text`` on one line and without a quotation mark of its own: nobody can write a line of the log himself."""
    return text.replace("\\", "\\\\").replace('"', '\\"').encode("unicode_escape").decode("ascii").replace("\\\\", "\\")


_TEXT = log_lines.formatter(log_lines.TEXT)
