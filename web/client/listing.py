"""The builds of all devservers, as one list."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import merge
from itertools import groupby
from operator import itemgetter

from .asking import Asking
from .errors import ServerUnreachable
from .shapes import Build

_PAGE = 1000  # builds that are asked for at once
Ranked = tuple[str, int, Build]  # a build with its path, and how soon its devserver is asked for it


def builds(asking: Asking, prefix: str) -> Iterator[Build]:
    """The builds whose paths begin with ``prefix``, in the order of their paths, each once.

    A devserver of several that cannot be reached is left out.

    Raises:
        RequestRefused, ServerBusy
        ServerUnreachable: none can be reached.

    """
    lists = [_ranked(one, asking, prefix) for one in _reached(asking)]
    for _, same in groupby(merge(*lists, key=itemgetter(0, 1)), key=itemgetter(0)):
        yield next(same)[2]


def _reached(asking: Asking) -> list[Asking]:
    """One for each devserver that answers."""
    everybody = asking.each()
    if len(everybody) == 1:
        return everybody
    asking.json("GET", "/version")  # waits for the first, where none is there
    return [one for one in everybody if asking.devservers.is_well(one.first_url)]


def _ranked(one: Asking, everybody: Asking, prefix: str) -> Iterator[Ranked]:
    """The builds of one devserver, as far as it comes."""
    try:
        for build in _listed(one, prefix):
            path = build["build"]
            yield path, everybody.devservers.of(path).index(one.first_url), build
    except ServerUnreachable:
        if one is everybody:
            raise
        everybody.devservers.lost(one.first_url)


def _listed(asking: Asking, prefix: str) -> Iterator[Build]:
    after: str | None = ""
    while after is not None:
        query = {"prefix": prefix, "after": after, "limit": str(_PAGE)}
        page = asking.json("GET", "/builds", "builds", params=query)
        yield from page["builds"]
        after = page["next"]
