"""Links that lead in circles, or back to where they are: no list, walk or answer fails or goes on for ever for them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.builds import BUCKET
from tests.fake_archive import FakeArchive
from tests.nginx import in_front_of
from tests.servers import PROJECT, DevServer, cause_of, check_success

BUILD = "links/v1"
URL = f"gs://{BUCKET}/{BUILD}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, shared_archive: FakeArchive) -> Iterator[DevServer]:
    """A devserver with a build that has such links: some of its tarball's, some that somebody put there."""
    archives = tmp_path_factory.mktemp("archives")
    environment = {"STORAGE_EMULATOR_HOST": shared_archive.url}
    server = DevServer(tmp_path_factory.mktemp("links"), "--archive-root", str(archives), environment=environment)
    folder = tmp_path_factory.mktemp("tree") / "autotest"
    (folder / "client").mkdir(parents=True)
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")
    (folder / "client" / "control").symlink_to("control.again")
    (folder / "client" / "control.again").symlink_to("control")
    (folder / "control").write_bytes(b"x = 1\n")
    (folder / "X11").symlink_to(".")
    packed = subprocess.run(["tar", "-C", str(folder.parent), "-cjf", "-", "autotest"], check=True, capture_output=True)
    shared_archive.put(BUCKET, f"{BUILD}/test_suites.tar.bz2", packed.stdout)
    check_success(server.get("/stage", archive_url=URL, artifacts="test_suites"))
    (server.static_dir / BUILD / "autotest" / "up").symlink_to("../autotest")
    (server.static_dir / "links" / "v2").symlink_to("v3")
    (server.static_dir / "links" / "v3").symlink_to("v2")
    (archives / "t").mkdir()
    (archives / "t" / "v").mkdir()
    (archives / "t" / "v" / "loop.bin").symlink_to("loop.bin")
    (archives / "t" / "v" / "good.bin").write_bytes(b"good")
    (archives / "t" / "circle").symlink_to("circle")
    yield server
    server.close()


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
@pytest.mark.parametrize("folder", [f"{BUILD}/autotest/", f"{BUILD}/autotest/client/", "links/"])
def test_a_list_leaves_out_links_in_a_circle(server: DevServer, folder: str, accept: str) -> None:
    answer = requests.get(f"{server.url}/static/{folder}", headers={"Accept": accept}, timeout=20)
    assert answer.status_code == 200
    for name in ("./a", "./b", "control.again", "./v2", "./v3"):
        assert f'"{name}"' not in answer.text
    if folder.endswith("autotest/"):
        assert '"./control"' in answer.text
        assert '"./X11/"' in answer.text


@pytest.mark.parametrize("place", ["devserver", "nginx"])
def test_a_link_in_a_circle_is_nothing_by_its_name(server: DevServer, tmp_path: Path, place: str) -> None:
    def check(address: str) -> None:
        for path in (f"{BUILD}/autotest/a", f"{BUILD}/autotest/b", "links/v2", "links/v2/", f"{BUILD}/autotest/a/x"):
            assert requests.get(f"{address}/static/{path}", timeout=20).status_code == 404, path
        for path in ("X11/control", "X11/X11/X11/control", "up/control", "X11/up/X11/control"):
            assert requests.get(f"{address}/static/{BUILD}/autotest/{path}", timeout=20).content == b"x = 1\n"
        assert requests.get(f"{address}/static/{BUILD}/autotest/{'X11/' * 60}control", timeout=20).status_code == 404

    if place == "devserver":
        check(server.url)
        return
    with in_front_of(server, tmp_path / "nginx") as address:
        check(address)


def test_no_rpc_fails_for_them(server: DevServer) -> None:
    assert server.get("/controlfiles", build=BUILD, control_path="client/control").text.startswith(
        "Unknown control path"
    )
    assert "control" in server.get("/controlfiles", build=BUILD).text.split("\n")
    assert server.get("/list_suite_controls", build=BUILD).json() == {"control": "x = 1\n"}
    assert server.get("/list_image_dir", archive_url=URL).status_code == 200
    assert server.get("/latestbuild", target="links").text == "v1"
    assert server.get("/builds/" + BUILD).status_code == 200
    answer = server.get("/stage", archive_url=f"gs://{BUCKET}/links/v2", files="x")
    assert cause_of(answer).startswith("DiskFailure: the devserver's disk failed at ")
    assert cause_of(answer).endswith("links/v2: Too many levels of symbolic links")


def test_an_archives_directory_may_hold_them(server: DevServer) -> None:
    root = server.command[server.command.index("--archive-root") + 1]
    check_success(server.get("/stage", archive_url=f"file://{root}/t/v", files="*.bin"))
    assert server.get("/static/t/v/good.bin").content == b"good"
    for url, name in ((f"file://{root}/t/v", "loop.bin"), (f"file://{root}/t/circle", "x.bin")):
        answer = server.get("/stage", archive_url=url, files=name)
        assert (answer.status_code, "ObjectNotFound" in answer.text) == (500, True)


def test_verifying_and_removing_ends(server: DevServer) -> None:
    command = [sys.executable, str(PROJECT / "devserver.py"), "--static-dir", str(server.static_dir)]
    subprocess.run([*command, "verify", BUILD], check=True, capture_output=True, timeout=60)
    subprocess.run([*command, "--max-bytes", "1M", "gc", "--dry-run"], check=True, capture_output=True, timeout=60)
    folder = server.static_dir / BUILD / "autotest"
    assert requests.delete(f"{server.url}/api/v1/builds/{BUILD.replace('/', '%2F')}", timeout=30).status_code == 204
    assert sorted(os.listdir(folder)) == ["up"]  # which is somebody else's  # noqa: PTH208


@pytest.mark.parametrize(("link", "target"), [("packages/one.tar", "../one.tar"), ("packages", ".")])
def test_packages_that_are_links_to_their_copies_are_no_failure(
    server: DevServer, shared_archive: FakeArchive, tmp_path: Path, link: str, target: str
) -> None:
    folder = tmp_path / "autotest"
    folder.mkdir(parents=True)
    (folder / "packages.checksum").write_bytes(b"sums")
    (folder / "one.tar").write_bytes(b"one")
    (folder / link).parent.mkdir(exist_ok=True)
    (folder / link).symlink_to(target)
    packed = subprocess.run(["tar", "-C", str(tmp_path), "-cjf", "-", "autotest"], check=True, capture_output=True)
    path = f"packages/{link.replace('/', '-')}"
    shared_archive.put(BUCKET, f"{path}/autotest.tar.bz2", packed.stdout)
    check_success(server.get("/stage", archive_url=f"gs://{BUCKET}/{path}", artifacts="autotest"))
    assert server.get(f"/static/{path}/autotest/one.tar").content == b"one"
    assert server.get(f"/static/{path}/autotest/packages/one.tar").content == b"one"


def test_what_a_mac_puts_beside_each_file_is_no_control_file(
    server: DevServer, shared_archive: FakeArchive, tmp_path: Path
) -> None:
    for name in ("control", "._control", "packages.checksum", "._packages.checksum"):
        (tmp_path / "autotest" / "t").mkdir(parents=True, exist_ok=True)
        (tmp_path / "autotest" / "t" / name).write_bytes(
            b"x = 1\n" if "._" not in name else b"\0\5\x16\7\0\2\0\0Mac OS X"
        )
    packed = subprocess.run(["tar", "-C", str(tmp_path), "-cjf", "-", "autotest"], check=True, capture_output=True)
    shared_archive.put(BUCKET, "mac/v1/test_suites.tar.bz2", packed.stdout)
    check_success(server.get("/stage", archive_url=f"gs://{BUCKET}/mac/v1", artifacts="test_suites"))
    assert server.get("/controlfiles", build="mac/v1").text == "t/control"
    assert server.get("/static/mac/v1/autotest/t/._control").content.endswith(b"Mac OS X")
