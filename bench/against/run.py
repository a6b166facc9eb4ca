"""A whole run that compares two commits."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import click

from bench.against.comparison import Comparison, Row, comparable, compared
from bench.against.worktree import checked_out
from bench.archive.data import BenchData, full_sizes, make_data, quick_sizes
from bench.archive.profiles import PROFILES, Profile, archive_server
from bench.checkout import Checkout
from bench.machine import describe, load
from bench.samples import BenchError
from bench.scratch import scratch_directory
from bench.setting import Setting


@dataclass(frozen=True)
class Asked:
    """What the command line asks for.

    Attributes:
        rounds: how often each commit runs each method.
        groups: of experiments.
        profiles: names of them.
        is_quick: whether a few megabytes do.
        compressor: of the build's tarballs.

    """

    rounds: int
    groups: Collection[str]
    profiles: Collection[str]
    is_quick: bool
    compressor: str


def measured_against(revision: str, bound: float, asked: Asked, directory: Path) -> Comparison:
    """Compare this commit with ``revision``, with the data in ``directory``.

    Raises:
        BenchError: there is no such commit, or it cannot be set up.

    """
    sizes = quick_sizes(asked.compressor) if asked.is_quick else full_sizes(asked.compressor)
    data = make_data(directory / ("quick" if asked.is_quick else f"full-{asked.compressor}"), sizes)
    data.warm()
    busy_before = load()
    rows: list[Row] = []
    failures: list[str] = []
    with checked_out(revision, directory) as other, scratch_directory(directory, asked.is_quick) as scratch:
        for profile in PROFILES:
            if profile.name in asked.profiles:
                _measure_at(profile, data, other, bound, asked, scratch, rows, failures)
    machine = {**describe(directory), "load before and after": f"{busy_before}; {load()}"}
    return Comparison(revision, asked.rounds, bound, machine, rows, failures)


def _measure_at(
    profile: Profile,
    data: BenchData,
    other: Checkout,
    bound: float,
    asked: Asked,
    scratch: Path,
    rows: list[Row],
    failures: list[str],
) -> None:
    with archive_server(data.index, profile, scratch) as archive:
        setting = Setting(data, archive, profile, asked.is_quick)
        for experiment in comparable(asked.groups, profile):
            click.secho(f"\n{experiment.title}, {profile.name}", bold=True)
            try:
                settings = setting, replace(setting, checkout=other)
                rows += compared(experiment, settings, asked.rounds, bound, scratch)
            except BenchError as error:
                failures.append(f"{experiment.title}, {profile.name}: {error}")
                click.secho(failures[-1], fg="red", err=True)
