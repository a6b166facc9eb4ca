"""The model's devserver: it stages, from the archive or from a peer, answers who waits, and sends."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import simpy

from bench.simulation.lab import Lab, Sizes, Speeds
from bench.simulation.network import Link, Network, Transfer

Steps = Generator[simpy.Event, Any, None]


@dataclass(frozen=True)
class Surroundings:
    """What all devservers of a lab share."""

    env: simpy.Environment
    network: Network
    internet: Link
    speeds: Speeds
    sizes: Sizes
    lab: Lab
    servers: list[Devserver] = field(default_factory=list)


@dataclass(frozen=True)
class _Part:
    """The synchronous or the background part of a build."""

    path: str
    is_background: bool


class Devserver:
    """One devserver, with a disk of its own.

    Attributes:
        incoming, outgoing: its port of the lab's network.
        is_alive: whether it has not been lost.
        staged_at: when it had the synchronous part of each build.
        whole_at: when it had all of it.

    """

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        speeds, env = around.speeds, around.env
        self.incoming = Link(speeds.port)
        self.outgoing = Link(min(speeds.port, speeds.serving))
        self._staging = Link(speeds.all_synchronous)
        self._background = Link(speeds.all_background)
        self._slots = {kind: simpy.Resource(env, around.lab.downloads_at_once) for kind in (False, True)}
        self._staged: dict[_Part, simpy.Event] = {}
        self._from_archive: set[_Part] = set()
        self._urgent = 0
        self._fills = 0
        self._answers_until = 0.0
        self._requests_until = 0.0
        self._dependants: dict[simpy.Process, None] = {}
        self.is_alive = True
        self.staged_at: dict[str, float] = {}
        self.whole_at: dict[str, float] = {}

    # Staging

    def download(self, path: str) -> Steps:
        """What ``/download`` does: returns when the build's synchronous part is staged, and the caller is told."""
        yield from self._answered(_Part(path, is_background=False))

    def wait_for_status(self, path: str) -> Steps:
        """What ``/wait_for_status`` does."""
        yield from self._answered(_Part(path, is_background=True))

    def begin(self, path: str) -> None:
        """Stage the build, unless that has begun."""
        if _Part(path, is_background=False) not in self._staged:
            parts = [_Part(path, is_background) for is_background in (False, True)]
            self._staged |= {part: self._around.env.event() for part in parts}
            self._around.env.process(self._while_alive(self._stage(parts)))

    def paths(self) -> list[str]:
        """The builds that are here, or on their way."""
        return [part.path for part in self._staged if not part.is_background]

    def _answered(self, part: _Part) -> Steps:
        self.begin(part.path)
        yield self._staged[part]
        # One waiter after the other is woken, and answered.
        now = self._around.env.now
        self._answers_until = max(self._answers_until, now) + self._around.speeds.answer_seconds
        yield self._around.env.timeout(self._answers_until - now)

    def _stage(self, parts: list[_Part]) -> Steps:
        for part in parts:
            with self._slots[part.is_background].request() as place, self._urgency(part):
                yield place
                yield from self._fetch(part)
            moments = self.whole_at if part.is_background else self.staged_at
            moments[part.path] = self._around.env.now
            self._staged[part].succeed()

    @contextmanager
    def _urgency(self, part: _Part) -> Iterator[None]:
        """Background work gives way to what a harness waits for."""
        self._urge(0 if part.is_background else 1)
        try:
            yield
        finally:
            self._urge(0 if part.is_background else -1)

    def _urge(self, change: int) -> None:
        self._urgent += change
        rate = 0.0 if self._urgent else self._around.speeds.all_background
        self._around.network.set_capacity(self._background, rate)

    def _fetch(self, part: _Part) -> Steps:
        """Bring the part here: from a peer that has it or fetches it, else from the archive."""
        while True:
            peer = self._peer(part)
            try:
                if peer is None:
                    self._from_archive.add(part)
                    yield from self._transferred(part, self._around.internet)
                else:
                    with peer.depended_on(self._around.env.active_process):
                        yield peer._staged[part]
                        yield from peer._fill(self, part)
            except simpy.Interrupt:  # the peer was lost, or this devserver
                if not self.is_alive:
                    raise
            else:
                return

    def _peer(self, part: _Part) -> Devserver | None:
        """Of those that have the part the least busy one, else the one that fetches it from the archive."""
        if not self._around.lab.peers:
            return None
        others = [one for one in self._around.servers if one.is_alive and one is not self]
        having = [one for one in others if part in one._staged and one._staged[part].triggered]
        fetching = [one for one in others if part in one._from_archive]
        return min(having, key=lambda one: one._fills) if having else next(iter(fetching), None)

    def _fill(self, peer: Devserver, part: _Part) -> Steps:
        """Send the part to a peer that fills from here."""
        self._fills += 1
        try:
            yield from peer._transferred(part, self.outgoing)
        finally:
            self._fills -= 1

    def _transferred(self, part: _Part, source: Link) -> Steps:
        speeds, sizes = self._around.speeds, self._around.sizes
        if part.is_background:
            size, work, far, near = sizes.background, self._background, speeds.one_background, speeds.all_background
        else:
            size, work, far, near = sizes.synchronous, self._staging, speeds.one_synchronous, speeds.all_synchronous
        limit = far if source is self._around.internet else near
        yield from self._carried(size, [source, self.incoming, work], limit, speeds.connections)

    # Serving

    def image(self) -> Steps:
        """A device reads what it is imaged with."""
        yield from self._sent(self._around.sizes.image)

    def packages(self) -> Steps:
        """A device reads what its tests need: small files, each of which costs a request."""
        sizes, now = self._around.sizes, self._around.env.now
        work = sizes.package_requests * self._around.speeds.request_seconds
        self._requests_until = max(self._requests_until, now) + work
        yield self._around.env.timeout(self._requests_until - now)
        yield from self._sent(sizes.packages)

    def _sent(self, size: float) -> Steps:
        yield from self._carried(size, [self.outgoing], self._around.speeds.device)

    def _carried(self, size: float, links: list[Link], limit: float, connections: int = 1) -> Steps:
        transfer: Transfer = self._around.network.transfer(size, links, limit, connections)
        try:
            yield transfer
        finally:
            self._around.network.cancel(transfer)

    # Being lost

    def lose(self) -> None:
        """The machine is gone, and with it what it was doing."""
        self.is_alive = False
        for process in list(self._dependants):
            process.interrupt()

    @contextmanager
    def depended_on(self, process: simpy.Process | None) -> Iterator[None]:
        """Whoever is served here is interrupted when this devserver is lost."""
        if process is None:
            raise RuntimeError("only a process of the model can be served")
        self._dependants[process] = None
        try:
            yield
        finally:
            self._dependants.pop(process, None)

    def _while_alive(self, steps: Steps) -> Steps:
        """Steps that end when this devserver is lost."""
        with self.depended_on(self._around.env.active_process), suppress(simpy.Interrupt):
            yield from steps
