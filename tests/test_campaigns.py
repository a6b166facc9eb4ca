"""The campaigns: short versions of them hold, and they notice what must never happen."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from campaigns import checks
from campaigns.asking import ask
from campaigns.builds import CampaignBuild, make_campaign_build
from campaigns.figures import BOUNDS, Figures, compared
from campaigns.hostile.verdict import problems
from campaigns.ledger import Ledger
from campaigns.world import World
from tests.servers import PROJECT


def campaign(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"campaigns.{name}", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV_")}
    return subprocess.run(
        command, check=False, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=300
    )


def test_a_short_crash_campaign_holds() -> None:
    ran = campaign("chaos", "--rounds", "5", "--seed", "1")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "seed 1\n" in ran.stdout
    assert "| rounds | 5 |" in ran.stdout
    assert "| wrong bytes | 0 |" in ran.stdout
    assert re.search(r"\| kills of the server \| [1-9]", ran.stdout)


def test_a_short_soak_holds() -> None:
    ran = campaign("soak", "--minutes", "0.1")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "| wrong bytes | 0 |" in ran.stdout
    assert ran.stdout.count("| holds |") == len(BOUNDS)


def test_a_short_hostile_campaign_holds() -> None:
    ran = campaign("hostile", "--one-in", "15", "--silent", "200")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "| violations | 0 |" in ran.stdout
    assert re.search(r"\| requests \| \d,\d{3} \|", ran.stdout)


def test_a_hostile_answer_that_tells_too_much_is_noticed() -> None:
    page = b"HTTP/1.1 500 Internal Server Error\r\n\r\n<pre>\nTraceback (most recent call last)\nKeyError: x\n</pre>"
    assert problems("methods", page, ("/srv/x",), "secret") == [
        "it says 'Traceback (most recent'",
        "500 KeyError is not declared",
    ]
    assert problems("methods", b"HTTP/1.1 200 OK\r\n\r\n/srv/x: secret", ("/srv/x",), "secret") == [
        "it says '/srv/x'",
        "it says 'secret'",
    ]
    assert problems("methods", b"HTTP/1.1 299 Odd\r\n\r\n", (), "secret") == ["299 is not declared"]
    assert problems("methods", b"", (), "secret") == ["no answer"]


def test_what_grows_by_more_than_its_bound_is_noticed() -> None:
    mib = 1024**2
    first = Figures((50 * mib, 70 * mib, 30 * mib, 15, 14, 2, 0))
    last = Figures((71 * mib, 90 * mib, 30 * mib, 31, 31, 2, 1))
    grew = [name for name, *_, holds in compared(first, last) if not holds]
    assert grew == ["memory of the server, its own", "open files", "locks, staging areas and temporary files"]


@pytest.fixture(scope="module")
def build() -> CampaignBuild:
    return make_campaign_build("R17-0.0.0")


@pytest.fixture
def static_dir(tmp_path: Path, build: CampaignBuild) -> Path:
    """A static directory that holds the build, as a devserver would have staged it."""
    for path in build.files:
        content = build.content(0, path)
        assert content is not None
        file = tmp_path / build.path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return tmp_path


def test_what_is_whole_is_nothing_to_tell_of(static_dir: Path, build: CampaignBuild) -> None:
    (static_dir / ".devserver" / "locks").mkdir(parents=True)
    assert checks.wrong_files(static_dir, [build]) == []
    assert checks.missing_files(static_dir, build) == []
    assert checks.leftovers(static_dir) == []


def test_a_file_that_is_cut_off_is_noticed(static_dir: Path, build: CampaignBuild) -> None:
    os.truncate(static_dir / build.path / "update.gz", 1000)
    assert checks.wrong_files(static_dir, [build]) == [
        f"{build.path}/update.gz is visible, and not as it should be: 1000 bytes"
    ]


def test_an_artifact_of_two_versions_is_noticed(static_dir: Path, build: CampaignBuild) -> None:
    path = build.of_artifact("autotest")[-1]
    (static_dir / build.path / path).write_bytes(build.content(1, path) or b"")
    assert checks.wrong_files(static_dir, [build]) == []
    assert checks.missing_files(static_dir, build) == [f"{build.path}: autotest is not wholly of one version"]


def test_a_file_that_went_away_is_noticed(static_dir: Path, build: CampaignBuild) -> None:
    (static_dir / build.path / "stateful.tgz").unlink()
    (problem,) = checks.missing_files(static_dir, build, ["stateful"])
    assert "stateful.tgz of it is not there" in problem


def test_what_belongs_to_nothing_is_noticed(static_dir: Path, build: CampaignBuild) -> None:
    (static_dir / build.path / "stray").touch()
    (static_dir / ".devserver" / "locks").mkdir(parents=True)
    (static_dir / ".devserver" / "locks" / "x").touch()
    assert len(checks.wrong_files(static_dir, [build])) == 1
    assert checks.leftovers(static_dir) == [".devserver/locks/x"]


def test_a_connection_that_breaks_without_a_kill_is_noticed(tmp_path: Path, build: CampaignBuild) -> None:
    world = World(Ledger(tmp_path / "log"), [build])
    world.comes_up("http://127.0.0.1:1")  # where nobody listens
    assert ask(world, "/check_health", {}) is None
    assert len(world.ledger.violations) == 1
