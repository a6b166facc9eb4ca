"""The other devservers of a cluster: they are told of this one's downloads, and this one of theirs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from staging.board import StatusBoard
from staging.cluster.announcer import Announcer
from staging.cluster.broker import connected
from staging.cluster.follower import Follower
from staging.cluster.news import Newsstand
from staging.layout import BuildPlaces
from staging.manifest import Manifest


class Neighbours:
    """What keeps devservers that share a static directory in touch."""

    def __init__(
        self,
        broker_url: str,
        static_dir: Path,
        board: StatusBoard,
        take_over: Callable[[], None],
        tell: Callable[[str], None],
    ) -> None:
        """``take_over`` takes up the orders of devservers that are no more; ``tell`` is told in a sentence what an
        operator should know.
        """
        newsstand = Newsstand(connected(broker_url), tell)
        places = partial(BuildPlaces, static_dir)
        self._announcer = Announcer(newsstand, board, tell)
        self._follower = Follower(newsstand, board, lambda build: Manifest.if_readable(places(build)), take_over, tell)

    def start(self) -> None:
        """Tell and listen."""
        self._announcer.start()
        self._follower.start()

    def stop(self) -> None:
        """Do so no more."""
        self._announcer.stop()
        self._follower.stop()
