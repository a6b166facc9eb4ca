"""The model's parameters, as the benchmarks measured them: read from docs/benchmarks.json, each with its source."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.archive.data import full_sizes
from bench.archive.profiles import LOOPBACK, WIDE_AREA
from bench.processes import PROJECT
from bench.samples import BenchError, Outcome
from bench.serving.crowd import WAITING
from bench.simulation.lab import Sizes, Speeds
from staging.fetching import ReadSettings

REPORT = PROJECT / "docs" / "benchmarks.json"
GIGABIT = 125_000_000.0  # bytes a second
_MEGABYTE = 1_000_000
_SHARE_OF_PACKAGES = 0.1  # of autotest's bytes: demo/reference_build.py makes it so
_PACKAGES = 12


@dataclass(frozen=True)
class Figure:
    """A parameter, for a reader.

    Attributes:
        text: what it is.
        told: its value, with the unit.
        source: where it comes from.

    """

    text: str
    told: str
    source: str


@dataclass(frozen=True)
class Parameters:
    """What the model is given, and where it has it from."""

    sizes: Sizes
    speeds: Speeds
    figures: list[Figure]


@dataclass(frozen=True)
class Assumed:
    """What no benchmark can say: it is the lab's own. Bytes a second.

    Attributes:
        device: what a device reads and writes.
        port: a devserver's port.
        internet: the line to the archive.
        is_fronted: whether nginx stands in front of each devserver.

    """

    device: float = 40.0 * _MEGABYTE
    port: float = 10 * GIGABIT
    internet: float = 10 * GIGABIT
    is_fronted: bool = True


class _Report:
    """Medians of docs/benchmarks.json."""

    def __init__(self, path: Path) -> None:
        data = json.loads(path.read_text())
        self.build_bytes = int(data["build_bytes"])
        outcomes = [Outcome.from_json(one) for one in data["outcomes"]]
        self._outcomes: Mapping[tuple[str, str], Outcome] = {one.key: one for one in outcomes}

    def median(self, experiment: str, profile: str, method: str, quantity: str) -> float:
        """Of all runs of that method."""
        outcome = self._outcomes.get((experiment, profile))
        if outcome is None or method not in outcome.samples:
            raise BenchError(f"docs/benchmarks.json has no {experiment} of {method}, {profile}: make bench")
        return outcome.median(method, quantity)


def parameters(assumed: Assumed, path: Path = REPORT) -> Parameters:
    """The parameters of a lab whose own part is ``assumed``.

    Raises:
        BenchError: the benchmarks' report lacks one of them.

    """
    report = _Report(path)
    sizes = _sizes(report.build_bytes)
    server = "front" if assumed.is_fronted else "devserver"
    serving = report.median("serving-1-GiB-64", LOOPBACK.name, server, "rate")
    requests = report.median("serving-64-KiB-64", LOOPBACK.name, server, "requests")
    last_answer = report.median("crowd", LOOPBACK.name, "devserver", "last_answer")
    near, far = (_staging(report, profile, sizes) for profile in (LOOPBACK.name, WIDE_AREA.name))
    speeds = Speeds(
        device=assumed.device,
        port=assumed.port,
        internet=assumed.internet,
        serving=serving,
        request_seconds=1 / requests,
        answer_seconds=last_answer / WAITING,
        one_synchronous=far[0],
        all_synchronous=near[0],
        one_background=far[1],
        all_background=near[1],
        connections=ReadSettings().threads,
    )
    return Parameters(sizes, speeds, _figures(sizes, speeds, server))


def _sizes(build_bytes: int) -> Sizes:
    """The reference build's: payloads exactly, and the tarballs' bytes in the proportion of their content."""
    build = full_sizes("pbzip2").build
    image = build.full_payload + build.stateful
    packed = build_bytes - image - build.nton_payload - build.mton_payload
    ratio = packed / (build.test_suites + build.autotest)
    synchronous = image + build.test_suites * ratio
    packages = build.autotest * _SHARE_OF_PACKAGES * ratio
    return Sizes(image, synchronous, build_bytes - synchronous, packages, _PACKAGES)


def _staging(report: _Report, profile: str, sizes: Sizes) -> tuple[float, float]:
    """Bytes a second of the synchronous part, and of what follows it."""
    answer = report.median("answer", profile, "devserver", "wall")
    whole = report.median("build", profile, "devserver", "wall")
    return sizes.synchronous / answer, sizes.background / (whole - answer)


def _figures(sizes: Sizes, speeds: Speeds, server: str) -> list[Figure]:
    def rate(text: str, value: float, source: str) -> Figure:
        return Figure(text, f"{value / _MEGABYTE:,.0f} MB/s", source)

    def size(text: str, value: float, source: str) -> Figure:
        return Figure(text, f"{value / _MEGABYTE:,.0f} MB", source)

    build, lab = "the benchmarks' reference build", "assumed"
    staging = "the build's bytes by the time of `/download`'s answer"
    behind = "the build's bytes by the time between that answer and `/wait_for_status`'s"
    who = "nginx in front" if server == "front" else "a devserver"
    return [
        size("a device's image: full payload and stateful partition", sizes.image, build),
        size("the synchronous part of a build", sizes.synchronous, build),
        size("the background part", sizes.background, build),
        size(f"a test's packages, in {sizes.package_requests} files", sizes.packages, build),
        rate("staging one build's synchronous part from far away", speeds.one_synchronous, f"{staging}, wide area"),
        rate("all such staging of one devserver", speeds.all_synchronous, f"{staging}, loopback"),
        rate("staging one build's background part from far away", speeds.one_background, f"{behind}, wide area"),
        rate("all such staging of one devserver, for it unpacks", speeds.all_background, f"{behind}, loopback"),
        rate("what a devserver sends", speeds.serving, f"a file of 1 GiB, 64 clients, {who}"),
        Figure(
            "small files that a devserver sends",
            f"{1 / speeds.request_seconds:,.0f} a second",
            f"files of 64 KiB, 64 clients, {who}",
        ),
        Figure(
            "clients that waited, and are answered",
            f"{1 / speeds.answer_seconds:,.0f} a second",
            f"{WAITING:,} parked `/wait_for_status`, the last answer",
        ),
        Figure("connections that read an object", f"{speeds.connections}", "`threads` of `staging/fetching.py`"),
        rate("what a device reads and writes", speeds.device, lab),
        rate("a devserver's port", speeds.port, lab),
        rate("the lab's line to the archive", speeds.internet, lab),
    ]
