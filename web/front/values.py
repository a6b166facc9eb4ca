"""What stands in an nginx configuration, written so that nginx reads it as what it is, or refused."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

from staging.errors import ConfigurationError
from staging.paths import CONTROL_CHARACTERS
from web.http.tls import Certificate

_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,253})"
_HOST = re.compile(rf"{_NAME}|\[[0-9A-Fa-f:.]{{2,45}}\]|\*")
_LONGEST = 2000  # bytes; nginx takes no word of more than 4,096
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what listens there is asked from here
_EXAMPLE = "it should look like 0.0.0.0:80, [::]:80 or unix:/run/devserver.sock"


def quoted(option: str, text: str) -> str:
    """``text`` as one word.

    Raises:
        ConfigurationError: there is no way to write it; a dollar sign has none where variables may stand.

    """
    if CONTROL_CHARACTERS.search(text):
        raise ConfigurationError(option, f"{text!r} holds a control character, which nginx cannot be told")
    if "$" in text:
        raise ConfigurationError(option, f"{text!r} holds a '$', which nginx takes for the start of a variable")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ConfigurationError(option, f"{text!r} is no UTF-8, and an nginx configuration is") from None
    if size > _LONGEST:
        raise ConfigurationError(option, f"{text[:40]!r}... is longer than the {_LONGEST} bytes that nginx can be told")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def asked_address(option: str, host: str, port: int) -> str:
    """The address at which a devserver that listens on ``host`` is asked from its own machine, ``host:port``.

    A name becomes the address that the devserver chooses of those that it has: nginx would ask at all of them in turn.

    Raises:
        ConfigurationError: there is no such address.

    """
    if not port:
        raise ConfigurationError("--port", "0 is any free port, and nginx has to know which: give the devserver one")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise ConfigurationError(option, f"{host!r} is no address of this machine's") from None
    address = str(found[0][4][0])
    address = _EVERYWHERE.get(address, address)
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def listening(option: str, text: str, certificate: Certificate | None = None) -> str:
    """What ``listen`` takes for the address ``text``, with how many may wait there, and what finds dead clients.

    Raises:
        ConfigurationError: it is no address.

    """
    tls = "" if certificate is None else " ssl"
    if text.startswith("unix:/"):
        return f"{quoted(option, text)}{tls} backlog=4096"
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536 and (not host or _HOST.fullmatch(host))):
        raise ConfigurationError(option, f"{text!r} is no address; {_EXAMPLE}")
    return f"{text}{tls} backlog=4096 so_keepalive=10s:5s:3"


def user_of(directory: Path) -> str:
    """The line that has the workers of an nginx that root starts be the owner of ``directory``.

    nginx takes names alone: of an owner who has none, the line is left out.
    """
    if os.geteuid() != 0:
        return ""
    try:
        owner, group = directory.owner(), directory.group()
        return f"user {quoted('the owner', owner)} {quoted('the group', group)};\n"
    except KeyError:
        status = directory.stat()
        return (
            f"# The directory's owner, {status.st_uid}:{status.st_gid}, has no name that nginx could be told:\n"
            "# its workers are nginx' own user, and what that may not read, the devserver answers.\n"
        )
