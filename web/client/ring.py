"""Which of several devservers has a build: a ring of hashes, the same that nginx makes of the same addresses."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from zlib import crc32

_POINTS = 160  # of each server, as nginx' `hash … consistent` has of a weight of 1


class Ring:
    """Servers around a ring; each build has its place there, and belongs to the server that comes next.

    It agrees with nginx' ``hash $key consistent`` where that has the same servers, written alike: ``host:port``. One
    server more or less moves the builds of one server, and no others.
    """

    def __init__(self, servers: Sequence[str]) -> None:
        """Of points that two servers share, the first server has it."""
        points: dict[int, str] = {}
        for server in servers:
            for point in _points_of(server):
                points.setdefault(point, server)
        self._points = sorted(points)
        self._servers = [points[point] for point in self._points]

    def order(self, key: str) -> list[str]:
        """All servers: the one that ``key`` belongs to, and whose it is where that one is away, and so on."""
        first = bisect_left(self._points, crc32(key.encode(errors="replace")))
        return list(dict.fromkeys(self._servers[first:] + self._servers[:first]))


def key_of(build: str) -> str:
    """What builds are told apart by, of a build path or an archive URL: target and version, ``target/version``.

    Of a longer path, that is its first two parts. Of a directory's URL, only its devserver knows where the build path
    begins: the last two stand for it.
    """
    scheme, _, path = build.rpartition("://")
    parts = [part for part in path.split("/") if part]
    if scheme == "gs":
        parts = parts[1:]  # without the bucket
    elif scheme == "file":
        parts = parts[-2:]
    return "/".join(parts[:2])


def _points_of(server: str) -> list[int]:
    """The places of a server: each is a checksum over its address and the place before."""
    host, colon, port = server.rpartition(":")
    if not colon or not all("0" <= character <= "9" for character in port):
        host, port = server, ""
    address = crc32(f"{host}\0{port}".encode())
    points, before = [], 0
    for _ in range(_POINTS):
        before = crc32(before.to_bytes(4, "little"), address)
        points.append(before)
    return points
