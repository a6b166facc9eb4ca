"""Which of several devservers is asked, and which one after it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from .addresses import told_apart_by
from .connection import Access, answered
from .errors import ClientError
from .ring import Ring, key_of

_HEALTH_TIMEOUT = 2.0  # seconds
_BELIEVED = 5.0  # seconds for which what was found out is believed


class Devservers:
    """The devservers of a lab, and which of them answer. Where there is one alone, it is never asked how it is."""

    def __init__(self, urls: Sequence[str], access: Access) -> None:
        """They are told apart by host, port and path, as they are written.

        Raises:
            ValueError: there is none.

        """
        if not urls:
            raise ValueError("there is no devserver to ask; it should be one URL or several: http://devserver:8080")
        self._access = access
        self._urls = {told_apart_by(url.rstrip("/")): url.rstrip("/") for url in urls}
        self._ring = Ring(list(self._urls))
        self._found: dict[str, tuple[bool, float]] = {}  # by URL: whether it answered, and when that was

    def all(self) -> list[str]:
        """Their URLs, in the order in which they were given."""
        return list(self._urls.values())

    def of(self, build: str) -> list[str]:
        """The URLs for a build path or archive URL: whose it is first, then who takes over; as given, where empty."""
        key = key_of(build)
        return [self._urls[server] for server in self._ring.order(key)] if key else self.all()

    def to_ask(self, build: str) -> Iterator[str]:
        """Those of :meth:`of` that are well; or all, where none is: what is asked then says what is wrong."""
        urls = self.of(build)
        is_any_well = False
        for url in urls:
            if len(urls) == 1 or self.is_well(url):
                is_any_well = True
                yield url
        if not is_any_well:
            yield from urls

    def is_well(self, url: str) -> bool:
        """Whether a devserver answers, as was found out a moment ago, or is now."""
        was_well, when = self._found.get(url, (False, -_BELIEVED))
        if time.monotonic() - when < _BELIEVED:
            return was_well
        is_well = self._answers(url)
        self._found[url] = is_well, time.monotonic()
        return is_well

    def is_one_lost(self) -> bool:
        """Whether one of several does not answer."""
        return bool(self.away())

    def away(self) -> list[str]:
        """The URLs of those, of several, that do not answer."""
        return [url for url in self.all() if len(self._urls) > 1 and not self.is_well(url)]

    def lost(self, url: str) -> None:
        """Take note that a devserver cannot be reached, or broke off."""
        self._found[url] = False, time.monotonic()

    def _answers(self, url: str) -> bool:
        route = self._access.route_to(url)
        try:
            with answered("GET", route, "/check_health", self._access, timeout=_HEALTH_TIMEOUT) as answer:
                return answer.status_code < 500
        except ClientError:
            return False
