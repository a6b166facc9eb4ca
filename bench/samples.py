"""What a measurement gives, and what is said of several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median


class BenchError(Exception):
    """Why there is nothing to measure, in one line."""


@dataclass(frozen=True)
class Sample:
    """One run of one method.

    Attributes:
        wall: seconds that it took.
        cpu: seconds of processor time, user and system, of all its processes.
        peak: bytes of memory at most, beyond what was held when idle; 0 where it was not measured.
        note: what is odd about this run; empty for nothing.

    """

    wall: float
    cpu: float
    peak: int = 0
    note: str = ""


@dataclass(frozen=True)
class Method:
    """One way to do the work of an experiment.

    Attributes:
        name: what limits and the JSON call it.
        label: what a reader is told that it is.
        run: does it once in an empty directory, and checks what it did.

    """

    name: str
    label: str
    run: Callable[[Path], Sample]


@dataclass(frozen=True)
class Outcome:
    """All runs of an experiment in one profile: the samples of each method, by its name, and the methods' labels."""

    experiment: str
    profile: str
    labels: Mapping[str, str]
    samples: Mapping[str, Sequence[Sample]]

    def median(self, method: str, quantity: str) -> float:
        """The median of a quantity: an attribute of :class:`Sample` that is a number."""
        return median(self.values(method, quantity))

    def values(self, method: str, quantity: str) -> list[float]:
        """That quantity of every sample of the method."""
        return [getattr(sample, quantity) for sample in self.samples[method]]
