"""A process that hangs while it publishes, at whichever step, hinders nobody, and does no harm when it goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event as Flag
from threading import Thread

import pytest

from staging import publishing_lock
from staging.layout import BuildPlaces
from staging.manifest import ArtifactRecord, Manifest
from staging.publishing import StagingArea, make_build_directory
from staging.recovery import recover
from tests.hung_publisher import URL
from tests.servers import PROJECT


@pytest.fixture
def publisher() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.hung_publisher"]
    with subprocess.Popen(command, cwd=PROJECT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.mark.parametrize("first", ["one", "after"])
def test_who_hangs_at_any_step_of_publishing_hinders_nobody_and_does_no_harm(
    tmp_path: Path, publisher: subprocess.Popen[str], first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing_lock, "_PATIENCE", 0.05)  # seconds
    assert publisher.stdin is not None
    assert publisher.stdout is not None
    for step in range(1, 400):
        places = BuildPlaces(tmp_path / str(step), "target/version")
        make_build_directory(places)
        stage(places, "before")
        print(places.static_dir, step, file=publisher.stdin, flush=True)
        hung, what = publisher.stdout.readline().split()
        if what == "ended":
            assert step > 40  # else it was stopped nowhere
            return
        try:
            for name in sorted(["one", "after"], key=lambda name: name != first):
                in_time(places, name)
        finally:
            os.kill(int(hung), signal.SIGCONT)
        assert publisher.stdout.readline() == "ended\n"
        check(places, step)
    pytest.fail("it never came to its end")


def in_time(places: BuildPlaces, name: str) -> None:
    """Stage an artifact; within a few seconds."""
    thread = Thread(target=stage, args=(places, name), daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive(), f"{name} is kept waiting"


def stage(places: BuildPlaces, name: str) -> None:
    """Stage an artifact, as a worker does that takes others for dead."""
    area = StagingArea(places, name)
    with area.claimed(Flag(), 0):
        if area.is_staged(URL):
            return
        area.prepare()
        for path in ("file", "new/file") if name == "one" else (name,):
            (area.tree / path).parent.mkdir(exist_ok=True)
            (area.tree / path).write_text("right")
        (area.tree / "shared").mkdir()
        (area.tree / "shared" / name).write_text("right")
        area.publish(URL, ArtifactRecord("staged"), {})


def check(places: BuildPlaces, step: int) -> None:
    """Hold the build to what was staged."""
    manifest = Manifest.read(places)
    assert manifest is not None
    assert sorted(manifest.artifacts) == ["after", "before", "one"], step
    published = [path for path in places.published.rglob("*") if path.is_file() and ".devserver" not in path.parts]
    names = sorted(str(path.relative_to(places.published)) for path in published)
    assert names == ["after", "before", "file", "new/file", "shared/after", "shared/before", "shared/one"]
    assert {path.read_text() for path in published} == {"right"}
    recover(places)
    assert not places.staging.exists(), step
    assert not list(places.records.rglob("*.tmp"))
    assert not list(places.lock.parent.iterdir()), step
