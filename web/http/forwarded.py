"""Who asks where a proxy passed the request on: its word is taken where it is trusted, and nobody else's is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from web.callers import OWN_HOST_KEY

LOOPBACK = ("127.0.0.0/8", "::1")
UNIX = "unix:"  # the clients of a socket of the machine's, who have no address; nginx knows them by this name

_FOR, _PROTO, _HOST = "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_HOST"
_MOST_HOPS = 32
_MAPPED = "::ffff:"
_SCHEMES = ("http", "https")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,255}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")
_WITH_PORT = re.compile(r"(?P<v4>[0-9.]+):[0-9]{1,5}|\[(?P<v6>[0-9A-Fa-f:.]+)\](:[0-9]{1,5})?")


class TrustedProxies:
    """The addresses of those whose ``X-Forwarded-`` headers count."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        """``networks`` are addresses or networks, as :func:`checked_network` takes them."""
        parsed = (ip_network(text, strict=False) for text in networks if text != UNIX)
        self._networks = [_as_ipv6(network.network_address, network.prefixlen) for network in parsed]
        self.trusts = lru_cache(maxsize=1024)(self._trusts)

    def apply(self, environ: dict[str, Any]) -> None:
        """Have the WSGI environment say who asks, by which scheme and under which name.

        What a client sends of those headers is taken out, so that nobody further down takes it for true.
        """
        hops, scheme, host = environ.pop(_FOR, ""), environ.pop(_PROTO, ""), environ.pop(_HOST, "")
        if not (hops or scheme or host) or not self.trusts(environ["REMOTE_ADDR"]):
            return
        peer = environ["REMOTE_ADDR"]
        environ["REMOTE_ADDR"] = self._client(hops.split(","), peer)
        # Of several the last: it is the word of the proxy that is asked through.
        scheme, host = scheme.rpartition(",")[2].strip().lower(), host.rpartition(",")[2].strip()
        if scheme in _SCHEMES:
            environ["wsgi.url_scheme"] = scheme
        if _NAME.fullmatch(host):
            if _is_of_this_machine(peer):
                environ[OWN_HOST_KEY] = environ.get("HTTP_HOST", "")
            environ["HTTP_HOST"] = host

    def _client(self, hops: Sequence[str], peer: str) -> str:
        """The last address that is no trusted proxy's, as each of those says whom it was asked by.

        Where one says what is no address, it is itself the last that is known.
        """
        known = peer
        for hop in reversed(hops[-_MOST_HOPS:]):
            address = _address(hop)
            if address is None:
                return known
            known = address
            if not self.trusts(address):
                return known
        return known

    def _trusts(self, text: str) -> bool:
        try:
            address = ip_address(text)
        except ValueError:
            return False
        return any(_as_ipv6(address, address.max_prefixlen).subnet_of(network) for network in self._networks)


def checked_network(text: str) -> str:
    """``text`` as an address or a network, in its one spelling.

    Raises:
        ValueError: it is none.

    """
    if text == UNIX:
        return text
    network = ip_network(text, strict=False)
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def _address(hop: str) -> str | None:
    """The address that an entry of ``X-Forwarded-For`` names; some proxies write a port behind it."""
    hop = hop.strip().partition("%")[0]  # without a zone, which may be any text
    match = _WITH_PORT.fullmatch(hop)
    try:
        return str(_plain(ip_address((match["v4"] or match["v6"]) if match else hop)))
    except ValueError:
        return None


def peer_address(text: str) -> str:
    """The address of a connection's other end; that of an IPv4 client, where the socket listens on ``::``, as such."""
    return text.removeprefix(_MAPPED) if text.startswith(_MAPPED) and "." in text else text


def _is_of_this_machine(peer: str) -> bool:
    return _plain(ip_address(peer)).is_loopback


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _as_ipv6(address: IPv4Address | IPv6Address, length: int) -> IPv6Network:
    """A network in the one family that holds both: a socket that listens on ``::`` writes IPv4 addresses so."""
    if isinstance(address, IPv4Address):
        return IPv6Network((f"::ffff:{address}", length + 96))
    return IPv6Network((address, length))
