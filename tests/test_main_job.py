"""Staging a build: the synchronous artifacts before /download answers, the others behind it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.builds import MTON_PAYLOAD, NTON_PAYLOAD, SYNCHRONOUS, Build, make_build
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.servers import DevServer, cause_of, check_success, eventually

pytestmark = pytest.mark.shared_server


def test_a_build_is_staged_as_the_catalogue_says(server: DevServer, build: Build) -> None:
    server.stage(build.url)
    build.check_staged(server.static_dir)


@pytest.mark.parametrize("held", ["autotest.tar.bz2", NTON_PAYLOAD])
def test_download_answers_before_the_background_artifacts_are_staged(
    server: DevServer, archive: FakeArchive, build: Build, held: str
) -> None:
    with archive.holding(held) as reached:
        check_success(server.download(build.url))
        update = server.get(f"/static/{build.path}/update.gz")
        assert update.content == build.files["update.gz"]
        assert reached.wait(10)
        waiter = server.ask("/wait_for_status", archive_url=build.url)
        assert server.wait_for_status(build.url, timeout="0.3").status_code == 504
        assert not waiter.done()
    released = time.monotonic()
    check_success(waiter.result(10))
    assert time.monotonic() - released < 1.0
    build.check_staged(server.static_dir)


def test_an_archive_root_may_be_relative(start_server: StartServer, tmp_path: Path) -> None:
    build = make_build().write(tmp_path / "root")
    server = start_server("--archive-root", os.path.relpath(tmp_path / "root"))
    check_success(server.download(f"file://{tmp_path}/root/{build.path}"))


def test_download_without_background_answers_when_everything_is_staged(server: DevServer, build: Build) -> None:
    check_success(server.download(build.url, background="false"))
    build.check_staged(server.static_dir)


def test_fifty_callers_cause_one_listing_and_one_fetch_of_each_object(
    server: DevServer, archive: FakeArchive, build: Build
) -> None:
    spellings = (build.url, build.url + "/", build.url.replace("release/", "release//"))
    with archive.holding("list") as reached:
        callers = [
            server.ask(("/download", "/wait_for_status")[n % 2], archive_url=spellings[n % 3]) for n in range(50)
        ]
        assert reached.wait(10)
        eventually(lambda: server.get("/check_health").json()["apache_client_count"] > 50)
    for caller in callers:
        check_success(caller.result(30))
    assert len(archive.listings) == 1
    assert sorted(fetch.name for fetch in archive.fetches) == sorted(set(build.objects) - {"image.zip"})


def test_all_callers_are_told_the_same_failure(server: DevServer, archive: FakeArchive, build: Build) -> None:
    archive.put(build.bucket, f"{build.path}/autotest.tar.bz2", b"no tarball")
    with archive.holding("autotest.tar.bz2"):
        check_success(server.download(build.url))
        waiters = [server.ask("/wait_for_status", archive_url=build.url) for _ in range(20)]
    for waiter in waiters:
        assert waiter.result(10).status_code == 500
        assert cause_of(waiter.result(10)).startswith("BadTarball: autotest.tar.bz2 cannot be unpacked")


@pytest.mark.parametrize("broken", SYNCHRONOUS)
def test_a_synchronous_failure_is_told_by_download_and_starts_no_worker(
    server: DevServer, archive: FakeArchive, build: Build, broken: str
) -> None:
    archive.put(build.bucket, f"{build.path}/{broken}", build.objects[broken], stated_crc32c="AAAAAA==")
    answer = server.download(build.url)
    assert answer.status_code == 500
    assert cause_of(answer).startswith(
        f"ChecksumMismatch: gs://chromeos-image-archive/{build.path}/{broken} is corrupt"
    )
    assert cause_of(server.wait_for_status(build.url)) == cause_of(answer)
    eventually(lambda: server.get("/check_health").json()["staging_thread_count"] == 0)
    assert archive.bytes_sent("autotest.tar.bz2") == 0


def test_a_synchronous_failure_is_told_at_once(server: DevServer, archive: FakeArchive, build: Build) -> None:
    archive.put(build.bucket, f"{build.path}/stateful.tgz", b"x", stated_crc32c="AAAAAA==")
    with archive.holding(SYNCHRONOUS[0]):
        assert cause_of(server.download(build.url)).startswith("ChecksumMismatch: ")


def test_a_failure_is_told_until_the_next_download_which_fetches_only_what_is_missing(
    server: DevServer, archive: FakeArchive, build: Build
) -> None:
    archive.put(build.bucket, f"{build.path}/{MTON_PAYLOAD}", build.objects[MTON_PAYLOAD], stated_crc32c="AAAAAA==")
    check_success(server.download(build.url))
    for _ in range(3):
        assert "ChecksumMismatch" in cause_of(server.wait_for_status(build.url))
    archive.put(build.bucket, f"{build.path}/{MTON_PAYLOAD}", build.objects[MTON_PAYLOAD])
    archive.forget()
    server.stage(build.url)
    assert {fetch.name for fetch in archive.fetches} == {MTON_PAYLOAD}
    build.check_staged(server.static_dir)


def test_a_build_that_nobody_asked_for_has_no_status(server: DevServer, build: Build) -> None:
    answer = server.wait_for_status(build.url)
    assert answer.status_code == 500
    assert "No download for the given archive_url found" in cause_of(answer)


def test_a_build_staged_by_an_earlier_run_is_a_success_at_once(
    server: DevServer, archive: FakeArchive, build: Build
) -> None:
    server.stage(build.url)
    assert server.stop() == 0
    archive.forget()
    server.start_again()
    check_success(server.wait_for_status(build.url))
    server.stage(build.url)
    assert archive.listings == []


@pytest.mark.parametrize("missing", [NTON_PAYLOAD, MTON_PAYLOAD])
def test_a_missing_delta_does_not_fail_the_build(
    server: DevServer, archive: FakeArchive, build: Build, missing: str
) -> None:
    archive.remove(build.bucket, f"{build.path}/{missing}")
    server.stage(build.url)
    assert server.get(f"/static/{build.path}/autotest/packages/packages.checksum").status_code == 200
    kind = "nton" if missing == NTON_PAYLOAD else "mton"
    assert server.get(f"/static/{build.path}/au/{build.version}_{kind}/update.gz").status_code == 404


@pytest.mark.parametrize("missing", [*SYNCHRONOUS, "autotest.tar.bz2"])
def test_a_missing_required_object_is_named(
    server: DevServer, archive: FakeArchive, build: Build, missing: str
) -> None:
    archive.remove(build.bucket, f"{build.path}/{missing}")
    answer = server.download(build.url)
    assert answer.status_code == 500
    assert cause_of(answer).startswith(f"ObjectNotFound: Could not find {build.url}/")
    assert not (server.static_dir / build.path).exists()


def test_two_builds_of_one_path_never_mix(server: DevServer, archive: FakeArchive, build: Build) -> None:
    other = make_build(version=build.version, bucket="another-bucket").upload(archive)
    other_url = f"gs://{other.bucket}/{build.path}"
    with archive.holding("autotest.tar.bz2"):
        check_success(server.download(build.url))
        check_success(server.download(other_url))
    for url in (build.url, other_url):
        check_success(server.wait_for_status(url))
    build.check_staged(server.static_dir)
    other.check_staged(server.static_dir / ".devserver/buckets/another-bucket")


def test_somebody_elses_files_are_served_and_never_replaced(
    server: DevServer, archive: FakeArchive, build: Build
) -> None:
    theirs = server.static_dir / build.path / "update.gz"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"by hand")
    assert server.get(f"/static/{build.path}/update.gz").content == b"by hand"
    answer = server.download(build.url)
    assert answer.status_code == 500
    assert cause_of(answer).startswith(f"PathTaken: full_payload would replace {build.path}/update.gz")
    assert theirs.read_bytes() == b"by hand"


def test_two_devservers_with_one_directory_fetch_a_build_once(
    start_server: StartServer, archive: FakeArchive, build: Build
) -> None:
    servers = [start_server(name="one"), start_server(name="two")]
    with archive.holding("autotest.tar.bz2"):
        callers = [server.ask("/download", archive_url=build.url) for server in servers]
        for caller in callers:
            check_success(caller.result(10))
    for server in servers:
        check_success(server.wait_for_status(build.url))
    assert len(archive.listings) == 1
    assert sorted(fetch.name for fetch in archive.fetches) == sorted(set(build.objects) - {"image.zip"})
    build.check_staged(servers[0].static_dir)
