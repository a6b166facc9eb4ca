"""Which proxy the environment names for a devserver, if any."""

from __future__ import annotations

import os
from ipaddress import ip_address, ip_network
from typing import NamedTuple
from urllib.parse import urlsplit

from .addresses import shown

_EVERYTHING = "*"
_PORTS = {"http": 80, "https": 443}


class Proxy(NamedTuple):
    """A proxy, and the variable that names it."""

    url: str
    variable: str

    def __str__(self) -> str:
        return f"the proxy {shown(self.url)}"


def proxy_for(url: str) -> Proxy | None:
    """The proxy by which a devserver is asked; None where it is asked directly, as one on this machine always is.

    As ``requests`` has it, but for ``no_proxy``, of which that understands no IPv6 address but a bare one.
    """
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").partition("%")[0], parts.port or _PORTS.get(parts.scheme)
    except ValueError:  # no address at all, which whoever asks it is told
        return None
    if _is_asked_directly(host, port):
        return None
    for variable in (f"{parts.scheme}_proxy", "all_proxy"):
        named = variable if variable in os.environ else variable.upper()
        if named == "HTTP_PROXY" and "REQUEST_METHOD" in os.environ:
            continue  # of a CGI program, whose clients choose it by a header
        if value := os.environ.get(named, "").strip():
            return Proxy(value if "://" in value else f"http://{value}", named)
    return None


def _is_asked_directly(host: str, port: int | None) -> bool:
    if _is_this_machine(host):
        return True
    entries = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    return any(_covers(entry.strip().lower(), host, port) for entry in entries.split(",") if entry.strip())


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _covers(entry: str, host: str, port: int | None) -> bool:
    """Whether one entry of ``no_proxy`` is for a host: a name, with all below it, an address or a network."""
    if entry == _EVERYTHING:
        return True
    name, given_port = _split(entry)
    if given_port and given_port != str(port):
        return False
    try:
        return ip_address(host) in ip_network(name, strict=False)
    except ValueError:
        name = name.lstrip(".")
        return host == name or host.endswith(f".{name}")


def _split(entry: str) -> tuple[str, str]:
    """Name and port of an entry: ``lab:8080``, ``[::1]:8080``; of ``::1/128``, nothing is a port."""
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        return (name, rest[1:]) if rest[:1] == ":" else (name + rest, "")
    if entry.count(":") == 1:
        name, _, port = entry.partition(":")
        return name, port
    return entry, ""
