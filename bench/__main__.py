"""``python -m bench``: measures the devserver beside its peers, and writes docs/benchmarks.md."""

from __future__ import annotations

import signal
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path

import click

from bench.against.run import Asked, measured_against
from bench.archive.data import TARBALLS, BenchData, full_sizes, make_data, quick_sizes
from bench.archive.profiles import PROFILES, Profile, archive_server
from bench.experiments import EXPERIMENTS, Experiment
from bench.limits import verdicts
from bench.machine import describe, load
from bench.processes import PROJECT
from bench.report import Run
from bench.samples import AnySample, BenchError, Outcome
from bench.scratch import empty_directory, scratch_directory
from bench.setting import Setting

_DATA = PROJECT / "bench-data"
_GROUPS = list(dict.fromkeys(experiment.group for experiment in EXPERIMENTS))
_PROFILE_NAMES = [profile.name for profile in PROFILES]


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.option("--rounds", type=click.IntRange(min=1), help="How often each method runs: 5 times, 12 with --against.")
@click.option("--only", type=click.Choice(_GROUPS), multiple=True, help="Only these experiments; repeatable.")
@click.option("--profile", type=click.Choice(_PROFILE_NAMES), multiple=True, help="Only this profile; repeatable.")
@click.option("--quick", is_flag=True, help="One round with a few megabytes, to see that everything works.")
@click.option(
    "--compressor",
    type=click.Choice(["pbzip2", "lbzip2", "bzip2"]),
    default="pbzip2",
    show_default=True,
    help="What packs the build's tarballs.",
)
@click.option("--update", is_flag=True, help="Put what is measured into docs/benchmarks.md, and leave the rest of it.")
@click.option("--against", metavar="REV", help="Measure this commit beside that one, in turns; 1 if a row is worse.")
@click.option("--bound", type=float, default=5, show_default=True, help="Per cent beyond which a row is worse.")
@click.option("--output", type=click.Path(path_type=Path), help="Report to write instead; its JSON lies beside it.")
def command_line(
    rounds: int | None,
    only: Sequence[str],
    profile: Sequence[str],
    quick: bool,
    compressor: str,
    update: bool,
    against: str | None,
    bound: float,
    output: Path | None,
) -> None:
    """Measure, and write docs/benchmarks.md and docs/benchmarks.json.

    What is not the whole benchmark is written to bench-data/partial.md instead, and a comparison with another commit
    to bench-data/against.md.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if against is not None:
        asked = Asked(rounds or 12, only or _GROUPS, profile or _PROFILE_NAMES, quick, compressor)
        sys.exit(_compare(against, bound / 100, asked, output or _DATA / "against.md"))
    rounds = rounds or (1 if quick else 5)
    is_whole = not (quick or only or profile)
    report = output or (PROJECT / "docs" / "benchmarks.md" if is_whole or update else _DATA / "partial.md")
    run = measure(rounds, only or _GROUPS, profile or _PROFILE_NAMES, quick, compressor)
    if update:
        run = run.with_older(report.with_suffix(".json"))
    report.write_text(run.to_markdown())
    report.with_suffix(".json").write_text(run.to_json())
    click.echo(f"\nWritten: {report}")
    sys.exit(1 if run.failures else 0)


def _compare(against: str, bound: float, asked: Asked, report: Path) -> int:
    """Measure beside another commit, and write the report; the exit status."""
    try:
        comparison = measured_against(against, bound, asked, _DATA)
    except BenchError as error:
        raise click.ClickException(str(error)) from None
    report.write_text(comparison.to_markdown())
    report.with_suffix(".json").write_text(comparison.to_json())
    click.echo(f"\n{comparison.to_markdown()}\nWritten: {report}")
    return 1 if comparison.is_worse or comparison.failures else 0


def measure(rounds: int, groups: Collection[str], profile_names: Collection[str], quick: bool, compressor: str) -> Run:
    """Run the experiments that are asked for, in the profiles that are."""
    sizes = quick_sizes(compressor) if quick else full_sizes(compressor)
    click.echo("Making what is fetched, unless it is there")
    data = make_data(_DATA / ("quick" if quick else f"full-{compressor}"), sizes)
    data.warm()
    busy_before = load()
    outcomes: list[Outcome] = []
    failures: list[str] = []
    with scratch_directory(_DATA, quick) as scratch:
        for profile in PROFILES:
            if profile.name in profile_names:
                _measure_at(profile, data, rounds, groups, quick, scratch, outcomes, failures)
    machine = {**describe(_DATA), "load before and after": f"{busy_before}; {load()}"}
    files = sum(data.unpacked_files(name) for name in TARBALLS)
    run = Run(machine, compressor, data.build_bytes, files, outcomes, failures)
    _tell_verdicts(run)
    return run


def _measure_at(
    profile: Profile,
    data: BenchData,
    rounds: int,
    groups: Collection[str],
    quick: bool,
    scratch: Path,
    outcomes: list[Outcome],
    failures: list[str],
) -> None:
    with archive_server(data.index, profile, scratch) as archive:
        for experiment in EXPERIMENTS:
            if experiment.group not in groups or (experiment.profiles and profile not in experiment.profiles):
                continue
            click.secho(f"\n{experiment.title}, {profile.name}", bold=True)
            try:
                setting = Setting(data, archive, profile, quick)
                outcomes.append(_interleaved(experiment, setting, rounds, scratch))
            except BenchError as error:
                failures.append(f"{experiment.title}, {profile.name}: {error}")
                click.secho(failures[-1], fg="red", err=True)


def _interleaved(experiment: Experiment, setting: Setting, rounds: int, scratch: Path) -> Outcome:
    """Every method once in each round, in an order that begins with another one each time."""
    methods = experiment.methods(setting)
    samples: dict[str, list[AnySample]] = {method.name: [] for method in methods}
    for number in range(rounds):
        first = number % len(methods)
        for method in methods[first:] + methods[:first]:
            with empty_directory(scratch) as directory:
                sample = method.run(directory)
            samples[method.name].append(sample)
            shown = [(column, getattr(sample, column.quantity)) for column in sample.COLUMNS]
            text = "; ".join(f"{column.heading}: {column.shown(value)}" for column, value in shown if value)
            click.echo(f"  {method.name:18} {text}" + (f"  ({sample.note})" if sample.note else ""))
    labels = {method.name: method.label for method in methods}
    today = date.today().isoformat()
    return Outcome(experiment.name, setting.profile.name, today, labels, samples)


def _tell_verdicts(run: Run) -> None:
    click.echo()
    for verdict in verdicts(run.outcomes):
        if verdict.measured is not None:
            color = "green" if verdict.holds else "red"
            text = f"{verdict.measured:8.2f}  {verdict.limit.told:14}  {verdict.limit.text}, {verdict.profile}"
            click.secho(text, fg=color)


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        command_line()
