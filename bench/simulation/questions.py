"""What an operator asks of the model: how many devservers, what a rollout costs, and what losing one does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil
from statistics import median
from typing import NamedTuple

from bench.simulation.lab import Lab
from bench.simulation.measured import GIGABIT, Assumed, Parameters, parameters
from bench.simulation.model import Course, quantile, run

DEVICES = (100, 200, 500, 1000, 2000, 5000)
DEVICES_OF_A_BUILD = 50
_SEEDS = range(5)
_ROLLOUT_DEVICES = 1000
_LOSS_BUILDS = 20
_SEEDS_OF_A_SEARCH = range(3)
_CLOSE_ENOUGH = 0.1  # of the number of devservers: the search goes no further


class Range(NamedTuple):
    """What several runs of the model gave."""

    median: float
    least: float
    most: float


@dataclass(frozen=True)
class Target:
    """When a lab has enough devservers: ``share`` of its devices are imaged so many seconds after their requests."""

    share: float = 0.95
    seconds: float = 600.0


@dataclass(frozen=True)
class Needed:
    """How many devservers a lab needs.

    Attributes:
        devices: how many devices it has.
        builds: how many builds they get.
        port: bytes a second of a devserver's port.
        copies: on how many devservers each build is put.
        devservers: how many it takes.
        floor: how many it would take if every one were busy all the time.
        waited: seconds until the target's share was imaged, with so many.

    """

    devices: int
    builds: int
    port: float
    copies: int
    devservers: int
    floor: int
    waited: Range


@dataclass(frozen=True)
class Rollout:
    """What one new build, for all devices at once, costs.

    Attributes:
        devservers: how many there are; each stages the build.
        peers: whether they fill from each other.
        internet: bytes a second of the line to the archive.
        archive_bytes: what crossed it.
        staged: seconds until the last devserver had the synchronous part.
        whole: seconds until the last one had everything.
        waited: seconds until 95 % of the devices were imaged.

    """

    devservers: int
    peers: bool
    internet: float
    archive_bytes: Range
    staged: Range
    whole: Range
    waited: Range


@dataclass(frozen=True)
class Loss:
    """What losing a devserver does when half of the devices are imaged.

    Attributes:
        devservers: how many there were.
        copies: on how many of them each build was.
        peers: whether they fill from each other.
        builds: how many the lost one had.
        elsewhere: seconds from the loss until the last of those that anybody still asked for was staged elsewhere.
        restarted: devices that had to start anew.
        delay_median, delay_p95, delay_most: seconds that those devices were imaged later than without the loss.
        others_p95: the same of the other devices.

    """

    devservers: int
    copies: int
    peers: bool
    builds: Range
    elsewhere: Range
    restarted: Range
    delay_median: Range
    delay_p95: Range
    delay_most: Range
    others_p95: Range


@dataclass(frozen=True)
class LossCourse:
    """When the devices of one lab were imaged.

    Attributes:
        label: which lab.
        imaged: a moment for each device, in seconds.
        lost_at: when a devserver was lost, if one was.

    """

    label: str
    imaged: list[float]
    lost_at: float | None


def needed(devices: int, assumed: Assumed, copies: int = 1, target: Target | None = None) -> Needed:
    """How many devservers it takes for the target; the search is as close as a tenth of their number.

    Raises:
        ValueError: no number of devservers would do: a line is too narrow for it.

    """
    target, given = target or Target(), parameters(assumed)
    lab = Lab(devices, 1, ceil(devices / DEVICES_OF_A_BUILD), copies)
    rate = min(given.speeds.port, given.speeds.serving)
    floor = max(1, ceil(target.share * devices * given.sizes.image / (rate * target.seconds)))

    def waited(devservers: int) -> Range:
        one = replace(lab, devservers=devservers)
        courses = (run(one, given.sizes, given.speeds, seed) for seed in _SEEDS_OF_A_SEARCH)
        return _ranged([course.waited(target.share) for course in courses])

    found, best = _least(floor, lab.builds * copies * 10, waited, target.seconds)
    return Needed(devices, lab.builds, assumed.port, copies, found, floor, best)


def _least(first: int, last: int, waited: Callable[[int], Range], seconds: float) -> tuple[int, Range]:
    """The least number whose median is within ``seconds``: in strides until one is, and then halving what is left."""
    too_few, enough = first - 1, first
    while (best := waited(enough)).median > seconds:
        if enough > last:
            raise ValueError(f"{enough} devservers do not reach it, and more would not: the lines are too narrow")
        too_few, enough = enough, ceil(enough * 1.5)
    while enough - too_few > max(1, _CLOSE_ENOUGH * enough):
        middle = (too_few + enough) // 2
        range_of = waited(middle)
        if range_of.median <= seconds:
            enough, best = middle, range_of
        else:
            too_few = middle
    return enough, best


def rollouts(assumed: Assumed, devices: int = _ROLLOUT_DEVICES) -> Iterator[Rollout]:
    """A new build for all devices, by 1 to 16 devservers, over two lines, with and without peers."""
    for internet in (GIGABIT, 10 * GIGABIT):
        given = parameters(replace(assumed, internet=internet))
        for peers in (False, True):
            for devservers in (1, 2, 4, 8, 16):
                lab = Lab(devices, devservers, 1, devservers, peers, spread=0.0)
                courses = list(_courses(lab, given))
                yield Rollout(
                    devservers,
                    peers,
                    internet,
                    _range(courses, lambda one: one.archive_bytes),
                    _range(courses, lambda one: one.staged),
                    _range(courses, lambda one: one.whole),
                    _range(courses, lambda one: one.waited(0.95)),
                )


def losses(assumed: Assumed, devices: int = _ROLLOUT_DEVICES) -> Iterator[Loss]:
    """A devserver of so many is lost, when half of the devices are imaged."""
    given = parameters(assumed)
    for devservers in (2, 4, 8, 16):
        for copies, peers in ((1, False), (2, False), (2, True)):
            lab = Lab(devices, devservers, _LOSS_BUILDS, copies, peers)
            pairs = [with_and_without_loss(lab, given, seed) for seed in _SEEDS]
            yield _loss(lab, pairs)


def loss_courses(assumed: Assumed, devices: int = _ROLLOUT_DEVICES) -> Iterator[LossCourse]:
    """The same as curves: four devservers, with one copy of each build, and with two."""
    given = parameters(assumed)
    for copies, label in ((1, "one copy of a build"), (2, "two copies")):
        lab = Lab(devices, 4, _LOSS_BUILDS, copies)
        moment, lost, undisturbed = with_and_without_loss(lab, given, seed=0)
        yield LossCourse(f"{label}, nothing lost", [device.imaged for device in undisturbed.devices], None)
        yield LossCourse(f"{label}, one devserver lost", [device.imaged for device in lost.devices], moment)


def with_and_without_loss(lab: Lab, given: Parameters, seed: int) -> tuple[float, Course, Course]:
    """The moment at which half of the devices are imaged; what happens when a devserver is lost then, and if not."""
    undisturbed = run(lab, given.sizes, given.speeds, seed)
    moment = median(device.imaged for device in undisturbed.devices)
    return moment, run(replace(lab, lost_at=moment), given.sizes, given.speeds, seed), undisturbed


def _loss(lab: Lab, pairs: Sequence[tuple[float, Course, Course]]) -> Loss:
    def of_all(figure: Callable[[float, Course, Course], float]) -> Range:
        return _ranged([figure(*pair) for pair in pairs])

    def delay(share: float, restarted: bool) -> Range:
        return of_all(lambda _, lost, without: quantile(_delays(lost, without, restarted), share))

    return Loss(
        lab.devservers,
        lab.copies,
        lab.peers,
        of_all(lambda _, lost, __: len(lost.lost_paths)),
        of_all(lambda moment, lost, _: max([0.0, *(one - moment for one in lost.staged_elsewhere().values())])),
        of_all(lambda _, lost, __: sum(device.restarts > 0 for device in lost.devices)),
        delay(0.5, restarted=True),
        delay(0.95, restarted=True),
        delay(1.0, restarted=True),
        delay(0.95, restarted=False),
    )


def _delays(lost: Course, without: Course, restarted: bool) -> list[float]:
    pairs = zip(lost.devices, without.devices, strict=True)
    return [late.imaged - early.imaged for late, early in pairs if bool(late.restarts) is restarted] or [0.0]


def _courses(lab: Lab, given: Parameters) -> Iterator[Course]:
    return (run(lab, given.sizes, given.speeds, seed) for seed in _SEEDS)


def _range(courses: Iterator[Course] | Sequence[Course], figure: Callable[[Course], float]) -> Range:
    return _ranged([figure(course) for course in courses])


def _ranged(values: Sequence[float]) -> Range:
    return Range(median(values), min(values), max(values))
