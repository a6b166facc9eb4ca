"""Who works in a staging area works there alone, and who was taken for dead publishes nothing."""

from __future__ import annotations

import threading
from pathlib import Path
from threading import Event as Flag

import pytest

from staging.errors import Cancelled
from staging.layout import BuildPlaces
from staging.manifest import ArtifactRecord, Manifest
from staging.publishing import StagingArea, make_build_directory
from staging.recovery import recover

URL = "gs://bucket/target/version"


@pytest.fixture
def places(tmp_path: Path) -> BuildPlaces:
    places = BuildPlaces(tmp_path, "target/version")
    make_build_directory(places)
    return places


def fill(area: StagingArea, content: str) -> None:
    area.prepare()
    (area.tree / "file").write_text(content)


def publish(area: StagingArea) -> None:
    area.publish(URL, ArtifactRecord("staged"), {})


def test_who_was_taken_for_dead_publishes_nothing(places: BuildPlaces) -> None:
    hung, other = StagingArea(places, "one"), StagingArea(places, "one")
    with hung.claimed(Flag(), 0):
        fill(hung, "of the one that hung")
        with other.claimed(Flag(), 0):
            fill(other, "of the other")
            (hung.objects / "written").parent.mkdir(parents=True, exist_ok=True)  # it goes on
            with pytest.raises(Cancelled, match="another worker has taken the artifact over"):
                publish(hung)
            hung.discard()
            publish(other)
        with pytest.raises(Cancelled):
            publish(hung)
    assert (places.published / "file").read_text() == "of the other"
    recover(places)
    assert not places.staging.exists()
    assert not list(places.lock.parent.iterdir())


def test_who_takes_over_from_somebody_who_finished_finds_it_staged(places: BuildPlaces) -> None:
    first, second = StagingArea(places, "one"), StagingArea(places, "one")
    found: list[bool] = []

    def wait() -> None:
        with second.claimed(Flag(), 30):
            found.append(second.is_staged(URL))

    with first.claimed(Flag(), 0):
        fill(first, "x")
        thread = threading.Thread(target=wait)
        thread.start()
        publish(first)
    thread.join(10)
    assert found == [True]


def test_what_is_being_made_ready_is_not_cleared_up(places: BuildPlaces) -> None:
    area = StagingArea(places, "one")
    with area.claimed(Flag(), 0):
        fill(area, "x")
        recover(places)
        publish(area)
    manifest = Manifest.read(places)
    assert manifest is not None
    assert manifest.satisfies("one", True)


def test_what_had_become_ready_is_finished_by_who_comes_next(
    places: BuildPlaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    area, next_one = StagingArea(places, "one"), StagingArea(places, "one")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with area.claimed(Flag(), 0):
        fill(area, "x")
        with monkeypatch.context() as patch:
            patch.setattr(StagingArea, "_merge", die)
            with pytest.raises(KeyboardInterrupt):
                publish(area)
    with next_one.claimed(Flag(), 0):
        assert next_one.is_staged(URL)
    assert (places.published / "file").read_text() == "x"
