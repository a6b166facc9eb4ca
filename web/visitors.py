"""Who asks: a person at a browser or a program, and whether another site's page made the browser ask."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

Headers = Mapping[str, str]

# What a browser says of who made it ask (https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header); it says so to
# servers that it trusts alone: by TLS, or on its own machine.
_FETCH_SITE = "Sec-Fetch-Site"


def is_person(headers: Headers) -> bool:
    """Whether a browser asks for a page to show; programs that name HTML among what they take are none."""
    return _is_browser(headers) and "text/html" in headers.get("Accept", "")


def is_of_other_site(headers: Headers) -> bool:
    """Whether a browser asks, and it may be that the page of another site had it do so.

    Of a browser that says nothing of where it comes from, that is assumed: any page can keep it from saying so. No
    program is held up by this.
    """
    if not _is_browser(headers):
        return False
    if _FETCH_SITE in headers:
        return headers[_FETCH_SITE] not in ("same-origin", "none")
    return _host_of(headers.get("Origin") or headers.get("Referer", "")) != headers.get("Host")


def _host_of(address: str) -> str:
    """The host of an address, with its port; empty where it has none, or is no address."""
    try:
        return urlsplit(address).netloc
    except ValueError:
        return ""


def _is_browser(headers: Headers) -> bool:
    return _FETCH_SITE in headers or headers.get("User-Agent", "").startswith("Mozilla/")
