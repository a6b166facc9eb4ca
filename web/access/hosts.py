"""Under which names browsers are served.

A page of another site can have its own name point at this server's address, and is of the same site then as far as a
browser can tell (DNS rebinding). What gives it away is the name that the browser asks for. Programs, among them
harnesses and devices, are served under any name: no page can have a program ask.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address
from threading import Thread
from typing import Any

from web import rendering
from web.access.refused_names import RefusedNames
from web.answers import Served
from web.callers import OWN_HOST_KEY
from web.error_pages import error_answer

Environment = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]
Application = Callable[[Environment, StartResponse], Iterable[bytes]]

# A page can change some of these, and leave some of them out, but never all.
_SIGNS_OF_A_BROWSER = (
    "HTTP_ACCEPT_LANGUAGE",
    "HTTP_ORIGIN",
    "HTTP_REFERER",
    "HTTP_SEC_FETCH_SITE",
    "HTTP_SEC_FETCH_MODE",
    "HTTP_SEC_FETCH_DEST",
    "HTTP_SEC_FETCH_USER",
)
_HOST = re.compile(r"(?:\[(?P<ipv6>[0-9a-f:.]+)(?:%[\w.~%-]+)?\]|(?P<name>[^:\[\]]+?))\.?(?::[0-9]{0,5})?")
_LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_ALLOWED = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")
_ANY_BELOW = "*"


class KnownHosts:
    """The names of this server: ``localhost``, those of its machine, and those that the operator allows."""

    def __init__(self, allowed: Sequence[str] = ()) -> None:
        """``allowed`` are as :func:`checked_name` takes them."""
        machine = socket.gethostname().lower().rstrip(".")
        self._names = {"localhost", machine, machine.partition(".")[0]}
        self._names |= {name for name in allowed if not name.startswith(_ANY_BELOW)}
        self._endings = tuple(name.removeprefix(_ANY_BELOW) for name in allowed if name.startswith(_ANY_BELOW))

    def learn_full_name(self) -> None:
        """Look up the machine's full name, in a thread: a name server that is away is waited for, for seconds."""
        Thread(target=lambda: self._names.add(socket.getfqdn().lower().rstrip(".")), daemon=True).start()

    def have(self, host: str) -> bool:
        """Whether a ``Host`` header names this server: by one of its names, or by an address, with any port."""
        match = _HOST.fullmatch(host.lower())
        if match is None:
            return False
        if match["ipv6"]:
            return _is_address(IPv6Address, match["ipv6"])
        name = match["name"]
        return name in self._names or name.endswith(self._endings) or _is_address(IPv4Address, name)


def checked_name(text: str) -> str:
    """A name, or all names below one (``*.lab.example``), in its one spelling.

    Raises:
        ValueError: it is neither.

    """
    name = text.lower().rstrip(".")
    if not name.isascii():
        name = name.encode("idna").decode()  # as browsers write it
    if not _ALLOWED.fullmatch(name):
        raise ValueError(text)
    return name


class HostCheck:
    """The application before all others, which answers no browser under a name that is not the server's."""

    def __init__(
        self, application: Application, hosts: KnownHosts, refused: RefusedNames, on_refusal: Callable[[Served], None]
    ) -> None:
        """``on_refusal`` is told of every answer given here."""
        self._application = application
        self._hosts = hosts
        self._refused = refused
        self._on_refusal = on_refusal

    def __call__(self, environ: Environment, start_response: StartResponse) -> Iterable[bytes]:
        """See PEP 3333."""
        if is_of_browser(environ):
            for host in (environ.get("HTTP_HOST", ""), environ.get(OWN_HOST_KEY)):
                if host is not None and not self._hosts.have(host):
                    return self._refuse(environ, start_response, host)
        return self._application(environ, start_response)

    def _refuse(self, environ: Environment, start_response: StartResponse, host: str) -> Iterable[bytes]:
        text = self._refused.note(_name_of(host))
        is_for_programs = environ["PATH_INFO"].startswith("/api/")
        code = HTTPStatus.MISDIRECTED_REQUEST
        accept = "application/json" if is_for_programs else environ.get("HTTP_ACCEPT", "")
        content_type, body = error_answer(code, accept, "UnknownHost", text)
        headers = {**rendering.HEADERS, "Content-Type": content_type, "Content-Length": str(len(body))}
        start_response(f"{int(code)} {code.phrase}", [*headers.items(), ("Cache-Control", "no-store")])
        self._on_refusal(Served(environ, code, len(body)))
        return () if environ["REQUEST_METHOD"] == "HEAD" else (body,)


def is_of_browser(environ: Environment) -> bool:
    """Whether a browser asks, as far as anybody can tell."""
    for sign in _SIGNS_OF_A_BROWSER:  # a loop: every request is looked at
        if sign in environ:
            return True
    return str(environ.get("HTTP_USER_AGENT", "")).startswith("Mozilla/")


def _name_of(host: str) -> str:
    """The name in a ``Host`` header; empty where it has none that could be allowed."""
    match = _HOST.fullmatch(host.lower())
    return match["name"] if match and match["name"] and _ALLOWED.fullmatch(match["name"]) else ""


def _is_address(kind: type[IPv4Address | IPv6Address], text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True
