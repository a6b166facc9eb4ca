"""The report: the outcomes as Markdown, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

from bench.archive.profiles import PROFILES, WIDE_AREA
from bench.experiments import EXPERIMENTS
from bench.limits import Verdict, verdicts
from bench.samples import Column, Outcome
from staging.fetching import ReadSettings

_FINDINGS = Path(__file__).with_name("findings.md")
_MEBIBYTE = 1024**2
_OPTIONAL = ("cpu", "peak", "median", "p99")  # quantities that are 0 where they were not measured
_MEGABYTE = 1_000_000

_INTRODUCTION = """\
# Benchmarks

This file was written by `make bench`, which measures the devserver beside what a lab would use instead, and beside what
nothing can be faster than. The same numbers, run by run, are in `benchmarks.json`. What counts is the ratios: the
archive, the devserver and its peers share one machine, whose every core the archive's part of the work takes from them
too.
"""

_HOW = f"""\
## How it is measured

- The archive is a process of its own on 127.0.0.1, which answers what Google Cloud Storage's JSON API does and has the
  kernel send files from memory (`sendfile`). *Loopback* has no limit. *Wide area* waits {WIDE_AREA.latency * 1000:g} ms
  before every answer and holds each connection to {WIDE_AREA.bytes_per_second / 1e6:g} MB/s.
- Methods take turns: every round runs each once, beginning with another one each time. Each run is a new process, in an
  empty directory, after everything before it was written to disk; a devserver is started and has staged one tiny build
  before the clock starts, as one that serves a lab has.
- Time is wall-clock time: medians, with the fastest and the slowest run in parentheses. Processor time is that of all
  processes of the client's side, user and system; the archive's is in none. For Python's ways of fetching one object
  (`download_to_filename`, `Transfer.fetch`) the clock starts after the imports; for programs, `gsutil` among them, with
  the program.
- After each run the bytes are checked: every fetched file by its crc32c, every tree by the number of its files, a
  devserver's by its manifest. A run with anything wrong ends the experiment.
- The build's tarballs are packed by {{compressor}}. `gsutil` and `rclone` run with their defaults (`gsutil` fetches
  objects of 150 MiB and more in slices, `rclone` those of 250 MiB, and four objects at once); `gsutil` speaks HTTPS
  alone, so its connections are replaced by plain ones, for not to measure the TLS of an archive in Python
  (`bench/fetching/plain_gsutil.py`).
  The archive states md5 and crc32c, as Google's does for what was uploaded in one piece.
- Memory is the proportional set size of the server and all that it started, every 50 ms.
- What servers give is measured by `wrk`, with two threads, for three seconds after one that is not counted; all serve
  the same directory, in which a devserver staged the files, from memory. nginx is Debian's, set up as its package does
  but for the access log, which is off; `staticdir` is that of a CherryPy with its defaults; "in front" is what
  `devserver nginx-config` prints, with the log that last-used times are taken from.
- While the crowd waits, the archive's process is stopped (SIGSTOP), so that the build cannot end; `wrk` then asks with
  one client. The build's end is when its manifest says that all is staged.

## One commit beside another

`make bench BENCH_ARGS="--against REV"` measures this checkout beside the commit `REV`, which is checked out for that
time with an environment of its own. Both take turns, and each round begins with another one; every row has the median
of the rounds' ratios and the interval that it lies in with 95 % confidence (rounds drawn with replacement). A row is
*worse* where all of its interval lies beyond `--bound`, 5 % unless told, when it was measured once and then again;
the exit status is 1 then. Twelve rounds, the default, find nearly all of what is a fifth slower on a machine that is
busy with other things, and call next to nothing worse that is not; fewer than six decide nothing. The report is
`bench-data/against.md`, with its JSON beside it; `--only`, `--profile`, `--quick` and `--rounds` make it shorter.
"""


@dataclass(frozen=True)
class Run:
    """All that one run of the benchmark found.

    Attributes:
        machine: a description, by aspect.
        compressor: what the tarballs are packed by.
        build_bytes: of the build's objects.
        files: in the build's tarballs.
        outcomes: what was measured.
        failures: why something was not.

    """

    machine: Mapping[str, str]
    compressor: str
    build_bytes: int
    files: int
    outcomes: Sequence[Outcome]
    failures: Sequence[str]

    def with_older(self, file: Path) -> Run:
        """The same, with what ``file``, an earlier run's JSON, has of experiments that were not part of this one."""
        older = [Outcome.from_json(data) for data in json.loads(file.read_text())["outcomes"]] if file.exists() else []
        mine = {outcome.key for outcome in self.outcomes}
        return replace(self, outcomes=[*(one for one in older if one.key not in mine), *self.outcomes])

    def to_json(self) -> str:
        """Everything, run by run."""
        data = asdict(self)
        data["verdicts"] = [{**asdict(one), "holds": one.holds} for one in verdicts(self.outcomes)]
        return json.dumps(data, indent=1, default=str) + "\n"

    def to_markdown(self) -> str:
        """The report."""
        parts = [_INTRODUCTION, *self._limits(), *self._findings(), _HOW.replace("{compressor}", self.compressor)]
        parts += [*self._machine(), *self._tables(), *_settings()]
        return "\n".join(parts)

    def _limits(self) -> Iterator[str]:
        yield "## What it shows\n\nRatios of medians; where a unit is named, medians.\n"
        yield "| what | profile | limit | measured | holds |\n|---|---|---|---|---|"
        yield from map(_limit_row, verdicts(self.outcomes))
        yield ""
        for failure in self.failures:
            yield f"Not measured: {failure}\n"

    def _findings(self) -> Iterator[str]:
        """What somebody found out about these numbers."""
        if _FINDINGS.exists():
            yield _FINDINGS.read_text()

    def _machine(self) -> Iterator[str]:
        yield f"## The machine\n\nThe reference build has {self.build_bytes / _MEGABYTE:,.0f} MB"
        yield f"in six objects, of which two are tarballs of {self.files:,} files.\n"
        yield "| | |\n|---|---|"
        for aspect, text in self.machine.items():
            yield f"| {aspect} | {text} |"
        yield ""

    def _tables(self) -> Iterator[str]:
        for experiment in EXPERIMENTS:
            mine = [outcome for outcome in self.outcomes if outcome.experiment == experiment.name]
            if mine:
                yield f"## {experiment.title}\n"
            for profile in PROFILES:
                for outcome in mine:
                    if outcome.profile == profile.name:
                        yield from _table(outcome)


def _limit_row(verdict: Verdict) -> str:
    limit = verdict.limit
    measured = "" if verdict.measured is None else f"{verdict.measured:.{2 if limit.against else 1}f}"
    answer = "not measured" if verdict.measured is None else "yes" if verdict.holds else "**no**"
    return f"| {limit.text} | {verdict.profile} | {limit.told} | {measured} | {answer} |"


def _table(outcome: Outcome) -> Iterator[str]:
    ours = outcome.median("devserver", outcome.compared) if "devserver" in outcome.samples else 0.0
    yield f"{outcome.profile.capitalize()}, {outcome.rounds} rounds, {outcome.measured_on}:\n"
    yield _row(["method", *(column.heading for column in outcome.columns), "ours is"])
    yield "|---" * (len(outcome.columns) + 2) + "|"
    for method, label in outcome.labels.items():
        ratio = f"{ours / outcome.median(method, outcome.compared):.2f} of it" if ours and method != "devserver" else ""
        cells = [_range(column, outcome.values(method, column.quantity)) for column in outcome.columns]
        yield _row([label, *cells, ratio])
    yield ""
    for method, samples in outcome.samples.items():
        for note in dict.fromkeys(sample.note for sample in samples if sample.note):
            count = sum(sample.note == note for sample in samples)
            yield f"In {count} of {len(samples)} runs of *{method}*: {note}.\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _range(column: Column, values: Sequence[float]) -> str:
    """The median and, in parentheses, the range; nothing where nothing was measured."""
    if not any(values) and column.quantity in _OPTIONAL:
        return ""
    return f"{column.shown(median(values))} ({column.shown(min(values))} to {column.shown(max(values))})"


def _settings() -> Iterator[str]:
    """The defaults, and the bound on memory that follows from them."""
    settings = ReadSettings()
    yield "## The settings in use\n\n| setting of `staging/fetching.py` | default |\n|---|---|"
    for name, value in asdict(settings).items():
        yield f"| `{name}` | {value:,} |"
    bound = settings.slice_bytes * settings.slices_ahead / _MEBIBYTE
    yield f"\nWhatever its size, an object that is being read holds {bound:.0f} MiB at most: `slices_ahead` slices.\n"
