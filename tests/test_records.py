"""Whatever lies where a record should: it harms its own build alone, and nothing outside."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event as Flag
from typing import Any

import pytest
import requests

from staging.archives import ArchiveObject
from staging.areas import is_signed
from staging.build_removal import remove_build
from staging.errors import BuildHeld, Cancelled, NewerFormat, RecordMalformed, RecordUnreadable
from staging.eviction import Limits
from staging.file_lists import FileRecord, list_of, read_list, write_list
from staging.healing import set_broken_manifest_aside
from staging.holds import BuildHolds, Term, holds_of, not_held
from staging.inventory import Stocktaker, nobody
from staging.layout import BuildPlaces
from staging.manifest import ArtifactRecord, Manifest
from staging.orders import OrderBook, OrderRecord, WrittenOrder
from staging.overview import overview
from staging.promises import promises
from staging.publishing import StagingArea, publish_empty_file, update_manifest
from staging.recovery import clear_up
from staging.room import Room
from staging.soundness import Soundness
from staging.usage import LastUse
from tests.builds import Build
from tests.fake_archive import FakeArchive
from tests.servers import PROJECT, DevServer, cause_of
from tests.test_room import ARTIFACT, make_staged, room_of

pytestmark = pytest.mark.shared_server

DEEP = b'{"a":' * 100_000
ODD_NAME = os.fsdecode(b"caf\xe9/\xff%20.txt")


def stocktaker(static_dir: Path) -> Stocktaker:
    return Stocktaker(static_dir, LastUse(static_dir), nobody, None)


def changed(path: Path, **fields: Any) -> None:
    """Give the record at ``path`` other fields."""
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **fields}))


# Paths


@pytest.mark.parametrize(
    "spelling", ["../../../outside/precious", "{outside}/precious", "a/../../../../outside/precious"]
)
def test_a_list_of_files_removes_nothing_outside_the_build(tmp_path: Path, spelling: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    places = make_staged(tmp_path / "static", "R1-1.0.0")
    list_of(places, ARTIFACT).write_text(json.dumps({spelling.format(outside=outside): [1, ""], "file": [1, ""]}))
    remove_build(places)
    assert (outside / "precious").read_text() == "x"


def test_a_link_in_the_place_of_a_directory_leads_no_removal_outside(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "empty").mkdir(parents=True)
    (outside / "precious").write_text("x")
    places = make_staged(tmp_path / "static", "R1-1.0.0")
    write_list(list_of(places, ARTIFACT), {"sub/precious": FileRecord(1), "file": FileRecord(1)})
    (places.published / "sub").symlink_to(outside)
    remove_build(places)
    assert (outside / "precious").read_text() == "x"
    assert (outside / "empty").is_dir()
    assert not (places.published / "file").exists()


@pytest.mark.parametrize(
    "key", ["..%2F..%2F..%2Foutside", "%2Ftmp%2Foutside", "..", "target%2F..%2F..%2Foutside", "target%2F.devserver"]
)
def test_a_staging_area_of_no_build_publishes_nothing(tmp_path: Path, key: str) -> None:
    static = tmp_path / "a" / "b" / "static"
    for outside in (tmp_path / "outside", tmp_path / "a" / "outside", tmp_path / "a" / "b" / "outside"):
        outside.mkdir(parents=True)
    area = static / ".devserver" / "staging" / key / ARTIFACT
    if key == "..":
        area = static / ".devserver" / "staging" / f"x+{'0' * 32}" / ARTIFACT
        area.mkdir(parents=True)
        (area.parent / "+build-path").write_text("../../../outside")
    (area / "tree").mkdir(parents=True)
    (area / "tree" / "file").write_text("planted")
    record = ArtifactRecord("staged", files=1, size=7).to_json()
    (area / "ready.json").write_text(json.dumps({"name": ARTIFACT, "archive_url": "gs://b/t/v", "record": record}))
    assert clear_up(static) == {}
    assert [path for path in tmp_path.rglob("file") if not path.is_relative_to(static / ".devserver")] == []


def test_names_that_are_no_utf_8_are_percent_encoded_and_the_old_spelling_is_read(tmp_path: Path) -> None:
    places = make_staged(tmp_path, "R1-1.0.0")
    path = list_of(places, ARTIFACT)
    files = {ODD_NAME: FileRecord(3, "AAAAAA=="), "link": FileRecord(2, "", ODD_NAME), "100%25": FileRecord(1, "")}
    write_list(path, files)
    assert "caf%E9/%FF%2520.txt" in path.read_text()
    assert read_list(path) == files
    path.write_text(json.dumps({ODD_NAME: [3, "AAAAAA=="], "link": [2, "", ODD_NAME], "100%25": 1}))
    assert read_list(path) == files
    item = ArchiveObject(ODD_NAME, 3, "AAAAAA==", "1")
    manifest = Manifest("gs://b/t/v", {ARTIFACT: ArtifactRecord("staged", (item,), whole_files={ODD_NAME: ODD_NAME})})
    manifest.write(places)
    assert "caf%E9/%FF%2520.txt" in places.manifest.read_text()
    assert Manifest.read(places) == manifest
    places.manifest.write_text(places.manifest.read_text().replace("./caf%E9/%FF%2520.txt", r"caf\udce9/\udcff%20.txt"))
    assert Manifest.read(places) == manifest


# Whatever lies in the place of a record


@contextmanager
def in_place_of(path: Path, kind: str) -> Iterator[None]:
    """Put something into the place of a record."""
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        if kind == "a pipe":
            os.mkfifo(path)
        elif kind == "a link":
            (path.parent / "elsewhere").write_text("{}")
            path.symlink_to("elsewhere")
        elif kind == "a link to a device":
            path.symlink_to("/dev/zero")
        elif kind == "a socket":
            here = os.open(path.parent, os.O_RDONLY)
            listener.bind(f"/proc/self/fd/{here}/{path.name}")
            os.close(here)
        elif kind == "a directory":
            path.mkdir()
        elif kind == "huge":
            path.touch()
            os.truncate(path, 2**40)
        else:
            path.write_bytes(KINDS[kind])
        yield


KINDS: dict[str, bytes] = {
    **dict.fromkeys(("a pipe", "a link", "a link to a device", "a socket", "a directory", "huge"), b""),
    "deep": DEEP,
    "closed and deep": b"[" * 90_000 + b"]" * 90_000,
    "deep where nothing is known": b'{"format": 1, "x": ' + b"[" * 500 + b"]" * 500 + b"}",
    "empty": b"",
    "no text": bytes(range(256)),
    "a number": b"9" * 5000,
    "a list": b"[]",
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_manifest_is_set_aside_and_its_neighbour_is_listed(tmp_path: Path, kind: str) -> None:
    good, bad = make_staged(tmp_path, "R1-1.0.0"), make_staged(tmp_path, "R2-1.0.0")
    told: list[tuple[str, str]] = []
    with in_place_of(bad.manifest, kind):
        assert [record.build_path for record in stocktaker(tmp_path).take().records] == [good.build_path]
        assert overview(bad, [], None, {}) is None
        with pytest.raises(RecordMalformed):
            Manifest.read(bad)
        Soundness(tmp_path, lambda build, line: told.append((build, line))).sweep(Flag())
    assert [build for build, _ in told] == [bad.build_path]
    assert not os.path.lexists(bad.manifest)
    assert os.path.lexists(bad.broken_manifest)
    update_manifest(bad, "gs://bucket/target/R2-1.0.0", {})
    remove_build(bad)
    assert not os.path.lexists(bad.broken_manifest)


@pytest.mark.parametrize("kind", KINDS)
def test_no_other_record_hangs_or_crashes_its_reader(tmp_path: Path, kind: str) -> None:
    places = make_staged(tmp_path, "R1-1.0.0")
    index, promise = list_of(places, ARTIFACT), places.promises / "1.json"
    order = tmp_path / ".devserver" / "orders" / "dead" / "1.json"
    ready = places.staging / ARTIFACT / "ready.json"
    with in_place_of(index, kind), in_place_of(promise, kind), in_place_of(order, kind), in_place_of(ready, kind):
        with in_place_of(places.holds, kind):
            assert holds_of(places).is_pinned
            with pytest.raises(BuildHeld), not_held(places):
                pass
            BuildHolds(tmp_path, lambda _: None).unpin(places.build_path)
            assert holds_of(places).described() == []
        assert list(promises(tmp_path)) == []
        assert list(OrderBook(tmp_path).take_over()) == [order]
        assert clear_up(tmp_path) == {}
        with pytest.raises(RecordMalformed):
            read_list(index)
        remove_build(places)
    assert not os.path.lexists(index)


WRONG: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a state that there is not": lambda data: data["artifacts"][ARTIFACT].update(state="hollow"),
    "a size below zero": lambda data: data["artifacts"][ARTIFACT].update(size=-1),
    "a size beyond all disks": lambda data: data["artifacts"][ARTIFACT].update(size=2**80),
    "a number for a text": lambda data: data.update(archive_url=7),
    "a truth for a number": lambda data: data["artifacts"][ARTIFACT].update(files=True),
    "a time beyond all clocks": lambda data: data["artifacts"][ARTIFACT].update(staged_at=1e300),
    "an object that leads outside": lambda data: data["artifacts"][ARTIFACT]["objects"][0].update(name="../../x"),
    "a file that leads outside": lambda data: data["artifacts"][ARTIFACT].update(whole_files={"../x": "x"}),
    "an artifact that leads outside": lambda data: data["artifacts"].update({"..": data["artifacts"][ARTIFACT]}),
    "a format that is none": lambda data: data.update(format="one"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_manifest_with_one_wrong_field_harms_its_build_alone(
    server: DevServer, archive: FakeArchive, kind: str
) -> None:
    good = make_staged(server.static_dir, f"R1-{list(WRONG).index(kind)}.0.0")
    bad = make_staged(server.static_dir, f"R2-{list(WRONG).index(kind)}.0.0")
    data = json.loads(bad.manifest.read_bytes())
    WRONG[kind](data)
    bad.manifest.write_text(json.dumps(data))
    for path in ("/metrics", "/api/v1/builds", "/"):
        answer = server.get(path)
        assert answer.status_code == 200, path
        assert path == "/metrics" or good.build_path in answer.text
    assert "cannot be understood" not in server.get("/api/v1/builds").text


# Later versions


def test_a_build_of_a_later_version_is_served_and_never_touched(
    server: DevServer, archive: FakeArchive, build: Build
) -> None:
    server.stage(build.url)
    places = BuildPlaces(server.static_dir, build.path)
    assert server.stop() == 0
    changed(places.manifest, format=2, artifacts={"new": {"shape": ["of", "a", {"later": "version"}]}})
    written = places.manifest.read_bytes()
    (places.published / "update.gz").write_bytes(b"another")  # which is not as the lists have it
    server.start_again()
    for answer in (server.download(build.url), server.get("/stage", archive_url=build.url, artifacts="stateful")):
        assert answer.status_code == 500
        assert cause_of(answer).startswith("NewerFormat: the manifest of ")
    assert server.get(f"/static/{build.path}/update.gz").content == b"another"
    listed = {one["build"]: one for one in server.get("/api/v1/builds").json()["builds"]}
    assert listed[build.path]["state"] == "staged"
    assert listed[build.path]["size"] > 400_000
    assert requests_removal(server, build.path) == 500
    assert "later version" in cause_of(server.get("/stage", archive_url=build.url, artifacts="stateful", clean="true"))
    assert places.manifest.read_bytes() == written
    assert not places.broken_manifest.exists()


def requests_removal(server: DevServer, build_path: str) -> int:
    return requests.delete(f"{server.url}/api/v1/builds/{build_path}", timeout=30).status_code


def test_a_build_of_a_later_version_is_counted_and_not_evicted(tmp_path: Path) -> None:
    newer, old = make_staged(tmp_path, "R1-1.0.0"), make_staged(tmp_path, "R2-1.0.0", last_used=1.0)
    changed(newer.manifest, format=7)
    stock = stocktaker(tmp_path)
    (record,) = [one for one in stock.take().records if one.build_path == newer.build_path]
    assert record.size >= 1000
    room = Room(tmp_path, Limits(max_bytes=1, min_free=None, max_age=None), LastUse(tmp_path), stock)
    assert [victim.record.build_path for victim in room.collect().gone] == [old.build_path]
    assert not set_broken_manifest_aside(newer)
    with pytest.raises(NewerFormat):
        remove_build(newer)
    assert (newer.published / "file").exists()


def test_fields_of_a_later_version_stay_through_a_rewrite_at_every_level(tmp_path: Path) -> None:
    places = make_staged(tmp_path, "R1-1.0.0")
    data = json.loads(places.manifest.read_bytes())
    data["buckets"] = {"a": [1, {"b": None}]}
    data["artifacts"][ARTIFACT]["flushed"] = True
    data["artifacts"][ARTIFACT]["unknown"] = "a name that is ours"
    data["artifacts"][ARTIFACT]["objects"][0]["sha256"] = "abc"
    places.manifest.write_text(json.dumps(data))
    Soundness(tmp_path, lambda *_: None).make_sure(places.build_path)
    update_manifest(places, "gs://bucket/target/R1-1.0.0", {"other": ArtifactRecord("absent")})
    written = json.loads(places.manifest.read_bytes())
    assert written["artifacts"].pop("other")["state"] == "absent"
    assert written == data


def test_fields_of_a_later_version_stay_in_holds_and_orders(tmp_path: Path) -> None:
    places = make_staged(tmp_path, "R1-1.0.0")
    holds = BuildHolds(tmp_path, lambda _: None)
    lease = holds.lease(places.build_path, Term(60.0, "lab"))
    data = json.loads(places.holds.read_bytes())
    data["why"], data["leases"][0]["rack"] = "a test", 7
    places.holds.write_text(json.dumps(data))
    holds.pin(places.build_path)
    holds.renew(places.build_path, lease.id, 90.0)
    written = json.loads(places.holds.read_bytes())
    assert (written["why"], written["leases"][0]["rack"]) == ("a test", 7)
    book = OrderBook(tmp_path)
    book.write(OrderRecord("gs://b/t/v", "t/v", {ARTIFACT: True}))
    (path,) = (tmp_path / ".devserver" / "orders").rglob("*.json")
    changed(path, rack=7)
    path.rename(path.with_name("77.json"))
    book.close()
    (order,) = OrderBook(tmp_path).take_over()
    assert isinstance(order, WrittenOrder)
    (path,) = (tmp_path / ".devserver" / "orders").rglob("*.json")
    assert json.loads(path.read_bytes())["rack"] == 7
    assert json.loads(path.read_bytes())["resumed"] == 1


def test_records_of_a_later_version_are_left_to_it(tmp_path: Path) -> None:
    places = make_staged(tmp_path, "R1-1.0.0")
    holds = BuildHolds(tmp_path, lambda _: None)
    holds.pin(places.build_path)
    changed(places.holds, format=2, pinned="by somebody")
    written = places.holds.read_bytes()
    assert holds_of(places).is_pinned
    with pytest.raises(NewerFormat):
        holds.unpin(places.build_path)
    assert places.holds.read_bytes() == written
    order = tmp_path / ".devserver" / "orders" / "later" / "1.json"
    order.parent.mkdir(parents=True)
    order.write_text('{"format": 2}')
    assert list(OrderBook(tmp_path).take_over()) == []
    assert order.exists()


# Absent is not unreadable


def test_a_record_that_cannot_be_read_now_stays_and_so_does_its_build(tmp_path: Path) -> None:
    places = make_staged(tmp_path, "R1-1.0.0")
    BuildHolds(tmp_path, lambda _: None).lease(places.build_path, Term(600.0, "lab"))
    before = sorted(tmp_path.rglob("*"))
    # Without a file descriptor left, nothing can be read.
    script = f"""
import resource, sys
from pathlib import Path
sys.path.insert(0, {str(PROJECT)!r})
from staging.errors import RecordUnreadable
from staging.file_lists import list_of, published_files, read_list
from staging.healing import set_broken_manifest_aside
from staging.holds import holds_of
from staging.inspection import check_at_a_glance, inspect
from staging.layout import BuildPlaces
from staging.manifest import Manifest
from staging.orders import OrderRecord
places = BuildPlaces(Path({str(tmp_path)!r}), {places.build_path!r})
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 64))
for read in (
    lambda: Manifest.read(places),
    lambda: read_list(list_of(places, {ARTIFACT!r})),
    lambda: inspect(places, check_at_a_glance),
    lambda: published_files(places, [{ARTIFACT!r}]),
    lambda: OrderRecord.read(places.manifest),
):
    try:
        read()
    except RecordUnreadable as error:
        assert "Too many open files" in str(error), error
    else:
        raise AssertionError("it was taken for absent")
assert holds_of(places).is_pinned
assert not set_broken_manifest_aside(places)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_manifest_that_cannot_be_read_is_never_written_over(tmp_path: Path) -> None:
    places = make_staged(tmp_path, "R1-1.0.0")
    changed(places.manifest, format=2)
    with pytest.raises(NewerFormat):
        update_manifest(places, "gs://bucket/target/R1-1.0.0", {})
    assert json.loads(places.manifest.read_bytes())["format"] == 2


# The directory of a build's records


def replaced_by_a_link(places: BuildPlaces, outside: Path) -> dict[str, bytes]:
    """Put a link to ``outside``, which has the same records, into the place of a build's directory of records."""
    places.records.rename(outside)
    (outside / "left.tmp").write_text("precious")
    (outside / "objects").mkdir()
    (outside / "objects" / "kept").write_text("precious")
    places.records.symlink_to(outside)
    return contents(outside)


def contents(directory: Path) -> dict[str, bytes]:
    return {f"{path} {path.stat().st_mtime_ns}": path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_nothing_of_the_server_follows_a_link_in_place_of_a_directory_of_records(tmp_path: Path) -> None:
    static, outside = tmp_path / "static", tmp_path / "outside"
    places = make_staged(static, "R1-1.0.0")
    assert stocktaker(static).take().records != []
    before = replaced_by_a_link(places, outside)
    with pytest.raises(RecordUnreadable, match="its directory is a link"):
        remove_build(places)
    with pytest.raises(RecordUnreadable, match="its directory is a link"):
        update_manifest(places, f"gs://bucket/{places.build_path}", {})
    with pytest.raises(RecordUnreadable, match="its directory is a link"):
        publish_empty_file(places, "image.bin")
    assert room_of(static, Limits(max_bytes=1)).collect().gone == []
    last_use = LastUse(static)
    last_use.note(places.build_path)
    last_use.put_right(places.build_path)
    Soundness(static, lambda *_: None).sweep(Flag())
    (places.staging / ARTIFACT).mkdir(parents=True)
    assert clear_up(static) == {}
    assert contents(outside) == before
    assert (places.published / "file").exists()


def test_a_link_in_place_of_a_directory_of_records_is_the_declared_cause(
    server: DevServer, build: Build, archive: FakeArchive
) -> None:
    directory = server.static_dir / build.path
    assert server.download(build.url).status_code == 200
    assert server.wait_for_status(build.url).status_code == 200
    outside = server.static_dir.parent / f"outside-{build.version}"
    before = replaced_by_a_link(BuildPlaces(server.static_dir, build.path), outside)
    try:
        for rpc in ("/download", "/stage"):
            answer = server.get(rpc, archive_url=build.url, artifacts="stateful")
            assert answer.status_code == 500
            assert cause_of(answer).startswith("RecordUnreadable: ")
        removal = requests.delete(f"{server.url}/api/v1/builds/{build.path}", timeout=30)
        assert (removal.status_code, "RecordUnreadable" in removal.text) == (500, True), removal.text
        assert contents(outside) == before
    finally:
        (directory / ".devserver").unlink()
        outside.rename(directory / ".devserver")


# In a staging area


@pytest.mark.parametrize("kind", KINDS)
def test_no_owner_of_an_area_hangs_or_crashes_its_reader(tmp_path: Path, kind: str) -> None:
    places = make_staged(tmp_path, "R1-1.0.0")
    area = StagingArea(places, ARTIFACT)
    area.prepare()
    path = places.staging / ARTIFACT
    with in_place_of(path / "owner", kind):
        assert not is_signed(path, "token")
        with pytest.raises(Cancelled):
            area.publish(f"gs://bucket/{places.build_path}", ArtifactRecord("staged"), {})
        if kind != "a directory":
            area.prepare()
            assert is_signed(path, (path / "owner").read_text())


@pytest.mark.parametrize(
    "url", ["gs://bucket/target/R2-1.0.0", "file:///srv/target/R2-1.0.0", "nothing", "gs://b/../c"]
)
def test_an_area_that_is_ready_for_another_build_is_removed(tmp_path: Path, url: str) -> None:
    places = make_staged(tmp_path, "R1-1.0.0")
    manifest = places.manifest.read_bytes()
    ready = ready_area(places, archive_url=url)
    assert clear_up(tmp_path) == {}
    assert places.manifest.read_bytes() == manifest
    assert not ready.exists()
    assert not (places.published / "more").exists()


@pytest.mark.parametrize(("number", "is_finished"), [(None, True), (1, True), (2, False)])
def test_an_area_that_is_ready_says_its_format(tmp_path: Path, number: int | None, is_finished: bool) -> None:
    places = make_staged(tmp_path, "R1-1.0.0")
    ready = ready_area(places, archive_url=f"gs://bucket/{places.build_path}", **({"format": number} if number else {}))
    assert [type(error) for error in clear_up(tmp_path).values()] == ([] if is_finished else [NewerFormat])
    assert (places.published / "more").exists() == is_finished
    assert ready.exists() != is_finished


def ready_area(places: BuildPlaces, **fields: Any) -> Path:
    """A staging area that is ready to be published, in which nobody works."""
    area = StagingArea(places, ARTIFACT)
    area.prepare()
    (area.tree / "more").write_text("x")
    ready = places.staging / ARTIFACT / "ready.json"
    record = ArtifactRecord("staged", files=1, size=1).to_json()
    ready.write_text(json.dumps({"name": ARTIFACT, "record": record, **fields}))
    return ready


def test_a_record_that_is_set_aside_by_its_writer_is_a_line_of_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    places = make_staged(tmp_path, "R1-1.0.0")
    places.manifest.write_text("[]")
    update_manifest(places, f"gs://bucket/{places.build_path}", {})
    places.holds.parent.mkdir(parents=True, exist_ok=True)
    places.holds.write_text("[]")
    BuildHolds(tmp_path, lambda _: None).unpin(places.build_path)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert all("target/R1-1.0.0" in line and "was renamed to" in line for line in lines)
