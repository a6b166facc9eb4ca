"""Objects arrive right whatever the archive does, and little is read twice."""

from __future__ import annotations

import random
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event as Flag
from threading import Thread, Timer
from time import monotonic

import pytest

from staging.archives import ArchiveUrl, gcs_client, open_archive
from staging.archives.base import Archive, ObjectStream
from staging.errors import ArchiveUnavailable, Cancelled, ChecksumMismatch, ObjectChanged
from staging.fetching import ReadSettings
from staging.retry import Patience
from staging.transfer import Transfer
from tests.builds import noise
from tests.fake_archive import FakeArchive, Fault, crc32c_of

SIZE = 3_000_000
SETTINGS = ReadSettings(slice_bytes=256 * 1024, threads=4, slices_ahead=6, fast_bytes_per_second=10**12)
CONTENT = noise(SIZE, "object")
FAULTS = {
    "cut": Fault(action="cut"),
    "reset": Fault(action="reset"),
    "stall": Fault(action="stall"),
    "503": Fault(status=503),
    "429": Fault(status=429, headers={"Retry-After": "0"}),
}
PATIENT, IMPATIENT = 20.0, 0.5  # seconds without a byte; the machine may be busy with other things
OFFSETS = [random.Random(7).randrange(SIZE) for _ in range(30)]


@pytest.fixture(autouse=True)
def _own_client(archive: FakeArchive, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", archive.url)
    gcs_client.forget_client()
    yield
    gcs_client.current_client().drop_connections()
    gcs_client.forget_client()


@pytest.fixture
def transfer(archive: FakeArchive) -> Transfer:
    """A transfer from the scripted archive, which has one object."""
    archive.put("bucket", "target/version/object", CONTENT)
    return Transfer(open_it(PATIENT), Patience(PATIENT, 30.0), Flag(), SETTINGS)


def open_it(stall_timeout: float) -> Archive:
    """The scripted archive, to be read by a client that takes a connection for stalled after so many seconds."""
    return open_archive(ArchiveUrl.parse("gs://bucket/target/version"), stall_timeout=stall_timeout)


def bearing(transfer: Transfer, fault: Fault) -> Transfer:
    """The transfer, which waits no longer than it has to where the fault is a connection that stalls."""
    if fault.action != "stall":
        return transfer
    return replace(transfer, archive=open_it(IMPATIENT), patience=Patience(IMPATIENT, 30.0))


def fault_at(archive: FakeArchive, offset: int, fault: Fault) -> None:
    """Let the first read whose slice holds ``offset`` go wrong there."""
    is_done = False

    def hook(name: str, start: int) -> None:
        nonlocal is_done
        if not is_done and start <= offset < start + SETTINGS.slice_bytes:
            is_done = True
            archive.fail_once(name, Fault(fault.status, fault.headers, offset - start, fault.action))

    archive.call_before_reads(hook)


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_costs_one_slice_at_most(
    archive: FakeArchive, transfer: Transfer, tmp_path: Path, fault: Fault, offset: int
) -> None:
    fault_at(archive, offset, fault)
    transfer = bearing(transfer, fault)
    item = transfer.archive.describe("object")
    assert transfer.fetch(item, tmp_path / "file", lambda _: None) == item.crc32c
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert archive.bytes_sent("object") <= 1.1 * SIZE + SETTINGS.slice_bytes


@pytest.mark.parametrize("offset", OFFSETS[:5])
def test_a_flipped_byte_is_found(archive: FakeArchive, transfer: Transfer, tmp_path: Path, offset: int) -> None:
    fault_at(archive, offset, Fault(action="flip"))
    item = transfer.archive.describe("object")
    with pytest.raises(ChecksumMismatch) as told:
        transfer.fetch(item, tmp_path / "file", lambda _: None)
    assert told.value.expected == item.crc32c
    assert told.value.actual != item.crc32c
    assert item.crc32c in str(told.value)
    assert told.value.actual in str(told.value)


# An object and settings that have a fast connection be lent to who consumes it, from the second range on.
LENT = replace(SETTINGS, slice_bytes=4 * 1024**2, fast_slice_bytes=6 * 1024**2, fast_bytes_per_second=1)
LARGE = noise(12_000_000, "large")


@pytest.fixture
def lent(archive: FakeArchive, transfer: Transfer) -> Transfer:
    """A transfer that reads its object from such a connection."""
    archive.put("bucket", "target/version/object", LARGE)
    return replace(transfer, settings=LENT)


@pytest.mark.parametrize("offset", [random.Random(8).randrange(LENT.slice_bytes, len(LARGE)) for _ in range(8)])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_on_a_fast_connection_costs_little(
    archive: FakeArchive, lent: Transfer, tmp_path: Path, fault: Fault, offset: int
) -> None:
    is_done = False

    def hook(name: str, start: int) -> None:
        nonlocal is_done
        if not is_done and start == LENT.slice_bytes:
            is_done = True
            archive.fail_once(name, Fault(fault.status, fault.headers, offset - start, fault.action))

    archive.call_before_reads(hook)
    lent = bearing(lent, fault)
    item = lent.archive.describe("object")
    assert lent.fetch(item, tmp_path / "file", lambda _: None) == item.crc32c
    assert (tmp_path / "file").read_bytes() == LARGE
    assert archive.bytes_sent("object") <= 1.1 * len(LARGE) + LENT.slice_bytes
    assert {fetch.stop - fetch.start for fetch in archive.fetches} & {LENT.fast_slice_bytes}


def test_a_fast_connection_that_is_waited_for_ends_when_it_is_cancelled(
    archive: FakeArchive, lent: Transfer, tmp_path: Path
) -> None:
    patient = open_it(60)
    item = patient.describe("object")

    def hook(name: str, start: int) -> None:
        if start == LENT.slice_bytes:
            archive.fail_once(name, Fault(after=1_000_000, action="stall"))
            Timer(0.5, lent.cancelled.set).start()

    archive.call_before_reads(hook)
    began = monotonic()
    with pytest.raises(Cancelled):
        replace(lent, archive=patient).fetch(item, tmp_path / "file", lambda _: None)
    assert monotonic() - began < 10
    part = (tmp_path / "file").read_bytes()
    assert part == LARGE[: len(part)]


def test_a_connection_that_becomes_slow_is_helped(archive: FakeArchive, lent: Transfer, tmp_path: Path) -> None:
    def slow_down(_name: str, start: int) -> None:
        if start:
            archive.bytes_per_second = 4_000_000

    archive.call_before_reads(slow_down)
    item = lent.archive.describe("object")
    settings = replace(LENT, fast_bytes_per_second=20 * 1024**2)
    assert replace(lent, settings=settings).fetch(item, tmp_path / "file", lambda _: None) == item.crc32c
    assert archive.most_reads_at_once > 1


@pytest.mark.parametrize("megabytes_per_second", [20, 100])
def test_a_connection_that_is_not_fast_is_joined_by_others(
    archive: FakeArchive, transfer: Transfer, tmp_path: Path, megabytes_per_second: int
) -> None:
    archive.put("bucket", "target/version/object", noise(24_000_000, "object"))
    archive.bytes_per_second = megabytes_per_second * 1_000_000
    archive.latency = 0.02
    item = transfer.archive.describe("object")
    replace(transfer, settings=ReadSettings(slice_bytes=2 * 1024**2)).fetch(item, tmp_path / "file", lambda _: None)
    assert archive.most_reads_at_once > 2


def test_a_cancelled_reader_gives_no_more_even_of_what_it_has(transfer: Transfer) -> None:
    item = transfer.archive.describe("object")
    with transfer.reader(item, lambda _: None) as reader:
        assert reader.read(1000)
        Flag().wait(0.3)
        transfer.cancelled.set()
        with pytest.raises(Cancelled):
            reader.finish()


def test_an_aborted_read_lets_go_of_its_connection_though_bytes_came_at_that_moment() -> None:
    let_go = Flag()
    asked, interrupted = Flag(), Flag()

    def pieces() -> Generator[bytes]:
        try:
            asked.set()
            interrupted.wait(10)
            yield b"the last bytes that had come"
        finally:
            let_go.set()

    stream = ObjectStream(pieces(), interrupted.set)

    def abort_and_close() -> None:
        asked.wait(10)
        stream.abort()
        stream.close()

    Thread(target=abort_and_close).start()
    with pytest.raises(Cancelled):
        next(stream)
    assert let_go.is_set()


def test_retry_after_is_respected(archive: FakeArchive, transfer: Transfer, tmp_path: Path) -> None:
    item = transfer.archive.describe("object")
    archive.fail_always("object", Fault(status=429, headers={"Retry-After": "60"}))
    with pytest.raises(ArchiveUnavailable) as told:
        transfer.fetch(item, tmp_path / "file", lambda _: None)
    assert told.value.retry_after == 60
    assert archive.bytes_sent("object") == 0


def test_a_generation_that_changes_in_mid_read_is_never_mixed(
    archive: FakeArchive, transfer: Transfer, tmp_path: Path
) -> None:
    item = transfer.archive.describe("object")

    def change(_name: str, start: int) -> None:
        if start >= SIZE // 2:
            archive.call_before_reads(lambda *_: None)
            archive.put("bucket", "target/version/object", noise(SIZE, "another object"))

    archive.call_before_reads(change)
    with pytest.raises(ObjectChanged):
        transfer.fetch(item, tmp_path / "file", lambda _: None)
    part = (tmp_path / "file").read_bytes()
    assert part == CONTENT[: len(part)]


def test_a_slow_consumer_holds_no_more_than_its_bound(archive: FakeArchive, transfer: Transfer) -> None:
    item = transfer.archive.describe("object")
    bound = SETTINGS.slice_bytes * SETTINGS.slices_ahead
    with transfer.reader(item, lambda _: None) as reader:
        assert len(reader.read(1000) or b"") == 1000
        Flag().wait(0.5)
        asked = max(fetch.stop for fetch in archive.fetches)
        assert asked <= reader.offset + bound
        rest = b"".join(iter(lambda: reader.read(65536) or b"", b""))
    assert rest == CONTENT[1000:]


def test_a_reader_ends_when_it_is_cancelled(archive: FakeArchive, transfer: Transfer) -> None:
    item = transfer.archive.describe("object")
    with archive.holding("object") as reached, transfer.reader(item, lambda _: None) as reader:
        assert reached.wait(5)
        transfer.cancelled.set()
        with pytest.raises(Cancelled):
            reader.finish()


def test_progress_counts_every_byte_once(transfer: Transfer, tmp_path: Path) -> None:
    counts: list[int] = []
    transfer.fetch(transfer.archive.describe("object"), tmp_path / "file", counts.append)
    assert sum(counts) == SIZE


def test_an_empty_object_is_an_empty_file(archive: FakeArchive, transfer: Transfer, tmp_path: Path) -> None:
    archive.put("bucket", "target/version/empty", b"")
    item = transfer.archive.describe("empty")
    assert transfer.fetch(item, tmp_path / "file", lambda _: None) == crc32c_of(b"")
    assert (tmp_path / "file").read_bytes() == b""
