"""What is to be shown: ratios of medians, each with what it may be at most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.profiles import LOOPBACK, WIDE_AREA, Profile
from bench.samples import Outcome

_BOTH = (LOOPBACK, WIDE_AREA)
_MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Limit:
    """One row of the table.

    Attributes:
        text: what is measured.
        profiles: where.
        experiment: which one's methods are compared.
        against: the methods that ours is compared with: with the slowest of them. None: the number itself counts.
        at_most: the limit.
        ours: the method that is ours.
        quantity: what of the samples is compared.

    """

    text: str
    profiles: tuple[Profile, ...]
    experiment: str
    against: tuple[str, ...]
    at_most: float
    ours: str = "devserver"
    quantity: str = "wall"


_OBJECT = "a 512 MiB object, crc32c verified, against"
LIMITS = (
    Limit(f"{_OBJECT} `curl` writing the same file unverified", (LOOPBACK,), "object", ("curl",), 1.35),
    Limit(f"{_OBJECT} `rclone copy`", (LOOPBACK,), "object", ("rclone",), 0.6),
    Limit(f"{_OBJECT} `download_to_filename`", (LOOPBACK,), "object", ("client",), 0.6),
    Limit(f"{_OBJECT} a single `curl`", (WIDE_AREA,), "object", ("curl",), 0.35),
    Limit("the whole build against the original's way", _BOTH, "build", ("original",), 0.55),
    Limit("the whole build against `rclone copy` then `tar`", (LOOPBACK,), "build", ("rclone",), 0.95),
    Limit("the whole build against `rclone copy` then `tar`", (WIDE_AREA,), "build", ("rclone",), 0.7),
    Limit("the whole build against the floor, the slower of two", _BOTH, "build", ("curl", "untar"), 1.2),
    Limit(
        "processor time of the whole build against the original's way",
        (LOOPBACK,),
        "build",
        ("original",),
        0.9,
        quantity="cpu",
    ),
    Limit(
        "`/download`'s answer against parallel `curl` of its objects and unpacking `test_suites`",
        _BOTH,
        "answer",
        ("curl",),
        1.4,
    ),
    Limit(
        "`/download`'s answer beside another build's background, against an idle server",
        _BOTH,
        "answer",
        ("devserver",),
        1.5,
        ours="busy devserver",
    ),
    Limit(
        "peak memory beyond idle, of server and worker, staging a 4 GiB object; in MB",
        (LOOPBACK,),
        "memory",
        (),
        200,
        quantity="peak",
    ),
)


@dataclass(frozen=True)
class Verdict:
    """A limit in one profile, and what was measured; None where it was not."""

    limit: Limit
    profile: str
    measured: float | None

    @property
    def holds(self) -> bool:
        """Whether it was measured, and is kept."""
        return self.measured is not None and self.measured <= self.limit.at_most


def verdicts(outcomes: Sequence[Outcome]) -> list[Verdict]:
    """Every limit in each of its profiles."""
    found = {(outcome.experiment, outcome.profile): outcome for outcome in outcomes}
    return [
        Verdict(limit, profile.name, _measured(limit, found.get((limit.experiment, profile.name))))
        for limit in LIMITS
        for profile in limit.profiles
    ]


def _measured(limit: Limit, outcome: Outcome | None) -> float | None:
    if outcome is None:
        return None
    ours = outcome.median(limit.ours, limit.quantity)
    if not limit.against:
        return ours / _MEGABYTE
    return ours / max(outcome.median(peer, limit.quantity) for peer in limit.against)
