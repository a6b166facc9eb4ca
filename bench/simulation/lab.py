"""What a lab is made of, in numbers: what the model, and the real run beside it, are given."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """How large things are, in bytes.

    Attributes:
        image: what a device reads to be imaged: the full payload and the stateful partition.
        synchronous: what is fetched before ``/download`` answers.
        background: what is fetched afterwards.
        packages: what a device reads for its tests.
        package_requests: in so many requests.

    """

    image: float
    synchronous: float
    background: float
    packages: float
    package_requests: int

    @property
    def build(self) -> float:
        """The whole build, as the archive has it."""
        return self.synchronous + self.background


@dataclass(frozen=True)
class Speeds:
    """How fast things are: bytes a second, unless said otherwise.

    Attributes:
        device: what one device reads and writes to its disk.
        port: a devserver's port of the lab's network, in each direction.
        internet: the lab's line to the archive.
        serving: what a devserver sends at most, however fast its port is.
        request_seconds: of a devserver, for each request of a small file.
        answer_seconds: of a devserver, for each client that waited and is answered.
        one_synchronous: one build's synchronous part, staged from the archive with nothing else going on.
        all_synchronous: all such parts that one devserver stages at once.
        one_background: as ``one_synchronous``, of what is staged afterwards.
        all_background: as ``all_synchronous``.
        connections: by which a devserver reads a part of a build.

    """

    device: float
    port: float
    internet: float
    serving: float
    request_seconds: float
    answer_seconds: float
    one_synchronous: float
    all_synchronous: float
    one_background: float
    all_background: float
    connections: int


@dataclass(frozen=True)
class Lab:
    """A lab, and what happens in it.

    Attributes:
        devices: how many there are to be imaged, each once.
        devservers: how many there are, each with a disk of its own.
        builds: how many the devices are to get; each device gets one, and each build goes to as many devices.
        copies: on how many devservers each build is put, which share its devices.
        peers: whether a devserver fills from another one before it asks the archive.
        spread: seconds over which the devices' jobs ask.
        with_tests: whether the devices run tests once they are imaged.
        restart: seconds that a device takes from its image to its tests.
        lost_at: seconds until a devserver is lost: the one that has the most devices.
        notice: seconds until who was served by it turns to another one.
        downloads_at_once: builds that one devserver stages at once.

    """

    devices: int
    devservers: int
    builds: int
    copies: int = 1
    peers: bool = False
    spread: float = 60.0
    with_tests: bool = False
    restart: float = 120.0
    lost_at: float | None = None
    notice: float = 30.0
    downloads_at_once: int = 8

    def path(self, number: int) -> str:
        """The build path of a build."""
        return f"board{number}-release/R17-1413.0.0-a1-b1346"
