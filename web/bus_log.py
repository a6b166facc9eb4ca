"""What the server's bus says of its life, in the words of who runs a devserver."""

from __future__ import annotations

import logging
import re
from typing import Any

import cherrypy

_TAG = "DEVSERVER"
_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1", "": "127.0.0.1"}  # noqa: S104 - it is only said
# What CherryPy says, and what an operator is told; of the rest, that all went as it should.
_WORDS = (
    (re.compile(r"Serving on .*"), ""),  # whose address may be one that no browser takes
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


def _where() -> str:
    """The address of the server that listens, for a browser of this machine."""
    host, port = cherrypy.server.bound_addr[:2]
    scheme = "https" if cherrypy.server.ssl_certificate else "http"
    if (here := _EVERY_ADDRESS.get(host)) is not None:
        return f"{scheme}://{here}:{port}, and on every other address of this machine"
    address = host.partition("%")[0]  # a browser takes no zone
    return f"{scheme}://[{address}]:{port}" if ":" in address else f"{scheme}://{address}:{port}"


def _log(text: str, level: int) -> None:
    for pattern, words in _WORDS:
        if pattern.fullmatch(text):
            cherrypy.log(words or f"listening on {_where()}", _TAG)
            return
    if level > logging.INFO or not _JARGON.match(text):
        cherrypy.log(text, _TAG, severity=level)
