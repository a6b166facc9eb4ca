"""The model beside a real lab of a size that fits here: the same devices, links and builds, run and computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import click

from bench.archive.index import read_index
from bench.archive.profiles import archive_server
from bench.samples import BenchError
from bench.simulation.calibration import Calibrated, Links, calibrate, make_index
from bench.simulation.lab import Lab
from bench.simulation.model import Course, Device, devices_of, quantile, run
from bench.simulation.placement import Ring
from bench.simulation.real_lab import RealCourse, run_real

TOLERANCE = 0.25
_LAB = Lab(24, 2, 3, spread=3.0, with_tests=True, restart=2.0, notice=3.0)
_AnyCourse = Course | RealCourse


@dataclass(frozen=True)
class Compared:
    """One quantity, computed and measured.

    Attributes:
        scenario: in which lab.
        text: what it is.
        unit: in which it is told.
        model: what the model says.
        real: what the real runs gave.

    """

    scenario: str
    text: str
    unit: str
    model: float
    real: list[float]

    @property
    def ratio(self) -> float:
        """The model's by the real runs' median."""
        return self.model / median(self.real)

    @property
    def holds(self) -> bool:
        """Whether the model is near enough."""
        return abs(self.ratio - 1) <= TOLERANCE


@dataclass(frozen=True)
class Curves:
    """When the devices of one scenario were imaged: in the model, and in each real run; seconds, in order."""

    scenario: str
    lost_at: float | None
    model: list[float]
    real: list[list[float]]


@dataclass(frozen=True)
class Validation:
    """All that the comparison gave; ``figures`` are the parameters that were measured first."""

    compared: list[Compared]
    curves: list[Curves]
    figures: dict[str, float]


_QUANTITIES: Sequence[tuple[str, str, Callable[[_AnyCourse], float]]] = (
    ("a quarter of the devices imaged", "s", lambda one: quantile(_imaged(one.devices), 0.25)),
    ("half of the devices imaged", "s", lambda one: quantile(_imaged(one.devices), 0.5)),
    ("all devices imaged", "s", lambda one: max(_imaged(one.devices))),
    ("all devices have what their tests need", "s", lambda one: max(device.tested for device in one.devices)),
    ("bytes from the archive", "MB", lambda one: one.archive_bytes / 1_000_000),
)


def validate(rounds: int) -> Validation:
    """Measure the parts, run the model, and then the real lab ``rounds`` times, undisturbed and with a loss."""
    with TemporaryDirectory(prefix="small-lab-") as name:
        directory, seed = Path(name), _seed(_LAB)
        index = make_index(directory, _LAB, seed)
        path = devices_of(_LAB, seed)[0].path
        objects = {key.rpartition("/")[2]: item for key, item in read_index(index).items() if key.startswith(path)}
        click.echo("Measuring the parts, each by itself")
        given = calibrate(index, objects, Links(), directory)
        compared: list[Compared] = []
        curves: list[Curves] = []
        for scenario, lab in _scenarios(given, seed):
            click.echo(f"Running {scenario}, {rounds} times")
            model = run(lab, given.sizes, given.speeds, seed)
            real = [_run_real(lab, given, seed, directory / f"{scenario}-{number}") for number in range(rounds)]
            compared += _compared(scenario, model, real)
            measured = [sorted(_imaged(one.devices)) for one in real]
            curves.append(Curves(scenario, lab.lost_at, sorted(_imaged(model.devices)), measured))
        return Validation(compared, curves, given.told())


def _scenarios(given: Calibrated, seed: int) -> Iterator[tuple[str, Lab]]:
    """An undisturbed lab; and one that loses its busier devserver when a third of its devices are imaged."""
    yield "undisturbed", _LAB
    undisturbed = run(_LAB, given.sizes, given.speeds, seed)
    yield "a devserver lost", replace(_LAB, lost_at=quantile(_imaged(undisturbed.devices), 1 / 3))


def _run_real(lab: Lab, given: Calibrated, seed: int, directory: Path) -> RealCourse:
    directory.mkdir()
    with archive_server(given.index, Links().profile, directory) as archive:
        course = run_real(lab, given.speeds, given.files, seed, archive, directory)
    if not all(device.tested for device in course.devices):
        raise BenchError("a device of the real lab did not come to its end")
    click.echo("  " + "; ".join(f"{text}: {figure(course):.1f} {unit}" for text, unit, figure in _QUANTITIES))
    return course


def _compared(scenario: str, model: Course, real: Sequence[RealCourse]) -> Iterator[Compared]:
    for text, unit, figure in _QUANTITIES:
        yield Compared(scenario, text, unit, figure(model), [figure(one) for one in real])


def _imaged(devices: Sequence[Device]) -> list[float]:
    return [device.imaged for device in devices]


def _seed(lab: Lab) -> int:
    """The first seed whose builds lie on all devservers."""
    ring = Ring(lab.devservers)
    seeds = range(1000)
    used = ({ring.order(device.path)[0] for device in devices_of(lab, seed)} for seed in seeds)
    return next(seed for seed, servers in zip(seeds, used, strict=True) if len(servers) == lab.devservers)
