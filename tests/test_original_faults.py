"""The known faults of the devserver of 2012, each by its name: none of them may come back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builds import NTON_PAYLOAD, Build, make_build
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.servers import DevServer, cause_of, check_success, eventually

pytestmark = pytest.mark.shared_server


def test_the_background_ran_inline(server: DevServer, archive: FakeArchive, build: Build) -> None:
    with archive.holding("autotest.tar.bz2"):
        check_success(server.download(build.url))
        assert server.worker().pid != server.process.pid


def test_success_was_told_before_the_end(server: DevServer, archive: FakeArchive, build: Build) -> None:
    with archive.holding("autotest.tar.bz2") as reached:
        check_success(server.download(build.url))
        waiters = [server.ask("/wait_for_status", archive_url=build.url) for _ in range(3)]
        assert reached.wait(10)
        eventually(lambda: server.get("/check_health").json()["apache_client_count"] >= 4)
        assert not any(waiter.done() for waiter in waiters)
    for waiter in waiters:
        check_success(waiter.result(10))


def test_a_second_waiter_failed(server: DevServer, build: Build) -> None:
    server.stage(build.url)
    for _ in range(3):
        check_success(server.wait_for_status(build.url))


def test_waiting_failed_while_download_was_still_running(server: DevServer, archive: FakeArchive, build: Build) -> None:
    with archive.holding("stateful.tgz") as reached:
        download = server.ask("/download", archive_url=build.url)
        assert reached.wait(10)
        waiter = server.ask("/wait_for_status", archive_url=build.url)
        eventually(lambda: server.get("/check_health").json()["apache_client_count"] >= 3)
        assert not waiter.done()
    check_success(download.result(10))
    check_success(waiter.result(10))


def test_two_spellings_of_a_url_were_two_builds(server: DevServer, archive: FakeArchive, build: Build) -> None:
    server.stage(build.url + "//")
    check_success(server.wait_for_status(build.url))
    server.stage(build.url)
    assert len(archive.listings) == 1


def test_a_second_caller_was_told_success_in_the_middle_of_a_download(
    server: DevServer, archive: FakeArchive, build: Build
) -> None:
    with archive.holding("stateful.tgz") as reached:
        first = server.ask("/download", archive_url=build.url)
        assert reached.wait(10)
        second = server.ask("/download", archive_url=build.url)
        eventually(lambda: server.get("/check_health").json()["apache_client_count"] >= 3)
        assert not second.done()
    check_success(first.result(10))
    check_success(second.result(10))


def test_a_crash_left_the_build_staged_for_ever(server: DevServer, archive: FakeArchive, build: Build) -> None:
    with archive.holding("stateful.tgz") as reached:
        server.ask("/download", archive_url=build.url)
        assert reached.wait(10)
        server.kill()
    server.start_again()
    check_success(server.wait_for_status(build.url))  # not before it is true: it goes on by itself
    build.check_staged(server.static_dir)


def test_partial_files_were_visible(server: DevServer, archive: FakeArchive, build: Build) -> None:
    with archive.holding("stateful.tgz") as reached:
        download = server.ask("/download", archive_url=build.url)
        assert reached.wait(10)
        assert server.get(f"/static/{build.path}/stateful.tgz").status_code == 404
    check_success(download.result(10))


@pytest.mark.own_server
def test_the_staging_area_was_on_another_file_system(server: DevServer, archive: FakeArchive, build: Build) -> None:
    with archive.holding("stateful.tgz") as reached:
        download = server.ask("/download", archive_url=build.url)
        assert reached.wait(10)
        (area,) = (server.static_dir / ".devserver" / "staging").iterdir()
        assert area.stat().st_dev == server.static_dir.stat().st_dev
        # Published by rename: the file keeps its inode.
        (held,) = (path for path in (area / "stateful" / "objects").rglob("*") if path.is_file())
        inode = held.stat().st_ino
    check_success(download.result(10))
    assert (server.static_dir / build.path / "stateful.tgz").stat().st_ino == inode


def test_names_went_through_a_shell(server: DevServer, archive: FakeArchive, tmp_path: Path) -> None:
    version = f"R17; touch {tmp_path}/owned $(touch {tmp_path}/owned) `id` 'x' \"y\" & | > *"
    build = make_build(version=version.replace("/", "%")).upload(archive)
    server.stage(build.url)
    build.check_staged(server.static_dir)
    assert not (tmp_path / "owned").exists()


def test_startswith_was_the_sandbox(start_server: StartServer, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    sibling = make_build().write(tmp_path / "root_secret")
    server = start_server("--archive-root", str(tmp_path / "root"))
    for url in (
        f"file://{tmp_path}/root_secret/{sibling.path}",
        f"file://{tmp_path}/root/../root_secret/{sibling.path}",
    ):
        assert server.download(url).status_code == 400
    (tmp_path / "static_secret").mkdir()
    (tmp_path / "static_secret" / "file").write_text("a secret")
    assert server.get("/static/../static_secret/file").status_code == 404


def test_a_missing_delta_failed_the_build(server: DevServer, archive: FakeArchive, build: Build) -> None:
    archive.remove(build.bucket, f"{build.path}/{NTON_PAYLOAD}")
    server.stage(build.url)
    assert server.get(f"/static/{build.path}/autotest/packages.checksum").status_code == 200


def test_errors_answered_200(server: DevServer, build: Build) -> None:
    assert server.download(build.url.replace("R17", "R99")).status_code == 500
    assert server.wait_for_status(build.url.replace("R17", "R99")).status_code == 500


@pytest.mark.parametrize("rpc", ["/download", "/wait_for_status"])
def test_every_500_was_a_callers_mistake(server: DevServer, rpc: str) -> None:
    assert server.get(rpc).status_code == 400
    assert server.get(rpc, archive_url="gs://bucket").status_code == 400


def test_an_error_was_a_function(server: DevServer, build: Build) -> None:
    assert cause_of(server.wait_for_status(build.url)).startswith("NoDownload: No download for the given archive_url")
