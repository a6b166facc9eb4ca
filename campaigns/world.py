"""What the clients of a campaign share: where the devserver is, which builds there are, and what they were promised."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from campaigns.builds import CampaignBuild
from campaigns.ledger import Ledger


@dataclass
class World:
    """The devserver as clients see it.

    Attributes:
        ledger: of the campaign.
        builds: that clients ask for.
        address: of the devserver; another one after each restart.
        epoch: counts its lives: a connection may break only where one ends.
        is_up: set while it listens.
        steady: the paths of the builds that nobody removes at present.
        is_over: set when the clients shall stop.

    """

    ledger: Ledger
    builds: list[CampaignBuild]
    address: str = ""
    epoch: int = 0
    is_up: threading.Event = field(default_factory=threading.Event)
    steady: frozenset[str] = frozenset()
    is_over: threading.Event = field(default_factory=threading.Event)
    _promised: dict[str, set[str]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def goes_down(self) -> None:
        """A life of the devserver ends at this moment."""
        self.is_up.clear()
        self.epoch += 1

    def comes_up(self, address: str) -> None:
        """It listens, at that address."""
        self.address = address
        self.is_up.set()

    def begin(self, steady: Iterable[str]) -> None:
        """Begin a round in which nobody removes the builds at the paths ``steady``."""
        self.steady = frozenset(steady)
        self.is_over.clear()
        with self._lock:
            self._promised.clear()

    def promise(self, build: CampaignBuild, artifacts: Sequence[str]) -> None:
        """Take note that the devserver called these artifacts staged: of a steady build, they stay so."""
        if build.path in self.steady:
            with self._lock:
                self._promised.setdefault(build.path, set()).update(artifacts)

    def promised(self, build: CampaignBuild) -> set[str]:
        """The artifacts of the build that have to be there."""
        with self._lock:
            return set(self._promised.get(build.path, ()))
