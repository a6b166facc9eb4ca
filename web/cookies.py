"""The cookies of a request. What of them cannot be read is another application's, and is ignored."""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie

_MOST = 100  # of one request; a browser keeps about as many for a host


def cookies_of(header: str) -> SimpleCookie:
    """The cookies that a ``Cookie`` header names; of several of one name, the last.

    Ports and applications of one host share its cookies: one that breaks the rules must not hide those beside it, as
    it does where the header is read as a whole.
    """
    cookies = SimpleCookie()
    for pair in header.split(";")[:_MOST]:
        name, separator, value = pair.partition("=")
        if separator:
            _keep(cookies, name.strip(), value.strip())
    return cookies


def _keep(cookies: SimpleCookie, name: str, value: str) -> None:
    try:
        cookies[name] = cookies.value_decode(value)[0]
    except (CookieError, ValueError, UnicodeError):
        return
