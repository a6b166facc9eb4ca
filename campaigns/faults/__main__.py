"""``python -m campaigns.faults``: every system call fails once, and what is left is looked at."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic

import click

from campaigns.faults.interposer import ERRORS, Fault, Interposer, Mode, compiled
from campaigns.faults.runner import Ran, Runner
from campaigns.faults.scenarios import SCENARIOS, Scenario, archive_of

_DIRECTORY = "FAULTS_DIRECTORY"
_MOST_TOLD = 6  # of a run
_USUAL = ("EIO", "ENOSPC", "EMFILE")
_KINDS = ("LOST", "ORPHAN", "WRONG", "OPEN", "AGAIN", "TOLD")


class Campaign:
    """All runs, and what came of them."""

    def __init__(self, runner: Runner, first: int, step: int) -> None:
        self._runner = runner
        self._first = first
        self._step = step
        self.calls = self.runs = 0
        self.violations: list[str] = []
        self.counts: Counter[str] = Counter()

    @property
    def figures(self) -> tuple[int, int, int]:
        """Calls, runs, and runs with something that must never be."""
        return self.calls, self.runs, len(self.violations)

    def run(self, scenario: Scenario, error: str, mode: Mode) -> None:
        """Run a scenario with the fault at each of its calls, until none fails."""
        at = self._first
        while True:
            restarts = bool(at // self._step % 2)
            ran = self._runner.run(scenario, Fault(at, error, mode), restarts)
            if not ran.met.failed:
                break
            self.runs += 1
            self._note(f"{scenario.name}: {Fault(at, error, mode)}{', restarted' * restarts}", ran)
            at += self._step
        self.calls += at - 1

    def _note(self, what: str, ran: Ran) -> None:
        if os.environ.get("FAULTS_TRACE"):
            click.echo(f"{what} {ran.met.call}: {ran.told}", err=True)
        for violation in ran.violations:
            self.counts[violation.partition(":")[0]] += 1
        if ran.violations:
            told = f"{what}, in {ran.met.call}; told: {ran.told or 'nothing'}"
            self.violations.append(told)
            click.echo("\n    ".join([told, *ran.violations[:_MOST_TOLD]]), err=True)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--only", multiple=True, type=click.Choice([*SCENARIOS]), help="Scenarios; all, if left out.")
@click.option("--error", "errors", multiple=True, type=click.Choice([*ERRORS]), default=_USUAL, show_default=True)
@click.option("--mode", "modes", multiple=True, type=click.Choice([mode.name.lower() for mode in Mode]))
@click.option("--step", type=click.IntRange(min=1), default=1, show_default=True, help="Each so many calls one fails.")
@click.option("--first", type=click.IntRange(min=1), default=1, show_default=True, help="The first call that fails.")
def command_line(only: Sequence[str], errors: Sequence[str], modes: Sequence[str], step: int, first: int) -> None:
    """Have every system call of staging, removing, evicting, healing and recovering fail, one run for each.

    Ends with status 1 when something was lost or left behind.
    """
    directory = os.environ.get(_DIRECTORY)
    if directory is None:
        sys.exit(_preloaded())
    archive_of(Path(directory))
    runner = Runner(Path(directory))
    campaign = Campaign(runner, first, step)
    began = monotonic()
    for name in only or SCENARIOS:
        before = campaign.figures
        started = monotonic()
        for error, mode in _faults(errors, modes):
            campaign.run(SCENARIOS[name], error, mode)
        calls, runs, bad = (new - old for new, old in zip(campaign.figures, before, strict=True))
        click.echo(f"{name}: {calls:,} calls, {runs:,} runs, {bad} violations, {monotonic() - started:.0f} s")
    _tell(campaign, monotonic() - began)


def _faults(errors: Sequence[str], modes: Sequence[str]) -> Iterator[tuple[str, Mode]]:
    for mode in Mode:
        if not modes or mode.name.lower() in modes:
            # A crash has no error; at a call that only reads, it leaves the same as at the next that writes.
            yield from ((error, mode) for error in (("ENOSPC",) if mode is Mode.CRASH else errors))


def _preloaded() -> int:
    """Run this command once more, with the interposer before the C library; its status."""
    directory = Path(tempfile.mkdtemp(prefix="devserver-faults-"))
    interposer = Interposer(directory / "control", directory / "static", compiled(directory))
    # Without programs that decompress: they cost a process each.
    environment = {**os.environ, **interposer.environment, _DIRECTORY: str(directory), "PATH": ""}
    command = [sys.executable, "-m", "campaigns.faults", *sys.argv[1:]]
    try:
        return subprocess.run(command, check=False, env=environment).returncode
    finally:
        shutil.rmtree(directory)


def _tell(campaign: Campaign, seconds: float) -> None:
    rows = [("system calls", f"{campaign.calls:,}"), ("runs", f"{campaign.runs:,}")]
    rows += [(kind, f"{campaign.counts.pop(kind, 0)}") for kind in _KINDS]
    rows += [(kind, f"{count}") for kind, count in campaign.counts.items()]
    rows.append(("seconds", f"{seconds:.0f}"))
    click.echo("\n| what | count |\n|---|---|")
    for name, value in rows:
        click.echo(f"| {name} | {value} |")
    sys.exit(bool(campaign.violations))


if __name__ == "__main__":
    command_line()
