"""A devserver's address, as it is asked and as it is shown."""

from __future__ import annotations

import re

_USERINFO = re.compile(r"(?<=//)[^/?#]*@")
_ZONE = re.compile(r"(//(?:[^/?#]*@)?\[[0-9A-Fa-f:.]+)%(?:25)?([^\]%]+\])")


def spelled(url: str) -> str:
    """The URL in the spelling that is asked: no slash at its end, and the zone of an address as RFC 6874 has it."""
    return _ZONE.sub(r"\1%25\2", url.rstrip("/"))


def shown(url: str) -> str:
    """The URL without the name and the password that it may have."""
    return _USERINFO.sub("", url)


def told_apart_by(url: str) -> str:
    """What a devserver is told apart by, among several: host, port and path, as they are written."""
    return shown(url).partition("://")[2]
