"""How a devserver is connected to, and what goes along with every request."""

from __future__ import annotations

import socket
from typing import Any, NamedTuple

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

CONNECT_TIMEOUT = 10.0  # seconds
Headers = dict[str, str | bytes]
# A devserver whose machine lost its power says nothing: the kernel asks it now and then whether it is still there.
_KEEPALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 6),
]


class Access(NamedTuple):
    """What goes along with every request: the token, and whose certificates are trusted."""

    token: str | None
    ca: str | None

    @property
    def of_a_request(self) -> dict[str, Any]:
        """The options of a request; named with each, for requests' own environment comes before a session's."""
        auth = {} if self.token is None else {"auth": _Bearer(self.token)}
        return auth if self.ca is None else {**auth, "verify": self.ca}


class _Bearer(AuthBase):
    """Sends a token. A header alone would give way to what a .netrc file says."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """See requests' own class."""
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def new_session() -> requests.Session:
    """A session whose connections notice a server that is no more."""
    session = requests.Session()
    session.mount("http://", _Adapter())
    session.mount("https://", _Adapter())
    return session


class _Adapter(HTTPAdapter):
    """Connections that notice a server that is no more."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """See requests' own adapter."""
        super().init_poolmanager(*args, **options, socket_options=_KEEPALIVE)
