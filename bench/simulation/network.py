"""Bytes on their way over links that they share: as a fluid, of which every connection gets its fair part.

The rates are max-min fair, as those of long TCP transfers nearly are: nobody gets more than his own limit, and of a
link that is full, every connection gets as much. Transfers that are alike (the same links, limit and connections) have
the same rate at all times, and are one group: thousands of devices that read from one devserver cost what one does.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from itertools import count

import simpy

_NEARLY = 1.0  # bytes that may be missing where a number has as many digits as it can
_Kind = tuple[Sequence["Link"], float, int]


class Link:
    """What carries so many bytes a second, and no more.

    Attributes:
        capacity: bytes a second.
        carried: bytes so far.

    """

    def __init__(self, capacity: float) -> None:
        self.capacity = capacity
        self.carried = 0.0
        self._groups: dict[_Group, None] = {}


class Transfer(simpy.Event):
    """Some bytes on their way; the event happens when the last one has come."""

    def __init__(self, env: simpy.Environment, group: _Group, last: float) -> None:
        super().__init__(env)
        self._group = group
        self._last = last  # how much each of the group has had when this one has all
        self._is_cancelled = False


class _Group:
    """Transfers that are alike."""

    def __init__(self, links: Sequence[Link], limit: float, connections: int, now: float) -> None:
        self.links = links
        self.limit = limit
        self.connections = connections
        self.waiting: list[tuple[float, int, Transfer]] = []
        self.count = 0
        self.rate = 0.0  # bytes a second, of each
        self.had = 0.0  # bytes, of each that was here from the beginning
        self.since = now
        self.changes = 0


class Network:
    """All that is on its way at one moment."""

    def __init__(self, env: simpy.Environment) -> None:
        self._env = env
        self._kinds: dict[_Kind, _Group] = {}
        self._numbers = count()

    def transfer(self, size: float, links: Sequence[Link], limit: float, connections: int = 1) -> Transfer:
        """Send ``size`` bytes over ``links``, with no more than ``limit`` bytes a second.

        Args:
            size: bytes.
            links: every one that the bytes cross.
            limit: a finite number of bytes a second, of all its connections together.
            connections: how many of them share in what a full link gives.

        """
        kind = (tuple(links), limit, connections)
        group = self._kinds.get(kind) or self._kinds.setdefault(kind, _Group(*kind, self._env.now))
        self._settle(group)
        transfer = Transfer(self._env, group, group.had + size)
        heapq.heappush(group.waiting, (transfer._last, next(self._numbers), transfer))
        group.count += 1
        for link in group.links:
            link._groups[group] = None
        self._share_anew([group])
        return transfer

    def cancel(self, transfer: Transfer) -> None:
        """Take a transfer off the network, if it is there still."""
        if not (transfer.triggered or transfer._is_cancelled):
            self._settle(transfer._group)  # it has had its part until now
            transfer._is_cancelled = True
            transfer._group.count -= 1
            self._share_anew([transfer._group])

    def set_capacity(self, link: Link, capacity: float) -> None:
        """From now on, ``link`` carries so many bytes a second."""
        if link.capacity != capacity:
            link.capacity = capacity
            self._share_anew(list(link._groups))

    def settle(self) -> None:
        """Have every link's ``carried`` be as of now."""
        for group in self._kinds.values():
            self._settle(group)

    def _settle(self, group: _Group) -> None:
        """Count what has come since the group's rate was last changed."""
        each = group.rate * (self._env.now - group.since)
        group.since = self._env.now
        group.had += each
        for link in group.links:
            link.carried += each * group.count

    def _share_anew(self, changed: Iterable[_Group]) -> None:
        """Give those groups, and all that share a link with them, directly or not, the rates that are fair now."""
        groups = _connected(changed)
        for group in groups:
            self._settle(group)
            self._finish(group)
        _share(groups)
        for group in groups:
            self._wake_up_at_the_next_end(group)

    def _finish(self, group: _Group) -> None:
        """Let go of the transfers that have all their bytes, or were cancelled."""
        while group.waiting and (group.waiting[0][2]._is_cancelled or group.waiting[0][0] <= group.had + _NEARLY):
            _, _, transfer = heapq.heappop(group.waiting)
            if not transfer._is_cancelled:
                group.count -= 1
                transfer.succeed()
        if not group.count:
            group.rate = 0.0
            for link in group.links:
                link._groups.pop(group, None)

    def _wake_up_at_the_next_end(self, group: _Group) -> None:
        group.changes += 1
        if group.rate and group.waiting:
            changes = group.changes
            ends = self._env.timeout(max(0.0, group.waiting[0][0] - group.had) / group.rate)
            ends.callbacks.append(lambda _: self._share_anew([group]) if group.changes == changes else None)


def _connected(changed: Iterable[_Group]) -> list[_Group]:
    found = dict.fromkeys(changed)
    queue = list(found)
    while queue:
        for link in queue.pop().links:
            new = [group for group in link._groups if group not in found]
            found.update(dict.fromkeys(new))
            queue.extend(new)
    return list(found)


def _share(groups: Sequence[_Group]) -> None:
    """Max-min fair rates: the narrowest link shares itself out first, and what is left goes to the others."""
    unsettled = dict.fromkeys(group for group in groups if group.count)
    free = {link: link.capacity for group in unsettled for link in group.links}
    while unsettled:
        wanted = dict.fromkeys(free, 0)
        for group in unsettled:
            for link in group.links:
                wanted[link] += group.count * group.connections
        part, narrowest = _narrowest(free, wanted)
        modest = [group for group in unsettled if group.limit <= part * group.connections]
        for group in modest or [group for group in unsettled if narrowest in group.links]:
            group.rate = min(group.limit, part * group.connections)
            del unsettled[group]
            for link in group.links:
                free[link] = max(0.0, free[link] - group.rate * group.count)


def _narrowest(free: Mapping[Link, float], wanted: Mapping[Link, int]) -> tuple[float, Link]:
    """The link that has least for each connection, and how much that is."""
    parts = [(free[link] / connections, link) for link, connections in wanted.items() if connections]
    return min(parts, key=lambda part: part[0])
