"""Which builds go, and which stay: decided from records alone, by whoever deletes them and by whoever only asks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from staging.clock import FIRST_PLAUSIBLE

Reason = Literal["bytes", "free", "age"]


@dataclass(frozen=True)
class Record:
    """What has to be known of a build.

    Attributes:
        build_path: its path.
        size: bytes that its removal frees.
        last_used: seconds since the epoch.
        holds: why it has to stay, a few words each: ``pinned``; empty where it may go.

    """

    build_path: str
    size: int
    last_used: float
    holds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Limits:
    """What the operator allows; None for what is not limited.

    Attributes:
        max_bytes: that all builds may have, with what is on its way.
        min_free: bytes that stay free on the disk.
        max_age: seconds without use after which a build goes.

    """

    max_bytes: int | None = None
    min_free: int | None = None
    max_age: float | None = None

    @property
    def are_there(self) -> bool:
        """Whether there is any."""
        return self != Limits()


class Disk(NamedTuple):
    """The room there is.

    Attributes:
        free: bytes that the file system has left.
        unpublished: bytes on their way that no record has yet.
        unwritten: of those, the ones that the file system has not given away yet.

    """

    free: int
    unpublished: int = 0
    unwritten: int = 0


class Victim(NamedTuple):
    """A build that goes, and the limit for the sake of which it does."""

    record: Record
    reason: Reason


class Decision(NamedTuple):
    """What becomes of the builds.

    Attributes:
        goes: in this order.
        stays: the others; those without holds because nobody needs their room.
        missing: bytes that are still too few when all of them have gone; 0 where there is room.

    """

    goes: tuple[Victim, ...]
    stays: tuple[Record, ...]
    missing: int


def decide(records: Iterable[Record], limits: Limits, disk: Disk, now: float, wanted: int = 0) -> Decision:
    """Which builds go so that the limits hold once ``wanted`` more bytes are here.

    What was not used for too long goes in any case; then the least recently used, one after the other, until there is
    room. What is held stays.
    """
    everything = list(records)
    surplus = _surplus(sum(record.size for record in everything), limits, disk, wanted)
    shortage = _shortage(limits, disk, wanted)
    horizon = float("-inf") if limits.max_age is None else now - limits.max_age
    goes, stays = [], [record for record in everything if record.holds]
    may_go = (record for record in everything if not record.holds)
    for record in sorted(may_go, key=lambda record: (record.last_used, record.build_path)):
        reason = _reason(record, horizon, surplus, shortage)
        if reason is None:
            stays.append(record)
        else:
            goes.append(Victim(record, reason))
            surplus -= record.size
            shortage -= record.size
    return Decision(tuple(goes), tuple(stays), max(surplus, shortage, 0))


def _surplus(used: int, limits: Limits, disk: Disk, wanted: int) -> int:
    """Bytes beyond ``max_bytes``; none where that is not limited."""
    return 0 if limits.max_bytes is None else used + disk.unpublished + wanted - limits.max_bytes


def _shortage(limits: Limits, disk: Disk, wanted: int) -> int:
    """Bytes that are lacking to ``min_free``; none where that is not limited."""
    return 0 if limits.min_free is None else limits.min_free - (disk.free - disk.unwritten - wanted)


def _reason(record: Record, horizon: float, surplus: int, shortage: int) -> Reason | None:
    if FIRST_PLAUSIBLE <= record.last_used < horizon:  # what is older still was told by a clock that was not set
        return "age"
    if not record.size:  # it makes no room
        return None
    if surplus > 0:
        return "bytes"
    return "free" if shortage > 0 else None
