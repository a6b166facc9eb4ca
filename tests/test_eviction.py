"""What is decided of the disk's room, from records alone: the promises, whatever the builds."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from staging.clock import FIRST_PLAUSIBLE
from staging.eviction import Decision, Disk, Limits, Record, decide

NOW = 1_700_000_000.0
SIZES = st.integers(0, 100)
HOLDS = st.sampled_from([(), (), (), ("pinned",), ("being staged",)])
LIMITS = st.builds(
    Limits, st.none() | st.integers(1, 500), st.none() | st.integers(1, 500), st.none() | st.floats(1, NOW / 2)
)
DISKS = st.builds(Disk, st.integers(0, 500), st.integers(0, 50), st.integers(0, 50))


@st.composite
def many_records(draw: st.DrawFn) -> list[Record]:
    """Builds, some of which were used at the same moment."""
    fields = st.tuples(SIZES, st.floats(FIRST_PLAUSIBLE, NOW) | st.sampled_from([NOW - 1, NOW - 2]), HOLDS)
    return [Record(f"build/{number}", *field) for number, field in enumerate(draw(st.lists(fields, max_size=30)))]


def missing(records: list[Record], gone: list[Record], limits: Limits, disk: Disk, wanted: int) -> int:
    """The bytes that are too few when some have gone: said once more, in the simplest way."""
    freed = sum(record.size for record in gone)
    used = sum(record.size for record in records) + disk.unpublished + wanted - freed
    free = disk.free - disk.unwritten - wanted + freed
    over = used - limits.max_bytes if limits.max_bytes is not None else 0
    short = limits.min_free - free if limits.min_free is not None else 0
    return max(over, short, 0)


def names(decision: Decision) -> list[str]:
    return [victim.record.build_path for victim in decision.goes]


@settings(deadline=None)
@given(many_records(), LIMITS, DISKS, SIZES)
def test_every_build_goes_or_stays_and_what_is_held_stays(
    records: list[Record], limits: Limits, disk: Disk, wanted: int
) -> None:
    decision = decide(records, limits, disk, NOW, wanted)
    stays = [record.build_path for record in decision.stays]
    assert sorted(names(decision) + stays) == sorted(record.build_path for record in records)
    assert not any(victim.record.holds for victim in decision.goes)


@settings(deadline=None)
@given(many_records(), LIMITS, DISKS, SIZES)
def test_enough_is_freed_wherever_that_is_possible(
    records: list[Record], limits: Limits, disk: Disk, wanted: int
) -> None:
    decision = decide(records, limits, disk, NOW, wanted)
    gone = [victim.record for victim in decision.goes]
    assert decision.missing == missing(records, gone, limits, disk, wanted)
    everything = [record for record in records if not record.holds]
    if missing(records, everything, limits, disk, wanted) == 0:
        assert decision.missing == 0


@settings(deadline=None)
@given(many_records(), LIMITS, DISKS, SIZES)
def test_without_the_last_that_goes_there_would_be_too_little(
    records: list[Record], limits: Limits, disk: Disk, wanted: int
) -> None:
    decision = decide(records, limits, disk, NOW, wanted)
    gone = [victim.record for victim in decision.goes]
    if gone and decision.goes[-1].reason != "age":
        assert missing(records, gone[:-1], limits, disk, wanted) > 0


@settings(deadline=None)
@given(many_records(), LIMITS, DISKS, SIZES)
def test_the_least_recently_used_goes_first(records: list[Record], limits: Limits, disk: Disk, wanted: int) -> None:
    decision = decide(records, limits, disk, NOW, wanted)
    used = [victim.record.last_used for victim in decision.goes]
    assert used == sorted(used)
    # What was used later than the last that went stays; what was used earlier stays only where it is held or empty.
    for record in decision.stays:
        if used and not record.holds and record.size:
            assert record.last_used >= used[-1]


@settings(deadline=None)
@given(many_records(), LIMITS, DISKS, SIZES)
def test_each_reason_is_true(records: list[Record], limits: Limits, disk: Disk, wanted: int) -> None:
    for victim in decide(records, limits, disk, NOW, wanted).goes:
        if limits.max_age is not None and victim.record.last_used < NOW - limits.max_age:
            assert victim.reason == "age"
        else:
            assert {"bytes": limits.max_bytes, "free": limits.min_free}[victim.reason] is not None


@settings(deadline=None)
@given(many_records(), DISKS, SIZES)
def test_without_limits_nothing_goes(records: list[Record], disk: Disk, wanted: int) -> None:
    assert decide(records, Limits(), disk, NOW, wanted) == Decision((), tuple(sorted_as_decided(records)), 0)


def sorted_as_decided(records: list[Record]) -> list[Record]:
    held = [record for record in records if record.holds]
    return held + sorted((one for one in records if not one.holds), key=lambda one: (one.last_used, one.build_path))


def test_what_is_on_its_way_counts() -> None:
    records = [Record("a/1", 40, 1.0), Record("a/2", 40, 2.0)]
    assert names(decide(records, Limits(max_bytes=100), Disk(1000), NOW, 20)) == []
    assert names(decide(records, Limits(max_bytes=100), Disk(1000, unpublished=20), NOW, 20)) == ["a/1"]
    assert names(decide(records, Limits(min_free=50), Disk(100, unwritten=30), NOW, 30)) == ["a/1"]


@settings(deadline=None)
@given(st.floats(0, FIRST_PLAUSIBLE, exclude_max=True), st.floats(1, NOW / 2))
def test_what_was_used_while_the_clock_was_not_set_is_not_old(last_used: float, max_age: float) -> None:
    assert not decide([Record("build", 1, last_used)], Limits(max_age=max_age), Disk(100), NOW).goes
