"""The list of builds in pages: which builds are on one, and where the next and the previous page are."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlencode

from staging.build_list import BuildList, Builds, Summary
from staging.errors import InvalidParameter
from staging.overview import BuildView
from staging.status import State

MOST = 200  # builds on one page, besides those that failed
_TROUBLE = (State.FAILED, State.CANCELLED)

Age = tuple[float, str]


@dataclass(frozen=True)
class Place:
    """Which page somebody wants.

    Attributes:
        after, before: the ages between which its builds are; those of the build that is the last one of the page
            before, and of the first one of the page after. A build that is gone since still is a place in the order.
        words: that the names of all builds on it contain.

    """

    after: Age | None = None
    before: Age | None = None
    words: str = ""

    @classmethod
    def parse(cls, after: str, before: str, words: str) -> Place:
        """The place that a link to a page says.

        Raises:
            InvalidParameter

        """
        return cls(_age("after", after), _age("before", before), words)


@dataclass(frozen=True)
class BuildPage:
    """One page.

    Attributes:
        builds: on it.
        first, last: the numbers of its first and its last build in the order, from 1.
        found: how many builds there are on all pages.
        total: how many there are on this server.
        is_read: whether all of those were read already; until then, these are some of them.
        words: as those of its place.
        previous, following: the links to the pages before and after it; empty where there is none.

    """

    builds: Sequence[BuildView]
    first: int
    last: int
    found: int
    total: int
    taken: int
    is_read: bool
    words: str
    previous: str
    following: str

    @property
    def is_whole(self) -> bool:
        """Whether every build on this server is on it."""
        return self.is_read and not (self.words or self.previous or self.following)


class _Range(NamedTuple):
    """From which build to which one a page is, by their numbers in the order, from 0."""

    start: int
    end: int


def page_of(builds: BuildList, place: Place) -> BuildPage:
    """The page at that place, as things are now. On the first one is what failed, too, however long ago."""
    now = builds.soon()
    found = _found(now, place.words)
    start, end = _range(found, place)
    shown = list(found[start:end])
    if start == 0:
        shown += [one for one in found[end:] if one.state in _TROUBLE]
    return BuildPage(
        builds=builds.views(shown),
        first=start + 1,
        last=end,
        found=len(found),
        total=len(now),
        taken=sum(one.size for one in now.newest),
        is_read=now.is_whole,
        words=place.words,
        previous=_previous(found, start, place.words),
        following=_link(place.words, after=found[end - 1].age) if end < len(found) else "",
    )


def _found(builds: Builds, words: str) -> Sequence[Summary]:
    wanted = words.lower().split()
    if not wanted:
        return builds.newest
    return [one for one in builds.newest if all(word in one.build_path.lower() for word in wanted)]


def _range(found: Sequence[Summary], place: Place) -> _Range:
    if place.before is not None:
        end = max(_number(found, place.before), min(MOST, len(found)))
        return _Range(max(0, end - MOST), end)
    start = 0
    if place.after is not None:
        start = _number(found, place.after)
        start += start < len(found) and found[start].age == place.after
    return _Range(start, min(start + MOST, len(found)))


def _number(found: Sequence[Summary], age: Age) -> int:
    """How many of the builds are newer."""
    return bisect_left(found, age, key=lambda one: one.age)


def _previous(found: Sequence[Summary], start: int, words: str) -> str:
    if start == 0:
        return ""
    if start <= MOST or start >= len(found):
        return _link(words)
    return _link(words, before=found[start].age)


def _link(words: str, **ages: Age) -> str:
    given = {name: f"{-moment!r} {path}" for name, (moment, path) in ages.items()}
    query = urlencode({**given, **({"name": words} if words else {})}, errors="surrogateescape")
    return f"/?{query}" if query else "/"


def _age(name: str, text: str) -> Age | None:
    """What a link says of a place in the order: the moment, and the path of a build of that moment."""
    if not text:
        return None
    moment, _, path = text.partition(" ")
    try:
        number = float(moment)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InvalidParameter(name, "it is none of the places that the links to other pages have")
    return -number, path
