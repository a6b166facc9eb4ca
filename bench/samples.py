"""What a measurement gives, and what is said of several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any, ClassVar, NamedTuple

_MEGABYTE = 1_000_000
_MILLISECOND = 0.001


class BenchError(Exception):
    """Why there is nothing to measure, in one line."""


class Column(NamedTuple):
    """How a quantity of a sample is shown.

    Attributes:
        quantity: the sample's attribute.
        heading: over its column; with the unit.
        unit: how much one of what is shown is.
        digits: behind the point.
        is_more_better: whether more of it is better than less.

    """

    quantity: str
    heading: str
    unit: float = 1.0
    digits: int = 2
    is_more_better: bool = False

    def shown(self, value: float) -> str:
        """A value in this column's unit, with its digits."""
        return f"{value / self.unit:,.{self.digits}f}"


@dataclass(frozen=True)
class Sample:
    """What one piece of work took.

    Attributes:
        wall: seconds that it took.
        cpu: seconds of processor time, of all the processes that it took.
        peak: bytes of memory at most, where that is measured.
        note: what a reader of the report should know of the run.

    """

    COLUMNS: ClassVar[Sequence[Column]] = (
        Column("wall", "seconds"),
        Column("cpu", "processor seconds"),
        Column("peak", "memory, MB", _MEGABYTE, 0),
    )
    COMPARED: ClassVar[str] = "wall"

    wall: float
    cpu: float
    peak: int = 0
    note: str = ""


@dataclass(frozen=True)
class LoadSample:
    """What clients were given who asked a server again and again.

    Attributes:
        rate: bytes a second, all clients together.
        requests: requests a second that were answered to the end.
        median: seconds that half of the requests took at most; 0 where none came to its end.
        p99: seconds that 99 % of them took at most.
        note: as of a :class:`Sample`.

    """

    COLUMNS: ClassVar[Sequence[Column]] = (
        Column("rate", "MB/s", _MEGABYTE, 0, is_more_better=True),
        Column("requests", "requests/s", 1, 0, is_more_better=True),
        Column("median", "median, ms", _MILLISECOND),
        Column("p99", "p99, ms", _MILLISECOND),
    )
    COMPARED: ClassVar[str] = "rate"

    rate: float
    requests: float
    median: float
    p99: float
    note: str = ""


@dataclass(frozen=True)
class CrowdSample:
    """What it took to have a crowd of clients wait.

    Attributes:
        health_p99: seconds that 99 % of one client's requests to ``/check_health`` took at most, while they waited.
        file_p99: the same of a file of 64 KiB.
        last_answer: seconds from the build's end until the last of them had its answer.
        memory: bytes, beyond what the server had before they came.
        threads: more than before they came, once they had left.
        note: as of a :class:`Sample`.

    """

    COLUMNS: ClassVar[Sequence[Column]] = (
        Column("health_p99", "p99 of `/check_health`, ms", _MILLISECOND, 1),
        Column("file_p99", "p99 of a file, ms", _MILLISECOND, 1),
        Column("last_answer", "last answer, s"),
        Column("memory", "memory, MB", _MEGABYTE, 0),
        Column("threads", "threads left", 1, 0),
    )
    COMPARED: ClassVar[str] = "last_answer"

    health_p99: float
    file_p99: float
    last_answer: float
    memory: int
    threads: int
    note: str = ""


AnySample = Sample | LoadSample | CrowdSample
_KINDS: Sequence[type[AnySample]] = (Sample, LoadSample, CrowdSample)


def _sample(data: Mapping[str, Any]) -> AnySample:
    """The sample whose fields are ``data``: of the kind that has them."""
    return next(kind for kind in _KINDS if {field.name for field in fields(kind)} == data.keys())(**data)


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
    run: Callable[[Path], AnySample]


@dataclass(frozen=True)
class Outcome:
    """All runs of an experiment in one profile.

    Attributes:
        experiment: its name.
        profile: its name.
        measured_on: the date.
        labels: of the methods, by name.
        samples: of the methods, by name.

    """

    experiment: str
    profile: str
    measured_on: str
    labels: Mapping[str, str]
    samples: Mapping[str, Sequence[AnySample]]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Outcome:
        """The outcome whose fields, as JSON has them, are ``data``."""
        samples = {method: [_sample(one) for one in several] for method, several in data["samples"].items()}
        return cls(**{**data, "samples": samples})

    @property
    def key(self) -> tuple[str, str]:
        """What a later outcome of the same replaces it by."""
        return self.experiment, self.profile

    @property
    def rounds(self) -> int:
        """How often each method ran."""
        return max(len(samples) for samples in self.samples.values())

    @property
    def columns(self) -> Sequence[Column]:
        """How its samples are shown."""
        return self._kind.COLUMNS

    @property
    def compared(self) -> str:
        """The quantity by which methods are compared."""
        return self._kind.COMPARED

    def median(self, method: str, quantity: str) -> float:
        """The median of a quantity: an attribute of the samples that is a number."""
        return median(self.values(method, quantity))

    def values(self, method: str, quantity: str) -> list[float]:
        """That quantity of every sample of the method."""
        return [getattr(sample, quantity) for sample in self.samples[method]]

    @property
    def _kind(self) -> type[AnySample]:
        return next(type(sample) for samples in self.samples.values() for sample in samples)
