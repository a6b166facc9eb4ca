"""``python -m campaigns.fuzz``: searches all targets, one after the other, and says what was tried and found."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from campaigns.fuzz import seeds
from campaigns.fuzz.targets import TARGETS

_PROJECT = Path(__file__).resolve().parent.parent.parent
_KEPT = _PROJECT / "tests" / "fuzz_inputs"  # what was found once, in directories named as their targets
_FOUND = _PROJECT / ".fuzz"  # what this run found, and the inputs that reached something new
_MEMORY = 1024  # MiB that a process may hold
_PATIENCE = 10  # seconds that one input may take
_STATISTIC = re.compile(r"stat::(\w+):\s+(\d+)")


@dataclass(frozen=True)
class Searched:
    """What became of a search.

    Attributes:
        target: its name.
        runs: inputs that were tried.
        memory: MiB at most.
        complaint: the end of what was said of an input that fails; empty where none does.

    """

    target: str
    runs: int
    memory: int
    complaint: str


@click.command()
@click.option("--only", type=click.Choice(list(TARGETS)), multiple=True, help="Only this target; repeatable.")
@click.option("--seconds", type=click.IntRange(min=1), help="For so long each, instead of so many runs.")
@click.option("--runs", type=click.IntRange(min=1), help="So many runs of each, instead of its own number.")
def command_line(only: Sequence[str], seconds: int | None, runs: int | None) -> None:
    """Search for inputs that break a promise; ends with 1 where one was found, and says where it lies."""
    if importlib.util.find_spec("atheris") is None:
        raise click.ClickException("there is no atheris for this Python")
    with tempfile.TemporaryDirectory() as directory:
        seeds.make(Path(directory))
        searched = [_search(name, Path(directory), seconds, runs) for name in only or TARGETS]
    click.echo("\n| target | runs | memory, MiB | found |\n|---|---|---|---|")
    for one in searched:
        click.echo(f"| {one.target} | {one.runs:,} | {one.memory} | {'yes' if one.complaint else 'nothing'} |")
    found = [one for one in searched if one.complaint]
    for one in found:
        click.echo(f"\n{one.target}:\n{one.complaint}")
    click.echo(f"\n{sum(one.runs for one in searched):,} inputs, {len(found)} targets with a finding")
    sys.exit(1 if found else 0)


def _search(name: str, directory: Path, seconds: int | None, runs: int | None) -> Searched:
    target = TARGETS[name]
    corpus = _FOUND / name
    corpus.mkdir(parents=True, exist_ok=True)
    length = f"-max_total_time={seconds}" if seconds else f"-atheris_runs={runs or target.runs}"
    command = [sys.executable, "-m", "campaigns.fuzz.search", name, length, f"-max_len={target.longest}"]
    command += [f"-rss_limit_mb={_MEMORY}", f"-timeout={_PATIENCE}", "-print_final_stats=1", "-verbosity=0"]
    command += [f"-artifact_prefix={_FOUND}/{name}-", str(corpus)]
    command += [str(place) for place in (directory / name, _KEPT / name) if place.is_dir()]
    ended = subprocess.run(command, cwd=_PROJECT, capture_output=True, text=True, errors="replace", check=False)
    statistics = dict(_STATISTIC.findall(ended.stderr))
    complaint = ended.stderr[-3000:] + ended.stdout[-1000:] if ended.returncode else ""
    count = int(statistics.get("number_of_executed_units", 0))
    click.echo(f"{name}: {count:,} inputs{', and one that fails' if complaint else ''}")
    return Searched(name, count, int(statistics.get("peak_rss_mb", 0)), complaint)


if __name__ == "__main__":
    command_line()
