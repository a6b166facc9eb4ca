"""How a devserver is connected to, and what goes along with every request."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from requests.utils import get_netrc_auth
from urllib3.exceptions import HTTPError

from .addresses import spelled
from .errors import BUNDLE_ARGUMENT, RequestRefused
from .proxies import proxy_for
from .routes import Redirected, Route, unreachable

CONNECT_TIMEOUT = 10.0  # seconds
Headers = dict[str, str | bytes]
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_KEEPING_THE_METHOD = (307, 308)
_TOKEN = re.compile(r"[!-~]+")
# What is raised where a devserver gives no answer; the first is requests' own as well, and what a missing file is.
_TROUBLES = (OSError, HTTPError, UnicodeError)


def _keepalive() -> list[tuple[int, int, int]]:
    """A devserver whose machine lost its power says nothing: the kernel asks it now and then whether it is there.

    Of the options, each system has those that it has; for macOS, the first of them is called otherwise.
    """
    idle = getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", None))
    wanted = {idle: 30, getattr(socket, "TCP_KEEPINTVL", None): 10, getattr(socket, "TCP_KEEPCNT", None): 6}
    return [
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        *((socket.IPPROTO_TCP, option, value) for option, value in wanted.items() if option is not None),
    ]


_OPTIONS = _keepalive()


def checked_token(token: str | None) -> str | None:
    """The token without white space around it: a file ends with a line end. None where there is none.

    Raises:
        RequestRefused: it cannot be one. It is not shown.

    """
    token = (token or "").strip()
    if token and not _TOKEN.fullmatch(token):
        raise RequestRefused("the token is none: there are characters in it that no token has")
    return token or None


class Access(NamedTuple):
    """What goes along with every request: the token, and whose certificates are trusted."""

    token: str | None
    ca: str | None

    def options_for(self, route: Route) -> dict[str, Any]:
        """The options of a request."""
        auth = get_netrc_auth(route.url) if self.token is None else _Bearer(self.token)
        proxy = route.proxy.url if route.proxy else ""
        return {
            "auth": auth,
            "verify": route.bundle or True,
            "proxies": {"http": proxy, "https": proxy} if proxy else {},
        }

    def route_to(self, url: str) -> Route:
        """By what the devserver at ``url`` is asked, as the environment is now."""
        source = BUNDLE_ARGUMENT if self.ca else next((name for name in _BUNDLES if os.environ.get(name)), "")
        bundle = self.ca or os.environ.get(source, "")
        return Route(url, proxy_for(url), bundle, source)


class _Bearer(AuthBase):
    """Sends a token. A header alone would give way to the userinfo of a URL."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """See requests' own class."""
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


@contextmanager
def answered(method: str, route: Route, path: str, access: Access, **options: Any) -> Iterator[requests.Response]:
    """The answer of a devserver to one request; what goes wrong while it is read is told as well.

    Raises:
        ServerUnreachable, RequestRefused

    """
    try:
        with (
            _Session() as session,
            session.request(method, spelled(route.url) + path, **options, **access.options_for(route)) as answer,
        ):
            yield answer
    except _TROUBLES as error:
        raise unreachable(route, error) from None


class _Session(requests.Session):
    """A session whose connections notice a server that is no more, and that never makes a GET of anything else."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False  # what the environment says is looked up here, for each request
        self.mount("http://", _Adapter())
        self.mount("https://", _Adapter())

    def rebuild_method(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """See requests' own: the method behind a redirect, which is that of the request itself or none."""
        if prepared_request.method not in ("GET", "HEAD") and response.status_code not in _KEEPING_THE_METHOD:
            raise Redirected(prepared_request.method, response=response)


class _Adapter(HTTPAdapter):
    """Connections that notice a server that is no more, directly and through a proxy."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """See requests' own adapter."""
        super().init_poolmanager(*args, **options, socket_options=_OPTIONS)

    def proxy_manager_for(self, proxy: Any, **options: Any) -> Any:
        """See requests' own adapter."""
        return super().proxy_manager_for(proxy, **{"socket_options": _OPTIONS, **options})

    def build_connection_pool_key_attributes(self, *args: Any, **options: Any) -> Any:
        """See requests' own adapter; urllib3 reads the zone of an address only where that has its brackets."""
        host, tls = super().build_connection_pool_key_attributes(*args, **options)
        if "%" in (host["host"] or ""):
            host["host"] = f"[{host['host']}]"
        return host, tls
