"""What a line of the log looks like, the server's and its workers': text for people, JSON for programs."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Mapping
from datetime import datetime, timezone
from time import localtime, strftime
from typing import Any

from staging import request_ids

TEXT, JSON = "text", "json"
_FIELDS = "devserver_fields"  # of a record

LINE_FORMATS = (TEXT, JSON)


def with_fields(**fields: Any) -> dict[str, Any]:
    """What a call of a logger takes as ``extra``, for a line that has these fields; those that are empty are left out.

    ``tag`` says which part of the devserver speaks. ``request_id`` is that of the thread's request, if it is not given.
    """
    fields.setdefault("request_id", request_ids.current())
    return {_FIELDS: {name: value for name, value in fields.items() if value not in ("", None) or name == "tag"}}


def formatter(line_format: str, **fields: Any) -> logging.Formatter:
    """What makes a line of a record; the ``fields`` are those of records that have none of their own."""
    usual = with_fields(**fields)[_FIELDS]
    return _JsonLines(usual) if line_format == JSON else _TextLines(usual)


def stamp(moment: float) -> str:
    """A moment as the lines of text have it, with its zone: ``[26/Oct/2026:02:30:00 +0200]``."""
    return strftime("[%d/%b/%Y:%H:%M:%S %z]", localtime(moment))


def log_to_stderr(line_format: str, **fields: Any) -> None:
    """Have this process, a worker, log what libraries have to say, and what ends a thread of it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(line_format, **fields))
    logging.getLogger().handlers = [handler]
    threading.excepthook = _log_the_end_of_a_thread


class _Lines(logging.Formatter):
    """See :func:`formatter`."""

    def __init__(self, usual: Mapping[str, Any]) -> None:
        super().__init__()
        self._usual = usual

    def fields_of(self, record: logging.LogRecord) -> Mapping[str, Any]:
        """The fields of a record."""
        fields: Mapping[str, Any] | None = getattr(record, _FIELDS, None)
        if fields is None and self._usual:
            return {**self._usual, **with_fields(tag=self._usual["tag"])[_FIELDS]}
        return fields or {}

    def traceback_of(self, record: logging.LogRecord) -> str:
        """The traceback of a record that has one."""
        return self.formatException(record.exc_info) if record.exc_info else ""


class _TextLines(_Lines):
    """Lines as CherryPy writes them, and at their end the id of the request, where there is one.

    A record without fields is a line already.
    """

    def format(self, record: logging.LogRecord) -> str:
        fields = self.fields_of(record)
        message = record.getMessage()
        if fields:
            message = " ".join((stamp(record.created), fields["tag"], message))
            message += f" [request {fields['request_id']}]" if "request_id" in fields else ""
        return "\n".join(filter(None, (message, self.traceback_of(record))))


class _JsonLines(_Lines):
    """Lines that are an object each."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **self.fields_of(record),
        }
        if traceback := self.traceback_of(record):
            line["traceback"] = traceback
        return json.dumps(line)


def _log_the_end_of_a_thread(end: Any) -> None:
    logging.getLogger().error("a thread ended", exc_info=(end.exc_type, end.exc_value, end.exc_traceback))
