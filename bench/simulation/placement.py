"""Where builds lie: a consistent hash of the build path, as a harness computes it that knows its lab's devservers."""

from __future__ import annotations

from bisect import bisect
from functools import lru_cache
from hashlib import blake2b
from itertools import chain, islice

_POINTS = 64  # of each devserver, on the ring


class Ring:
    """Devservers around a circle, at many points each; a build belongs to the next one from where its path lies."""

    def __init__(self, servers: int) -> None:
        self._servers = servers
        self._points = _points(servers)

    def order(self, path: str) -> list[int]:
        """All devservers, in the order in which the build at ``path`` goes to them: first, and when that is lost."""
        start = bisect(self._points, (_hash(path), -1))
        found: dict[int, None] = {}
        for _, server in chain(islice(self._points, start, None), islice(self._points, start)):
            found[server] = None
            if len(found) == self._servers:
                break
        return list(found)


@lru_cache(maxsize=64)
def _points(servers: int) -> list[tuple[int, int]]:
    return sorted((_hash(f"devserver-{one}/{point}"), one) for one in range(servers) for point in range(_POINTS))


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")
