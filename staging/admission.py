"""Who may start another download: a server that takes on more than it can do serves nobody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from staging.errors import Overloaded


@dataclass(frozen=True)
class Admission:
    """How many downloads may be under way.

    Attributes:
        places: how many of them are staged at once.
        queue: how many more may wait for a place.
        per_client: how many one client may have started; None for as many as it likes.

    """

    places: int
    queue: int = 1000
    per_client: int | None = None

    def is_full(self, under_way: int) -> bool:
        """Whether no more may be started: one more than these might have to wait behind a full queue."""
        return under_way >= self.places + self.queue

    def check(self, client: str, clients: Sequence[str]) -> None:
        """Go on where ``client`` may start one more download, beside those of ``clients`` that are under way.

        Raises:
            Overloaded

        """
        if self.is_full(len(clients)):
            raise Overloaded(f"{len(clients)} downloads are under way or wait for a place, as many as may")
        mine = clients.count(client)
        if self.per_client is not None and mine >= self.per_client:
            raise Overloaded(f"{client} has {mine} downloads under way, as many as one client may")
