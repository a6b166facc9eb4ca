"""What goes wrong in a round, and when: kills, faults of the archive, a disk that fills."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from campaigns.builds import CampaignBuild
from campaigns.disk import SmallDisk
from campaigns.ledger import Ledger
from tests.fake_archive import FakeArchive, Fault

DISK_FULL, REPUBLISHED, SLOWED = "disk-full episodes", "builds published anew", "times that the archive was slow"
_STATUSES = (401, 403, 404, 408, 429, 500, 502, 503, 504)
_ACTIONS = ("cut", "reset", "stall", "flip")
_RATES = (300_000.0, 1_000_000.0, 5_000_000.0)  # bytes per second of each connection
_LISTING = "list"
_MOST_FAULTS = 24  # of a round
_ROOM = 400_000  # bytes that may be left on a full disk


class Event(NamedTuple):
    """Something that happens, so many seconds after the round began."""

    moment: float
    happens: Callable[[], None]


@dataclass
class Trouble:
    """Who makes it; each method is something that may happen."""

    ledger: Ledger
    archive: FakeArchive
    disk: SmallDisk
    builds: list[CampaignBuild]

    def planned(self, numbers: random.Random, seconds: float) -> list[Event]:
        """What happens in a round of so many seconds, but for kills."""
        events = [
            Event(numbers.uniform(0, seconds), partial(self.break_an_answer, *random_fault(numbers, self.builds)))
            for _ in range(numbers.randint(0, _MOST_FAULTS))
        ]
        if numbers.random() < 0.3:
            build, version = numbers.choice(self.builds), numbers.randrange(2)
            names = numbers.sample(build.objects, numbers.randint(1, len(build.objects)))
            moment = numbers.uniform(0, seconds)
            events.append(Event(moment, partial(self.publish_anew, build, version, names)))
        if numbers.random() < 0.4:
            rate = numbers.choice(_RATES)
            events.append(Event(numbers.uniform(0, seconds / 2), partial(self.slow_down, rate)))
            events.append(Event(numbers.uniform(seconds / 2, seconds), partial(self.slow_down, 0)))
        if numbers.random() < 0.4:
            begin = numbers.uniform(0, seconds * 0.7)
            events.append(Event(begin, partial(self.fill_disk, numbers.randint(0, _ROOM))))
            events.append(Event(numbers.uniform(begin, seconds), self.empty_disk))
        return events

    def end(self) -> None:
        """Have everything in order again."""
        self.archive.heal()
        self.archive.bytes_per_second = 0
        self.disk.empty()

    def break_an_answer(self, name: str, fault: Fault) -> None:
        """Let an answer of the archive go wrong."""
        self.ledger.note(f"the archive's next answer about {name}: {fault.kind} after {fault.after}")
        self.archive.fail_once(name, fault)

    def publish_anew(self, build: CampaignBuild, version: int, names: list[str]) -> None:
        """Publish objects of a build as new generations, perhaps with another content."""
        self.ledger.note(f"published anew, version {version}: {build.path}, {', '.join(names)}")
        self.ledger.count(REPUBLISHED)
        build.upload(self.archive, version, names)

    def slow_down(self, bytes_per_second: float) -> None:
        """Hold each connection to a rate; 0 for none."""
        self.ledger.note(f"the archive sends {bytes_per_second:g} bytes per second")
        self.ledger.count(SLOWED, bool(bytes_per_second))
        self.archive.bytes_per_second = bytes_per_second

    def fill_disk(self, but: int) -> None:
        """Leave little room on the disk."""
        self.ledger.count(DISK_FULL)
        self.disk.fill(but)
        self.ledger.note(f"the disk has {self.disk.free} bytes left")

    def empty_disk(self) -> None:
        """Make room again."""
        self.disk.empty()
        self.ledger.note(f"the disk has {self.disk.free} bytes left")


def random_fault(numbers: random.Random, builds: Sequence[CampaignBuild]) -> tuple[str, Fault]:
    """An answer of the archive that goes wrong, by the last part of the object's name, and how it does."""
    name = numbers.choice([*builds[0].objects, _LISTING])
    if name == _LISTING or numbers.random() < 0.4:
        return name, Fault(status=numbers.choice(_STATUSES))
    size = len(builds[0].versions[0].objects[name])
    return name, Fault(after=numbers.randrange(size), action=numbers.choice(_ACTIONS))
