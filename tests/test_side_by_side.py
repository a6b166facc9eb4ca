"""What clients promise each other who ask for the same build at once, and remove or repair what is there."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event as Flag
from urllib.parse import quote

import pytest
import requests

from staging.board import StatusBoard
from staging.build_removal import remove_build
from staging.errors import BadTarball
from staging.layout import BuildPlaces
from staging.locks import FileLock
from staging.publishing import make_build_directory, update_manifest
from staging.records.decoding import write
from staging.status import BuildStatus, Event, State
from tests.builds import Build, make_build
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.servers import DevServer, cause_of, check_success, eventually

pytestmark = pytest.mark.shared_server


def of_api(server: DevServer, build: Build) -> str:
    return f"{server.url}/api/v1/builds/{quote(build.path, safe='')}"


def test_a_record_that_many_write_at_once_is_one_of_theirs(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    with ThreadPoolExecutor(8) as pool:
        for written in [pool.submit(write, record, {"number": number}) for number in range(2000)]:
            written.result()
    assert json.loads(record.read_text())["number"] in range(2000)
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


def test_cleaning_waits_for_another_devserver_and_stages_anew(server: DevServer, build: Build) -> None:
    check_success(server.get("/stage", archive_url=build.url, artifacts="stateful"))
    lock = FileLock.acquire(BuildPlaces(server.static_dir, build.path).lock, Flag())
    cleaned = server.ask("/stage", archive_url=build.url, artifacts="stateful", clean="true")
    with pytest.raises(TimeoutError):
        cleaned.result(0.5)
    lock.release()
    check_success(cleaned.result(10))
    assert (server.static_dir / build.path / "stateful.tgz").read_bytes() == build.objects["stateful.tgz"]


def test_a_source_that_is_served_where_it_lies_outlives_cleaning_and_removal(server: DevServer) -> None:
    source = server.static_dir / "mine" / "R1-1.0.0"
    source.mkdir(parents=True)
    (source / "stateful.tgz").write_bytes(b"the only one there is")
    query = {"local_path": str(source), "files": "stateful.tgz"}
    check_success(server.get("/stage", **query))
    check_success(server.get("/stage", **query, clean="true"))
    assert requests.delete(f"{server.url}/api/v1/builds/mine%2FR1-1.0.0", timeout=10).status_code == 204
    assert (source / "stateful.tgz").read_bytes() == b"the only one there is"
    assert sorted(path.name for path in source.iterdir()) == ["stateful.tgz"]


def test_removing_what_was_staged_of_a_whole_bucket_touches_no_other_build(tmp_path: Path) -> None:
    other = BuildPlaces(tmp_path, "target/version").staging / "artifact" / "tree" / "empty"
    other.mkdir(parents=True)
    bucket = BuildPlaces(tmp_path, "")
    make_build_directory(bucket)
    update_manifest(bucket, "gs://bucket", {})
    remove_build(bucket)
    assert other.is_dir()


def test_what_was_repaired_is_not_called_failed_any_more(server: DevServer, archive: FakeArchive, build: Build) -> None:
    archive.put(build.bucket, f"{build.path}/test_suites.tar.bz2", b"no tarball")
    assert server.download(build.url).status_code == 500
    assert requests.get(of_api(server, build), timeout=10).json()["state"] == "failed"
    archive.put(build.bucket, f"{build.path}/test_suites.tar.bz2", build.objects["test_suites.tar.bz2"])
    server.stage(build.url)
    view = requests.get(of_api(server, build), timeout=10).json()
    assert (view["state"], {artifact["cause"] for artifact in view["artifacts"]}) == ("staged", {None})
    stream = requests.get(f"{of_api(server, build)}/events", timeout=10).text
    assert json.loads(stream.rpartition("data: ")[2])["state"] == "staged"


def test_what_is_asked_for_by_name_has_to_be_there_though_others_took_it_as_optional(
    server: DevServer, archive: FakeArchive, build: Build
) -> None:
    with archive.holding("list") as reached:
        first = server.ask("/stage", archive_url=build.url, artifacts="test_suites")
        assert reached.wait(10)
        second = server.ask("/stage", archive_url=build.url, artifacts="autotest_packages")
    check_success(first.result(10))
    assert cause_of(second.result(10)) == f"ObjectNotFound: Could not find {build.url}/autotest_packages.tar"


def test_what_one_client_asks_for_in_vain_fails_no_other(server: DevServer, archive: FakeArchive, build: Build) -> None:
    with archive.holding("list") as reached:
        first = server.ask("/stage", archive_url=build.url, artifacts="stateful,firmware")
        assert reached.wait(10)
        second = server.ask("/stage", archive_url=build.url, artifacts="stateful")
    assert cause_of(first.result(10)).startswith("ObjectNotFound: ")
    check_success(second.result(10))


def test_a_download_that_fails_does_not_fail_who_wants_another_part(
    server: DevServer, archive: FakeArchive, build: Build
) -> None:
    archive.put(build.bucket, f"{build.path}/test_suites.tar.bz2", b"no tarball")
    with archive.holding("test_suites.tar.bz2") as reached:
        download = server.ask("/download", archive_url=build.url)
        assert reached.wait(10)
        other = server.ask("/stage", archive_url=build.url, artifacts="autotest")
        with pytest.raises(TimeoutError):
            other.result(0.2)
    assert cause_of(download.result(10)).startswith("BadTarball: ")
    check_success(other.result(10))


def test_heads_of_event_streams_take_no_room_from_those_who_wait(
    start_server: StartServer, archive: FakeArchive, build: Build
) -> None:
    server = start_server("--max-threads", "3")
    with archive.holding("autotest.tar.bz2") as reached:
        check_success(server.download(build.url))
        assert reached.wait(10)
        for _ in range(8):
            assert requests.head(f"{of_api(server, build)}/events", timeout=10).status_code == 200
        waiter = server.ask("/wait_for_status", archive_url=build.url)
        eventually(lambda: server.get("/check_health").json()["apache_client_count"] >= 1)
    check_success(waiter.result(10))


def test_what_failed_is_forgotten_after_a_while() -> None:
    board = StatusBoard()
    for number in range(2000):
        status = BuildStatus("gs://bucket/build", f"build/{number % 600}", {f"file:{number}": True})
        board.show(status)
        board.report(status, Event(status.build, f"file:{number}", State.FAILED, cause=BadTarball("x", "y")))
    assert len(board.builds()) <= 500
    for number in range(200):
        status = BuildStatus("gs://bucket/one", "one", {f"file:{number}": True})
        board.show(status)
        board.report(status, Event("one", f"file:{number}", State.FAILED, cause=BadTarball("x", "y")))
    assert len(board.downloads("one")) <= 20


def test_bytes_that_came_are_not_taken_back_by_a_failure() -> None:
    status = BuildStatus("gs://bucket/one", "one", {"stateful": True})
    status.apply([Event("one", "stateful", State.DOWNLOADING, 700, 1000)])
    status.apply([Event("one", "stateful", State.FAILED, cause=BadTarball("x", "y"))])
    event = status.artifacts["stateful"]
    assert (event.bytes_done, event.bytes_total) == (700, 1000)


@pytest.mark.own_server
def test_builds_are_found_below_what_a_caller_named_by_one_part(server: DevServer, archive: FakeArchive) -> None:
    build = make_build().upload(archive)
    archive.put(build.bucket, f"{build.target}/notes.txt", b"of all versions")
    check_success(server.get("/stage", archive_url=build.url, artifacts="stateful"))
    check_success(server.get("/stage", archive_url=f"gs://{build.bucket}/{build.target}", files="notes.txt"))
    listed = [one["build"] for one in server.get("/api/v1/builds").json()["builds"]]
    assert listed == [build.target, build.path]
