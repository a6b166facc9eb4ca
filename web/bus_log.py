"""What the server's bus says of its life, in the words of who runs a devserver."""

from __future__ import annotations

import logging
import re
from typing import Any

import cherrypy

_TAG = "DEVSERVER"
# What CherryPy says, and what an operator is told; of the rest, that all went as it should.
_WORDS = (
    (re.compile(r"Serving on (.*)"), r"listening on \1"),
    (re.compile(r"Bus STOPPING"), "stopping"),
    (re.compile(r"Bus EXITED"), "stopped"),
)
_JARGON = re.compile(
    r"Bus |Listening for |Started monitor thread |Stopped thread |Waiting for |HTTP Server .* shut down|PID .*written|"
    r"PID file removed|Restor|No thread running"
)


def speak_plainly(bus: Any) -> None:
    """Have the bus log what an operator needs to know of it."""
    bus.listeners["log"].clear()  # CherryPy's own way to its log has no name to unsubscribe it by
    bus.subscribe("log", _log)


def _log(text: str, level: int) -> None:
    for pattern, words in _WORDS:
        if match := pattern.fullmatch(text):
            cherrypy.log(match.expand(words), _TAG)
            return
    if level > logging.INFO or not _JARGON.match(text):
        cherrypy.log(text, _TAG, severity=level)
