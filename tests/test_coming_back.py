"""Coming back: what a devserver was staging when it ended goes on by itself, and nothing else does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
import requests

from comeback import MOST_DEATHS
from staging.errors import RecordMalformed
from staging.orders import OrderBook, OrderRecord, WrittenOrder
from tests.builds import FULL_PAYLOAD, Build, make_build, noise
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.servers import DevServer, cause_of, check_success, eventually

pytestmark = pytest.mark.shared_server

AUTOTEST = "autotest.tar.bz2"
GOES_ON = "the download that was cut off goes on"
DROPPED = "the download that was cut off does not go on: "
PATIENT = ("--stall-timeout", "60")  # an object that is held back is no failure


@pytest.fixture
def server(start_server: StartServer) -> DevServer:
    """A devserver that waits for the archive."""
    return start_server(*PATIENT)


@contextmanager
def staging(server: DevServer, archive: FakeArchive, build: Build, held: str = AUTOTEST) -> Iterator[None]:
    """A build that is being staged, as far as the object ``held``."""
    with archive.holding(held) as reached:
        server.ask("/download", archive_url=build.url)
        assert reached.wait(20)
        yield


def orders(static_dir: Path) -> list[Path]:
    return list((static_dir / ".devserver" / "orders").glob("*/*.json"))


def has_nothing_left(server: DevServer) -> None:
    eventually(lambda: not orders(server.static_dir))


def goes_on(server: DevServer, times: int = 1) -> None:
    """Wait until so many of the server's lives have gone on with a download."""
    eventually(lambda: server.log.count(GOES_ON) == times, timeout=60)


def test_a_build_that_a_crash_cut_off_becomes_staged_with_nobody_asking(
    server: DevServer, archive: FakeArchive, build: Build
) -> None:
    with staging(server, archive, build):
        server.kill()
    server.start_again()
    eventually(lambda: f"{build.path}: staged; " in server.log, timeout=60)
    build.check_staged(server.static_dir)
    has_nothing_left(server)


def test_a_restart_goes_on_from_the_bytes_that_are_here(server: DevServer, archive: FakeArchive) -> None:
    build = make_build()
    payload = noise(8_000_000, "payload")
    build.objects[FULL_PAYLOAD] = build.files["update.gz"] = payload
    build.upload(archive)
    with archive.holding(FULL_PAYLOAD, after=6_000_000) as reached:
        asked = server.ask("/download", archive_url=build.url)
        assert reached.wait(20)
        areas = server.static_dir / ".devserver" / "staging"
        eventually(lambda: sum(path.stat().st_size for path in areas.rglob("full_payload/**/*")) > 4_000_000)
        assert server.stop() == 0
    assert cause_of(asked.result(10)) == "Cancelled: the devserver is stopping"
    eventually(lambda: archive.reads_now == 0)
    archive.forget()
    server.start_again()
    check_success(server.wait_for_status(build.url))
    build.check_staged(server.static_dir)
    assert archive.bytes_sent(FULL_PAYLOAD) < 4_000_000


def test_who_waits_from_before_the_server_is_there_is_told_of_the_build_that_goes_on(
    server: DevServer, archive: FakeArchive, build: Build
) -> None:
    with staging(server, archive, build):
        server.kill()
    with archive.holding(AUTOTEST) as reached:
        server.start_again()
        waiters = [server.ask("/wait_for_status", archive_url=build.url) for _ in range(5)]
        assert reached.wait(20)
        assert not any(waiter.done() for waiter in waiters)
    for waiter in waiters:
        check_success(waiter.result(20))


def test_what_was_asked_for_by_name_goes_on(server: DevServer, archive: FakeArchive, build: Build) -> None:
    with archive.holding(AUTOTEST) as reached:
        wish = {"artifacts": "autotest", "files": "image.*", "async": "True"}
        check_success(server.get("/stage", archive_url=build.url, **wish))
        assert reached.wait(20)
        server.kill()
    server.start_again()
    wish.pop("async")
    eventually(lambda: f"{build.path}: staged; " in server.log, timeout=60)
    eventually(lambda: not orders(server.static_dir), timeout=60)
    assert server.get("/is_staged", archive_url=build.url, **wish).text == "True"
    assert not (server.static_dir / build.path / "update.gz").exists()
    has_nothing_left(server)


@pytest.mark.parametrize("variables", [{}, {"DEVSERVER_RESUME": "0"}, {"DEVSERVER_RESUME": "false"}])
def test_it_does_not_go_on_where_the_operator_says_so(
    start_server: StartServer, archive: FakeArchive, build: Build, variables: dict[str, str]
) -> None:
    with staging(start_server(*PATIENT), archive, build):
        server = start_server(*PATIENT, *([] if variables else ["--no-resume"]), name="other", **variables)
        assert server.get("/index").status_code == 200
        assert DROPPED not in server.log  # the first one lives
    has_nothing_left(server)
    with staging(server, archive, make_build(version="R18-1.0.0").upload(archive)):
        server.kill()
    eventually(lambda: archive.reads_now == 0)
    server.start_again()
    assert "NoDownload" in cause_of(server.wait_for_status(f"gs://{build.bucket}/{build.target}/R18-1.0.0"))
    assert f"{DROPPED}--no-resume" in server.log
    has_nothing_left(server)


def test_a_build_at_which_devservers_die_is_given_up(server: DevServer, archive: FakeArchive, build: Build) -> None:
    with staging(server, archive, build):
        server.kill()
        for death in range(MOST_DEATHS):
            server.start_again()
            goes_on(server, death + 1)
            server.kill()
    server.start_again()
    eventually(lambda: f"{DROPPED}{MOST_DEATHS} devservers in a row died" in server.log)
    assert "NoDownload" in cause_of(server.wait_for_status(build.url))
    has_nothing_left(server)
    server.stage(build.url)  # whoever asks for it has it tried again
    build.check_staged(server.static_dir)


def test_a_devserver_that_ends_well_did_not_die_of_the_build(
    server: DevServer, archive: FakeArchive, build: Build
) -> None:
    with staging(server, archive, build):
        for times in range(MOST_DEATHS + 1):
            assert server.stop() == 0
            server.start_again()
            goes_on(server, times + 1)
    check_success(server.wait_for_status(build.url))


def test_the_orders_of_a_devserver_that_lives_are_left_to_it(
    start_server: StartServer, archive: FakeArchive, build: Build
) -> None:
    first = start_server(*PATIENT, name="first")
    with staging(first, archive, build):
        second = start_server(*PATIENT, name="second")
        waiting = second.ask("/wait_for_status", archive_url=build.url)
        assert "NoDownload" in cause_of(waiting.result(20))  # it is not its own
        assert GOES_ON not in second.log
        (order,) = orders(first.static_dir)
        first.kill()
        third = start_server(*PATIENT, name="third")
        eventually(lambda: GOES_ON in third.log)
        assert not order.exists()
        assert len(orders(first.static_dir)) == 1
        waiters = [third.ask("/wait_for_status", archive_url=build.url)]
    check_success(waiters[0].result(20))
    build.check_staged(first.static_dir)
    assert GOES_ON not in second.log
    has_nothing_left(third)


def test_what_somebody_cancelled_stays_cancelled(server: DevServer, archive: FakeArchive, build: Build) -> None:
    with staging(server, archive, build):
        address = f"{server.url}/api/v1/builds/{quote(build.path, safe='')}/cancel"
        assert requests.post(address, timeout=20).ok
        has_nothing_left(server)
        server.kill()
        server.start_again()
        assert "NoDownload" in cause_of(server.wait_for_status(build.url))


def test_what_failed_does_not_go_on(server: DevServer, archive: FakeArchive, build: Build) -> None:
    archive.put(build.bucket, f"{build.path}/{AUTOTEST}", b"this is no tarball")
    check_success(server.download(build.url))
    assert server.wait_for_status(build.url).status_code == 500
    has_nothing_left(server)


def test_an_order_that_means_nothing_any_more_is_dropped(
    start_server: StartServer, archive: FakeArchive, build: Build, tmp_path: Path
) -> None:
    own = make_build(target="own").write(tmp_path / "archive")
    with archive.holding(AUTOTEST) as reached, archive.holding("image.zip") as also:
        server = start_server(*PATIENT, "--archive-root", str(tmp_path / "archive"), "--max-downloads", "1")
        check_success(server.get("/stage", archive_url=build.url, artifacts="autotest", **{"async": "True"}))
        check_success(server.get("/stage", archive_url=build.url, files="image.zip", **{"async": "True"}))
        assert reached.wait(20)
        assert also.wait(20)
        server.ask("/stage", archive_url=f"file://{tmp_path}/archive/{own.path}", files="image.zip")
        eventually(lambda: len(orders(server.static_dir)) == 3)
        server.kill()
    (server.static_dir / ".devserver" / "orders" / "nobody").mkdir()
    (server.static_dir / ".devserver" / "orders" / "nobody" / "1.json").write_text("{ this is no order")
    catalogue = tmp_path / "catalogue.toml"
    catalogue.write_text('[[artifact]]\nname = "other"\npattern = "other"\n')
    changed = start_server("--catalog", str(catalogue), name="changed")
    eventually(lambda: changed.log.count("does not go on: ") == 2)
    assert f"{build.path}: {DROPPED}UnknownArtifact: there is no artifact 'autotest'" in changed.log
    assert f"{own.path}: {DROPPED}InvalidArchiveUrl: " in changed.log
    eventually(lambda: "cannot be understood, and is dropped" in changed.log)
    eventually(lambda: f"{build.path}: staged; " in changed.log)  # the file
    has_nothing_left(changed)


def test_what_was_to_be_cleaned_first_is_cleaned_once(server: DevServer, archive: FakeArchive, build: Build) -> None:
    server.stage(build.url)
    with archive.holding(AUTOTEST) as reached:
        wish = {"artifacts": "stateful,autotest", "clean": "True", "async": "True"}
        check_success(server.get("/stage", archive_url=build.url, **wish))
        assert reached.wait(20)
        (order,) = orders(server.static_dir)
        assert json.loads(order.read_bytes())["clean"] is False
        assert not (server.static_dir / build.path / "update.gz").exists()
        server.kill()
    eventually(lambda: archive.reads_now == 0)
    archive.forget()
    server.start_again()
    eventually(lambda: server.log.count(f"{build.path}: staged; ") == 2, timeout=60)
    assert server.get("/is_staged", archive_url=build.url, artifacts="autotest,stateful").text == "True"
    assert {fetch.name for fetch in archive.fetches} == {AUTOTEST}


# The orders themselves


def test_an_order_is_one_devservers_at_a_time(tmp_path: Path) -> None:
    record = OrderRecord("gs://bucket/target/version", "target/version", {"stateful": True}, is_whole=True)
    living, dead, heir = (OrderBook(tmp_path) for _ in range(3))
    living.write(record)
    left = dead.write(record)
    settled = dead.write(record)
    settled.remove()
    assert list(heir.take_over()) == []
    dead.close()  # as its end does
    (taken,) = heir.take_over()
    assert isinstance(taken, WrittenOrder)
    assert taken.record == replace(record, resumed=1)
    assert list(heir.take_over()) == []
    assert list(OrderBook(tmp_path).take_over()) == []  # the heir lives
    left.remove()  # is not its any more
    assert len(orders(tmp_path)) == 2
    heir.close()
    (again,) = OrderBook(tmp_path).take_over()
    assert isinstance(again, WrittenOrder)
    assert again.record.resumed == 2
    again.change(resumed=0)
    assert [order.resumed for path in orders(tmp_path) if (order := OrderRecord.read(path))].count(0) == 2


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1}', '{"format": 0, "archive_url": "gs://a/b/c"}'])
def test_an_order_that_cannot_be_read_says_so(tmp_path: Path, text: str) -> None:
    path = tmp_path / "1.json"
    path.write_text(text)
    with pytest.raises(RecordMalformed, match="an order cannot be understood"):
        OrderRecord.read(path)
