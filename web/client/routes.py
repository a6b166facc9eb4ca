"""By what a devserver is asked, and what it means that a request did not get as far as an answer."""

from __future__ import annotations

import re
import socket
import ssl
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.exceptions import LocationParseError

from .addresses import shown
from .errors import ClientError, NeverReachable, NotTrusted, RequestRefused, ServerUnreachable, Silent
from .proxies import Proxy

_MOST_WRAPPED = 100  # errors within errors
_UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"
_NO_TLS = re.compile("WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE", re.IGNORECASE)  # of OpenSSL, old and new
_NO_SOCKS = "Missing dependencies for SOCKS support"
_OF_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3} ?[^'\")]*)")
_NO_ADDRESS = (requests.exceptions.InvalidURL, LocationParseError, UnicodeError)


class Route(NamedTuple):
    """By what a devserver is asked.

    Attributes:
        url: its own.
        proxy: what stands between, as the environment has it.
        bundle: the file of the certificates to trust; empty for the usual ones.
        source: what names that file: the client's argument, or a variable.

    """

    url: str
    proxy: Proxy | None = None
    bundle: str = ""
    source: str = ""

    @property
    def who_answers(self) -> str:
        """Who an answer is from that no devserver gives."""
        return f"{shown(self.url)}, by {self.proxy}," if self.proxy else shown(self.url)


class Redirected(requests.RequestException):
    """What is no GET was led elsewhere by a status at which it would become one."""


def unreachable(route: Route, error: BaseException) -> ClientError:
    """What ``error``, which a request ended with, means to the caller."""
    if isinstance(error, requests.ReadTimeout):
        return Silent(f"{shown(route.url)} does not answer")
    if isinstance(error, Redirected | requests.TooManyRedirects):
        return _redirected(route, error)
    fault = _fault_of_tls(route, str(error)) or _fault_of_address(route, error)
    if fault is not None:
        return fault
    return _of_proxy(route, route.proxy, error) if route.proxy else _plainly(route, error)


def _redirected(route: Route, error: requests.RequestException) -> ClientError:
    answer = error.response
    if not isinstance(error, Redirected) or answer is None:
        return NeverReachable(f"{shown(route.url)} leads from one address to the next without end")
    there, asked = urljoin(answer.url, answer.headers.get("Location", "")), urlsplit(answer.url).path
    base = shown(there).partition("?")[0].removesuffix(asked)
    return RequestRefused(
        f"{route.who_answers} answers {answer.status_code} and leads to {base}, as which a {error.args[0]} would be "
        "done as a GET; give that as the devserver's address"
    )


def _fault_of_tls(route: Route, text: str) -> ClientError | None:
    """What is wrong with an encrypted connection, where that is what is wrong."""
    url = shown(route.url)
    if not url.startswith("https:"):
        return None
    if _UNTRUSTED in text:
        return NotTrusted(f"{url} has a certificate that is not trusted here; ca= names a file of those that are")
    if _NO_TLS.search(text):
        return NeverReachable(f"{url} speaks plain HTTP; its address is http{url.removeprefix('https')}")
    if route.bundle and (reason := _fault_of_bundle(route.bundle)):
        return NotTrusted(f"{route.source} names {route.bundle}, which has no certificates to trust: {reason}")
    return None


def _fault_of_bundle(path: str) -> str:
    """Why a file of certificates cannot be used; empty where it can."""
    try:
        ssl.create_default_context().load_verify_locations(path)
    except ssl.SSLError:
        return "there is none in it"
    except OSError as error:
        return (error.strerror or "it cannot be read").lower()
    return ""


def _fault_of_address(route: Route, error: BaseException) -> ClientError | None:
    """What is wrong with the address, or with the proxy's, where that is what is wrong."""
    if isinstance(error, requests.exceptions.InvalidProxyURL) and route.proxy is not None:
        return NeverReachable(f"{route.proxy.variable} names no proxy: {shown(route.proxy.url)}")
    if _NO_SOCKS in str(error) and route.proxy is not None:
        wanted = "which takes PySocks; install it with: pip install PySocks"
        return NeverReachable(f"{route.proxy.variable} names a SOCKS proxy, {shown(route.proxy.url)}, {wanted}")
    if isinstance(error, _NO_ADDRESS):
        return NeverReachable(f"{shown(route.url)} is no address of a devserver; it should look like http://host:8080")
    return None


def _of_proxy(route: Route, proxy: Proxy, error: BaseException) -> ClientError:
    """What went wrong by a proxy; that one answers at all is told by what it says."""
    told = _OF_TUNNEL.search(str(error))
    if told is None:
        return ServerUnreachable(f"{shown(route.url)} cannot be reached by {proxy} ({proxy.variable}): {_why(error)}")
    text = f"{shown(route.url)} cannot be reached: {proxy} ({proxy.variable}) says {told[1].strip()}"
    return NeverReachable(text) if told[1].startswith("4") else ServerUnreachable(text)


def _plainly(route: Route, error: BaseException) -> ClientError:
    return ServerUnreachable(f"{shown(route.url)} cannot be reached: {_why(error)}")


def _why(error: BaseException) -> str:
    """Why a server cannot be reached, in the system's words; the HTTP library wraps them in errors of its own."""
    if isinstance(error, requests.Timeout):
        return "timed out"
    wrapped: list[object] = [error]
    for one in wrapped:  # it grows meanwhile
        if isinstance(one, socket.gaierror):
            return "the name is not known"
        if isinstance(one, OSError) and one.strerror:
            return one.strerror.lower()
        if isinstance(one, BaseException) and len(wrapped) < _MOST_WRAPPED:
            wrapped += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    return "the connection broke off" if isinstance(error, requests.ConnectionError) else type(error).__name__
