"""One commit's devserver beside another's: what the numbers are held to say, and a tiny run."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from math import exp, inf
from pathlib import Path

import pytest

from bench.against.intervals import LEAST_PAIRS, Interval, ratio
from tests.servers import PROJECT

BOUND = 0.05


def measured(seed: int, rounds: int, slower: float, noise: float) -> tuple[list[float], list[float]]:
    """Pairs on a machine that drifts, is noisy, and now and then does something else."""
    chance = random.Random(seed)

    def once(drift: float) -> float:
        hiccup = 1 + chance.random() if chance.random() < 0.1 else 1.0
        return drift * exp(chance.gauss(0, noise)) * hiccup

    drifts = [1 + 0.5 * number / rounds for number in range(rounds)]
    return [slower * once(drift) for drift in drifts], [once(drift) for drift in drifts]


@pytest.mark.parametrize("rounds", [6, 8, 15])
def test_the_interval_holds_the_ratio_as_often_as_it_says(rounds: int) -> None:
    runs = [ratio(*measured(seed, rounds, 1.2, 0.1)) for seed in range(200)]
    assert sum(one.low <= 1.2 <= one.high for one in runs) >= 0.92 * len(runs)


def test_what_is_as_fast_is_hardly_ever_worse_and_what_is_slower_mostly_is() -> None:
    same = [ratio(*measured(seed, 8, 1.0, 0.1)) for seed in range(200)]
    assert sum(one.is_worse(BOUND) for one in same) <= 2
    slower = [ratio(*measured(seed, 15, 1.3, 0.05)) for seed in range(200)]
    assert sum(one.is_worse(BOUND) for one in slower) >= 180


def test_equal_data_give_equal_intervals_and_none_gives_a_point() -> None:
    pairs = measured(1, 8, 1.1, 0.1)
    assert ratio(*pairs) == ratio(*pairs)
    assert ratio([2.0] * 8, [1.0] * 8) == Interval(2.0, 2.0, 2.0)


def test_few_rounds_decide_nothing() -> None:
    few = ratio([9.0] * (LEAST_PAIRS - 1), [1.0] * (LEAST_PAIRS - 1))
    assert few == Interval(9.0, 0.0, inf)
    assert not few.is_worse(BOUND)


def test_worse_is_an_interval_beyond_the_bound_on_the_side_that_is_bad() -> None:
    assert Interval(1.1, 1.06, 1.2).is_worse(BOUND)
    assert not Interval(1.1, 1.04, 1.2).is_worse(BOUND)
    assert Interval(0.9, 0.8, 0.94).is_worse(BOUND, is_more_better=True)
    assert not Interval(0.9, 0.8, 0.96).is_worse(BOUND, is_more_better=True)
    assert Interval(0.9, 0.8, 0.94).is_better(BOUND)


def compare(report: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", "--quick", "--compressor=lbzip2", f"--output={report}", *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=240, check=False)


def test_a_tiny_run_compares_and_its_status_says_what_is_worse(tmp_path: Path) -> None:
    report = tmp_path / "against.md"
    # With this bound, what is not ten times as fast is worse.
    wanted = ["--against=HEAD", "--only=object", "--profile=loopback", "--rounds=6", "--bound=-90"]
    ran = compare(report, *wanted)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "again" in ran.stdout
    assert "| One object of 512 MiB | loopback | devserver | seconds |" in report.read_text()
    assert "**worse**" in report.read_text()
    found = json.loads(report.with_suffix(".json").read_text())
    assert found["failures"] == []
    assert {len(row["samples"]) for row in found["rows"]} == {6}
    worktrees = subprocess.run(["git", "worktree", "list"], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert "bench-data/against-" not in "".join(
        line for line in worktrees.stdout.splitlines() if line.startswith(str(PROJECT))
    )


def test_a_commit_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    ran = compare(tmp_path / "against.md", "--against=no-such-commit", "--only=object")
    assert ran.returncode == 1
    assert "there is no commit no-such-commit" in ran.stderr
