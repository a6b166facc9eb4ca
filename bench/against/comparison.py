"""Two commits' devservers take turns at each experiment, and every ratio is held to a bound."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import click

from bench.against.intervals import Interval, ratio
from bench.archive.profiles import Profile
from bench.experiments import EXPERIMENTS, Experiment
from bench.samples import AnySample, Column, Method
from bench.scratch import empty_directory
from bench.setting import Setting

_OURS = ("devserver", "busy devserver", "front")  # the methods that a commit has a part in
_NOT_COMPARED = ("settings",)  # experiments with settings of this commit
_TOLD_BY_ANOTHER = ("requests", "threads")  # quantities that follow from the rate, and that are 0

Pair = tuple[AnySample, AnySample]  # of this commit, and of the other


@dataclass(frozen=True)
class Row:
    """One quantity of one method.

    Attributes:
        experiment: its title.
        profile: its name.
        method: its name.
        quantity: as its column is headed.
        new: medians of this commit, as its column shows it.
        old: of the other.
        ratio: new to old.
        is_worse: whether the whole interval lies beyond the bound.
        is_better: the same on the good side.
        samples: of each round, this commit's and the other's.

    """

    experiment: str
    profile: str
    method: str
    quantity: str
    new: str
    old: str
    ratio: Interval
    is_worse: bool
    is_better: bool
    samples: Sequence[tuple[float, float]]


def compared(
    experiment: Experiment, settings: tuple[Setting, Setting], rounds: int, bound: float, scratch: Path
) -> list[Row]:
    """The rows of an experiment, by settings of this commit and of the other.

    What seems worse is measured again, and the second measurement counts: of many rows, one is always the unluckiest.
    """
    rows = list(_rows(experiment, settings, rounds, bound, scratch))
    if any(row.is_worse for row in rows):
        click.secho("  worse, it seems: again", fg="yellow")
        rows = list(_rows(experiment, settings, rounds, bound, scratch))
    return rows


def _rows(
    experiment: Experiment, settings: tuple[Setting, Setting], rounds: int, bound: float, scratch: Path
) -> Iterator[Row]:
    new, old = ({method.name: method for method in experiment.methods(setting)} for setting in settings)
    for name in _OURS:
        if name in new:
            pairs = [_pair((new[name], old[name]), number % 2 == 1, scratch) for number in range(rounds)]
            for column in pairs[0][0].COLUMNS:
                row = _row((experiment.title, settings[0].profile.name, name), column, pairs, bound)
                if row:
                    click.echo(f"  {told(row)}")
                    yield row


def _pair(methods: tuple[Method, Method], other_first: bool, scratch: Path) -> Pair:
    """Each of them once; rounds begin with this commit and with the other in turns, so that a drift spares neither."""
    if other_first:
        old = _sample(methods[1], scratch)
        return _sample(methods[0], scratch), old
    return _sample(methods[0], scratch), _sample(methods[1], scratch)


def _sample(method: Method, scratch: Path) -> AnySample:
    with empty_directory(scratch) as directory:
        return method.run(directory)


def _row(names: tuple[str, str, str], column: Column, pairs: Sequence[Pair], bound: float) -> Row | None:
    """One quantity; None where it was not measured, or says nothing of its own."""
    values = [(float(getattr(new, column.quantity)), float(getattr(old, column.quantity))) for new, old in pairs]
    if column.quantity in _TOLD_BY_ANOTHER or not all(new > 0 and old > 0 for new, old in values):
        return None
    new, old = zip(*values, strict=True)
    interval = ratio(new, old)
    is_worse = interval.is_worse(bound, column.is_more_better)
    is_better = interval.is_better(bound, column.is_more_better)
    shown = column.shown(median(new)), column.shown(median(old))
    return Row(*names, column.heading, shown[0], shown[1], interval, is_worse, is_better, values)


def told(row: Row) -> str:
    """A row in a line."""
    word = "WORSE" if row.is_worse else "better" if row.is_better else ""
    interval = f"{row.ratio.median:.2f} ({row.ratio.low:.2f} to {row.ratio.high:.2f})"
    return f"{row.method:15} {row.quantity:26} {row.new:>10} {row.old:>10}  {interval:22} {word}".rstrip()


@dataclass(frozen=True)
class Comparison:
    """What a run found.

    Attributes:
        against: the other commit.
        rounds: how often each of both ran.
        bound: beyond which a ratio is worse.
        machine: a description, by aspect.
        rows: what was measured.
        failures: why something was not.

    """

    against: str
    rounds: int
    bound: float
    machine: dict[str, str]
    rows: Sequence[Row]
    failures: Sequence[str]

    @property
    def is_worse(self) -> bool:
        """Whether a row is."""
        return any(row.is_worse for row in self.rows)

    def to_json(self) -> str:
        """Everything, round by round."""
        return json.dumps(asdict(self), indent=1) + "\n"

    def to_markdown(self) -> str:
        """A table."""
        lines = [f"# This commit beside {self.against}\n"]
        lines += [f"{self.rounds} rounds; worse is an interval that lies wholly beyond {self.bound:.0%}.\n"]
        lines += ["| experiment | profile | method | quantity | this | that | ratio (95 %) | |", "|---" * 8 + "|"]
        for row in self.rows:
            interval = f"{row.ratio.median:.2f} ({row.ratio.low:.2f} to {row.ratio.high:.2f})"
            word = "**worse**" if row.is_worse else "better" if row.is_better else ""
            cells = [row.experiment, row.profile, row.method, row.quantity, row.new, row.old, interval, word]
            lines.append(f"| {' | '.join(cells)} |")
        lines += ["", *(f"Not measured: {failure}\n" for failure in self.failures)]
        return "\n".join(lines)


def comparable(groups: Collection[str], profile: Profile) -> list[Experiment]:
    """The experiments of these groups, in this profile, that both commits can take part in."""
    return [
        one
        for one in EXPERIMENTS
        if one.group in groups and one.name not in _NOT_COMPARED and (not one.profiles or profile in one.profiles)
    ]
