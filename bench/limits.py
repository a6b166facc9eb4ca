"""What is to be shown: ratios of medians, each with what it may be at most, or has to be at least."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.archive.profiles import LOOPBACK, WIDE_AREA, Profile
from bench.samples import Outcome
from bench.serving.crowd import WAITING
from bench.serving.loads import LARGE_BY_1, LARGE_BY_64, LOADS, MEDIUM_BY_8, SMALL_BY_8, Load

_BOTH = (LOOPBACK, WIDE_AREA)
_SECOND = 1.0
_MEGABYTE = 1_000_000
_MILLISECOND = 0.001


@dataclass(frozen=True)
class Limit:
    """One row of the table.

    Attributes:
        text: what is measured.
        profiles: where.
        experiment: which one's methods are compared.
        against: the methods that ours is compared with: with the slowest of them. None: the number itself counts.
        bound: the limit.
        ours: the method that is ours.
        quantity: what of the samples is compared.
        is_least: whether it has to be as much as the bound; otherwise it may not be more.
        unit: in which a number that counts by itself is told.

    """

    text: str
    profiles: tuple[Profile, ...]
    experiment: str
    against: tuple[str, ...]
    bound: float
    ours: str = "devserver"
    quantity: str = "wall"
    is_least: bool = False
    unit: float = 1.0

    @property
    def told(self) -> str:
        """The bound, in words."""
        return f"at {'least' if self.is_least else 'most'} {self.bound:g}"


def _serving(text: str, load: Load, peer: str, bound: float, ours: str = "devserver") -> Limit:
    """A limit of how much a server sends."""
    return Limit(text, (LOOPBACK,), load.name, (peer,), bound, ours, "rate", is_least=True)


def _crowd(text: str, quantity: str, bound: float, unit: float) -> Limit:
    """A limit of what thousands of clients who wait may cost."""
    return Limit(
        f"{WAITING:,} parked `/wait_for_status`: {text}", (LOOPBACK,), "crowd", (), bound, quantity=quantity, unit=unit
    )


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
        unit=_MEGABYTE,
    ),
    _serving("throughput of 4 MiB files with 8 clients against nginx", MEDIUM_BY_8, "nginx", 0.85),
    _serving("throughput of one stream of 1 GiB against nginx", LARGE_BY_1, "nginx", 0.85),
    _serving("64 clients pulling a 1 GiB file each, in total, against nginx", LARGE_BY_64, "nginx", 0.8),
    _serving("throughput of 64 KiB files with 8 clients against CherryPy's `staticdir`", SMALL_BY_8, "staticdir", 1.3),
    *(_serving(f"nginx in front against nginx alone: {load.text}", load, "nginx", 0.95, "front") for load in LOADS),
    _crowd("p99 of `/check_health`, in ms", "health_p99", 50, _MILLISECOND),
    _crowd("p99 of a 64 KiB file, in ms", "file_p99", 50, _MILLISECOND),
    _crowd("from the build's end until the last has its `Success`, in s", "last_answer", 3, _SECOND),
    _crowd("memory beyond idle, in MB", "memory", 250, _MEGABYTE),
    _crowd("threads beyond those at the start, after they left", "threads", 10, 1),
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
        if self.measured is None:
            return False
        return self.measured >= self.limit.bound if self.limit.is_least else self.measured <= self.limit.bound


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
        return ours / limit.unit
    return ours / max(outcome.median(peer, limit.quantity) for peer in limit.against)
