"""Room on the disk, without a server: what is counted, what is held, and what goes under whose eyes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event as Flag

import pytest

from staging.archives import ArchiveObject
from staging.errors import BuildHeld, InvalidParameter, NoRoom, NoSuchLease, NotStaged, RecordMalformed
from staging.eviction import Limits
from staging.holds import BuildHolds, Term, holds_of, lease_for, not_held, tidy
from staging.in_mind import InMind
from staging.inventory import Stocktaker, nobody, unknown
from staging.layout import BuildPlaces
from staging.locks import FileLock
from staging.manifest import ArtifactRecord, Manifest
from staging.promises import Promise, forget_promises, promises
from staging.publishing import StagingArea, make_build_directory
from staging.room import Coming, Room
from staging.status import Event, State
from staging.usage import LastUse, hold_as_read

SIZE = 1000
ARTIFACT = "stateful"


def make_staged(static_dir: Path, version: str, last_used: float = 0.0, fetched: int = SIZE) -> BuildPlaces:
    """A build that has one artifact, of SIZE bytes, made of ``fetched``."""
    places = BuildPlaces(static_dir, f"target/{version}")
    make_build_directory(places)
    area = StagingArea(places, ARTIFACT)
    area.prepare()
    (area.tree / "file").write_bytes(b"x" * SIZE)
    objects = (ArchiveObject("object", fetched, "AAAAAA==", "1"),)
    area.publish(f"gs://bucket/{places.build_path}", ArtifactRecord("staged", objects, staged_at=1.0), {})
    places.last_use.touch()
    os.utime(places.last_use, (last_used, last_used))
    return places


def room_of(static_dir: Path, limits: Limits, is_nginx_in_front: bool = False) -> Room:
    last_use = LastUse(static_dir)
    readers = unknown if is_nginx_in_front else nobody
    return Room(static_dir, limits, last_use, Stocktaker(static_dir, last_use, readers, None))


@contextmanager
def promised(room: Room, static_dir: Path, version: str, size: int = SIZE, growth: float = 1.0) -> Iterator[Promise]:
    """Room for a build that is being staged."""
    places = BuildPlaces(static_dir, f"target/{version}")
    lock = FileLock.acquire(places.lock, Flag())
    try:
        promise = room.make(places, [Coming(ARTIFACT, size, growth)], Flag())
        yield promise
        promise.close()
    finally:
        lock.release()


def here(static_dir: Path) -> list[str]:
    return sorted(path.parent.name for path in static_dir.glob("target/*/file"))


def test_the_least_recently_used_goes_and_listeners_are_told(tmp_path: Path) -> None:
    for version, last_used in (("new", 30.0), ("old", 10.0), ("middle", 20.0)):
        make_staged(tmp_path, version, last_used)
    room = room_of(tmp_path, Limits(max_bytes=3 * SIZE))
    told: list[tuple[str, str, int]] = []
    room.subscribe(lambda *eviction: told.append(eviction))
    with promised(room, tmp_path, "next"):
        assert here(tmp_path) == ["middle", "new"]
    assert told == [("target/old", "bytes", SIZE)]


def test_room_is_promised_once(tmp_path: Path) -> None:
    make_staged(tmp_path, "old")
    room, another = (room_of(tmp_path, Limits(max_bytes=2 * SIZE)) for _ in range(2))
    with promised(room, tmp_path, "first"):
        assert here(tmp_path) == ["old"]
        with promised(another, tmp_path, "second"):
            assert here(tmp_path) == []
            with pytest.raises(NoRoom) as refused, promised(room, tmp_path, "third"):
                pass
            assert "target/first (1000 bytes: being staged)" in str(refused.value)
    with promised(room, tmp_path, "third"):
        pass


def test_a_promise_shrinks_with_what_is_published_and_dies_with_its_lock(tmp_path: Path) -> None:
    places = BuildPlaces(tmp_path, "target/version")
    lock = FileLock.acquire(places.lock, Flag())
    promise = Promise(places, {"a": 100, "b": 50})
    promise.note([Event(places.build_path, "a", State.STAGED), Event(places.build_path, "c", State.STAGED)])
    assert [(one.unpublished, one.unwritten) for one in promises(tmp_path)] == [(50, 50)]
    lock.release()
    assert list(promises(tmp_path)) == []
    lock = FileLock.acquire(places.lock, Flag())
    forget_promises(places)
    assert list(promises(tmp_path)) == []
    lock.release()


def test_where_too_little_could_go_nothing_does(tmp_path: Path) -> None:
    held = [make_staged(tmp_path, version) for version in ("pinned", "leased", "staged", "read", "free")]
    holds = BuildHolds(tmp_path, lambda _: None)
    holds.pin(held[0].build_path)
    holds.lease(held[1].build_path, Term(60, "dut-7"))
    lock = FileLock.acquire(held[2].lock, Flag())
    descriptor = hold_as_read(held[3])
    assert descriptor is not None
    room = room_of(tmp_path, Limits(max_bytes=5 * SIZE))
    with pytest.raises(NoRoom) as refused, promised(room, tmp_path, "next", 2 * SIZE):
        pass
    for words in (
        "target/next: it needs 2.0 KiB",
        "target/pinned (1000 bytes: pinned)",
        "by dut-7)",
        "target/staged (1000 bytes: being staged)",
        "target/read (1000 bytes: being read)",
    ):
        assert words in str(refused.value)
    assert len(here(tmp_path)) == 5
    with promised(room, tmp_path, "next", SIZE):
        assert here(tmp_path) == ["leased", "pinned", "read", "staged"]
    os.close(descriptor)
    lock.release()
    with promised(room, tmp_path, "next", 3 * SIZE):
        assert here(tmp_path) == ["leased", "pinned"]


def test_a_build_that_is_too_large_is_told_so(tmp_path: Path) -> None:
    make_staged(tmp_path, "old")
    with (
        pytest.raises(NoRoom, match=r"alone it needs 4\.9 KiB, and --max-bytes allows 3\.9 KiB"),
        promised(room_of(tmp_path, Limits(max_bytes=4 * SIZE)), tmp_path, "next", 5 * SIZE),
    ):
        pass
    with (
        pytest.raises(NoRoom, match=r"--min-free keeps .* TiB of the disk's"),
        promised(room_of(tmp_path, Limits(min_free=2**60)), tmp_path, "next"),
    ):
        pass
    assert here(tmp_path) == ["old"]


def test_tarballs_grow_as_those_of_other_builds_did(tmp_path: Path) -> None:
    room = room_of(tmp_path, Limits(max_bytes=100 * SIZE))
    with promised(room, tmp_path, "first", SIZE, growth=4.0):
        assert [one.unpublished for one in promises(tmp_path)] == [4 * SIZE]
    make_staged(tmp_path, "seen", fetched=SIZE // 2)
    with promised(room, tmp_path, "second", SIZE, growth=4.0):
        assert [one.unpublished for one in promises(tmp_path)] == [2 * SIZE]
    with promised(room, tmp_path, "third", SIZE, growth=1.0):
        assert [one.unpublished for one in promises(tmp_path)] == [SIZE]


def test_what_somebody_else_put_there_stays(tmp_path: Path) -> None:
    foreign = tmp_path / "target" / "foreign"
    foreign.mkdir(parents=True)
    (foreign / "file").write_bytes(b"x" * 10 * SIZE)
    places = make_staged(tmp_path, "ours")
    (places.published / "theirs").write_bytes(b"beside it")
    gone, left = room_of(tmp_path, Limits(max_bytes=1, max_age=1)).collect()
    assert [victim.record.build_path for victim in gone] == ["target/ours"]
    assert (left.missing, left.stays) == (0, ())
    assert here(tmp_path) == ["foreign"]
    assert (places.published / "theirs").read_bytes() == b"beside it"


def test_what_was_used_since_it_was_chosen_stays(tmp_path: Path) -> None:
    places = make_staged(tmp_path, "old")
    room = room_of(tmp_path, Limits(max_bytes=1))
    (victim,) = room.decision().goes
    LastUse(tmp_path).note(places.build_path)
    assert not room._evict(victim)
    (victim,) = room.decision().goes
    lease_for(places, Term(60, "somebody"))
    assert not room._evict(victim)
    assert here(tmp_path) == ["old"]


def test_behind_nginx_what_was_used_within_minutes_stays(tmp_path: Path) -> None:
    make_staged(tmp_path, "old", time.time() - 3600)
    make_staged(tmp_path, "new", time.time() - 60)
    gone, left = room_of(tmp_path, Limits(max_bytes=1), is_nginx_in_front=True).collect()
    assert [victim.record.build_path for victim in gone] == ["target/old"]
    assert left.stays[0].holds == ("used within the last 5 minutes, and maybe being read",)


def test_what_was_used_last_is_known_to_the_next_run(tmp_path: Path) -> None:
    places = [make_staged(tmp_path, version) for version in ("a", "b")]
    last_use = LastUse(tmp_path)
    for number in (0, 1, 0):  # within the second in which the disk is not told
        last_use.note(places[number].build_path)
    last_use.flush()
    gone, _ = room_of(tmp_path, Limits(max_bytes=SIZE)).collect()
    assert [victim.record.build_path for victim in gone] == ["target/b"]
    assert last_use.of("target/b") is None
    last_use.note("target/b")
    assert not places[1].published.exists()


def test_leases_end_are_renewed_and_given_back(tmp_path: Path) -> None:
    places = make_staged(tmp_path, "leased")

    def check_known(build_path: str) -> None:
        if build_path != places.build_path:
            raise NotStaged(build_path)

    holds = BuildHolds(tmp_path, check_known)
    lease = holds.lease(places.build_path, Term(1.0, "one"))
    other = holds.lease(places.build_path, Term(60.0, "other"))
    assert holds.renew(places.build_path, other.id, 90.0).until > other.until
    time.sleep(max(0.0, lease.until - time.time()))
    assert [one.id for one in holds.of(places.build_path).leases] == [other.id]
    with pytest.raises(NoSuchLease):
        holds.renew(places.build_path, lease.id, 60.0)
    holds.release(places.build_path, other.id)
    with pytest.raises(NoSuchLease):
        holds.release(places.build_path, other.id)
    with pytest.raises(NotStaged):
        holds.pin("no/build")
    assert not any(places.holds.parent.iterdir())


def test_who_asks_again_has_his_lease_made_longer(tmp_path: Path) -> None:
    places = BuildPlaces(tmp_path, "target/not-here-yet")
    for seconds in (60, 120, 30):
        lease_for(places, Term(seconds, "one"))
    lease_for(places, Term(1, "two"))
    one, two = holds_of(places).leases
    assert (one.holder, two.holder) == ("one", "two")
    assert 100 < one.until - time.time() <= 120
    assert holds_of(places).described(but="one") == [text for text in holds_of(places).described() if "two" in text]


def test_records_of_leases_that_ended_are_removed(tmp_path: Path) -> None:
    places = BuildPlaces(tmp_path, "target/never-came")
    lease_for(places, Term(0.01, "one"))
    time.sleep(0.02)
    tidy(tmp_path)
    assert not places.holds.exists()


def test_an_error_names_every_hold() -> None:
    error = BuildHeld("target/version", ["pinned", "leased until then by one"])
    assert str(error).startswith("target/version is pinned and leased until then by one; unpin it")


def test_a_record_of_pins_that_cannot_be_read_holds_the_build(tmp_path: Path) -> None:
    places = make_staged(tmp_path, "R1-1.0.0")
    holds = BuildHolds(tmp_path, lambda _: None)
    holds.pin(places.build_path)
    places.holds.write_text("{")
    with pytest.raises(BuildHeld), not_held(places):
        pass
    holds.unpin(places.build_path)
    with not_held(places):
        pass


def test_one_build_that_cannot_be_read_is_no_other_builds_trouble(tmp_path: Path) -> None:
    good, bad = make_staged(tmp_path, "R1-1.0.0"), make_staged(tmp_path, "R2-1.0.0")
    bad.manifest.unlink()
    bad.manifest.mkdir()
    stocktaker = Stocktaker(tmp_path, LastUse(tmp_path), lambda _: 0, None)
    assert [record.build_path for record in stocktaker.take().records] == [good.build_path]
    with pytest.raises(RecordMalformed):
        Manifest.read(bad)


def test_nobody_takes_leases_without_end(tmp_path: Path) -> None:
    places = make_staged(tmp_path, "R1-1.0.0")
    holds = BuildHolds(tmp_path, lambda _: None)
    for _ in range(200):
        holds.lease(places.build_path, Term(60.0, "harness"))
    with pytest.raises(InvalidParameter, match="200 leases"):
        holds.lease(places.build_path, Term(60.0, "harness"))


def test_of_builds_that_are_gone_nothing_is_in_mind_for_long(tmp_path: Path) -> None:
    in_mind = InMind(lambda places, _: places.build_path)
    for number in range(1000):
        places = BuildPlaces(tmp_path, f"target/R{number}")
        Manifest("gs://bucket/target/version").write(places)
        assert in_mind.of(places) == places.build_path
        if number >= 10:
            places.manifest.unlink()
    assert 10 <= len(in_mind._known) < 200
    assert in_mind.of(BuildPlaces(tmp_path, "target/R0")) == "target/R0"


def test_what_is_in_mind_of_a_build_is_its_newest_and_goes_with_it(tmp_path: Path) -> None:
    places, read = make_staged(tmp_path, "R1-1.0.0"), []

    def look(build: BuildPlaces, _: os.stat_result) -> int:
        read.append(build)
        return len(read)

    in_mind = InMind(look)
    assert [in_mind.of(places), in_mind.of(places)] == [1, 1]
    manifest = Manifest.read(places)
    assert manifest is not None
    manifest.write(places)
    assert [in_mind.of(places), in_mind.of(places)] == [2, 2]
    places.manifest.unlink()
    assert in_mind.of(places) is None
    assert not in_mind._known
