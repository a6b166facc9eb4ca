"""The model of a lab, run once: devices ask for their builds, are imaged, and run their tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from random import Random

import simpy

from bench.simulation.devserver import Devserver, Steps, Surroundings
from bench.simulation.lab import Lab, Sizes, Speeds
from bench.simulation.network import Link, Network
from bench.simulation.placement import Ring


@dataclass
class Device:
    """A device under test, and what became of it; moments are seconds from the beginning.

    Attributes:
        number: which one.
        path: the build that it is to get.
        copy: on which of the devservers that have the build.
        asked: when its job asked for the build.
        imaged: when it had read its image.
        tested: when it had read all that its tests need.
        restarts: how often it had to start anew, because its devserver was lost.

    """

    number: int
    path: str
    copy: int
    asked: float
    imaged: float = 0.0
    tested: float = 0.0
    restarts: int = 0

    @property
    def waited(self) -> float:
        """Seconds from its request until it was imaged."""
        return self.imaged - self.asked


@dataclass(frozen=True)
class Course:
    """What happened in a lab.

    Attributes:
        devices: all of them.
        archive_bytes: what crossed the line to the archive.
        sent_bytes: what the devservers sent, to devices and to each other.
        staged_at: when each devserver had each build's synchronous part.
        whole_at: when each devserver had all of each build.
        lost: the devserver that was lost.
        lost_paths: the builds that it had, or was staging.

    """

    devices: list[Device]
    archive_bytes: float
    sent_bytes: float
    staged_at: list[dict[str, float]]
    whole_at: list[dict[str, float]]
    lost: int | None
    lost_paths: list[str]

    @property
    def staged(self) -> float:
        """When the last devserver that was to have a build had its synchronous part."""
        return max(moment for builds in self.staged_at for moment in builds.values())

    @property
    def whole(self) -> float:
        """When the last devserver had all of the last build."""
        return max(moment for builds in self.whole_at for moment in builds.values())

    def waited(self, share: float) -> float:
        """Seconds after which that share of the devices was imaged, each counted from its own request."""
        return quantile([device.waited for device in self.devices], share)

    def staged_elsewhere(self) -> dict[str, float]:
        """When the builds of the devserver that was lost, as far as anybody still asked for them, were elsewhere."""
        others = [builds for number, builds in enumerate(self.staged_at) if number != self.lost]
        moments = {path: [builds[path] for builds in others if path in builds] for path in self.lost_paths}
        return {path: min(several) for path, several in moments.items() if several}


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that so large a share of them does not exceed."""
    return sorted(values)[max(0, ceil(share * len(values)) - 1)]


def run(lab: Lab, sizes: Sizes, speeds: Speeds, seed: int) -> Course:
    """Run a lab, from the first request until every device has what it asked for."""
    return _Run(lab, sizes, speeds, seed).course()


def devices_of(lab: Lab, seed: int) -> list[Device]:
    """A lab's devices, and what each asks for; with another seed, other builds at other moments."""
    random = Random(seed)  # noqa: S311 - nothing secret
    first = random.randrange(1_000_000)
    return [
        Device(
            number,
            lab.path(first + number % lab.builds),
            number // lab.builds % lab.copies,
            random.uniform(0, lab.spread),
        )
        for number in range(lab.devices)
    ]


def busiest(servers: Sequence[int]) -> int:
    """The devserver that serves the most devices, given which one serves each."""
    return max(sorted(set(servers)), key=servers.count)


class _Run:
    """One lab at work."""

    def __init__(self, lab: Lab, sizes: Sizes, speeds: Speeds, seed: int) -> None:
        self._lab = lab
        self._env = env = simpy.Environment()
        self._internet = Link(speeds.internet)
        self._network = Network(env)
        around = Surroundings(env, self._network, self._internet, speeds, sizes, lab)
        self._servers = around.servers
        self._servers.extend(Devserver(around) for _ in range(lab.devservers))
        ring = Ring(lab.devservers)
        self._devices = devices_of(lab, seed)
        paths = dict.fromkeys(device.path for device in self._devices)
        self._order = {path: [self._servers[number] for number in ring.order(path)] for path in paths}
        self._lost: int | None = None
        self._lost_paths: list[str] = []

    def course(self) -> Course:
        """Let it all happen."""
        for device in self._devices:
            self._env.process(self._job(device))
        if self._lab.lost_at is not None:
            self._env.process(self._lose(self._lab.lost_at))
        self._env.run()
        self._network.settle()
        sent = sum(server.outgoing.carried for server in self._servers)
        staged_at, whole_at = ([getattr(one, name) for one in self._servers] for name in ("staged_at", "whole_at"))
        return Course(self._devices, self._internet.carried, sent, staged_at, whole_at, self._lost, self._lost_paths)

    def _job(self, device: Device) -> Steps:
        yield self._env.timeout(device.asked)
        yield from self._persistently(device, self._image)
        device.imaged = self._env.now
        if self._lab.with_tests:
            yield self._env.timeout(self._lab.restart)
            yield from self._persistently(device, self._test)
            device.tested = self._env.now

    def _image(self, server: Devserver, device: Device) -> Steps:
        yield from server.download(device.path)
        yield from server.image()

    def _test(self, server: Devserver, device: Device) -> Steps:
        yield from server.wait_for_status(device.path)
        yield from server.packages()

    def _persistently(self, device: Device, steps: Callable[[Devserver, Device], Steps]) -> Steps:
        """Have a device served; from the beginning, by another devserver, when its own is lost."""
        while True:
            server = self._server(device)
            with server.depended_on(self._env.active_process):
                try:
                    yield from steps(server, device)
                except simpy.Interrupt:
                    device.restarts += 1
                else:
                    return
            yield self._env.timeout(self._lab.notice)

    def _server(self, device: Device) -> Devserver:
        """Of the devservers that have the build, the device's own: those that are lost are not among them."""
        alive = [server for server in self._order[device.path] if server.is_alive]
        return alive[device.copy % min(self._lab.copies, len(alive))]

    def _lose(self, moment: float) -> Steps:
        yield self._env.timeout(moment)
        self._lost = busiest([self._servers.index(self._server(device)) for device in self._devices])
        self._lost_paths = self._servers[self._lost].paths()
        self._servers[self._lost].lose()
