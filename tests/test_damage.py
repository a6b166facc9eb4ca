"""What somebody or something did to a build that was staged is found out, and made good by whoever asks for it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builds import NTON_PAYLOAD, Build, make_build, tarball
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.servers import DevServer, cause_of, check_success, eventually
from tests.test_crashes import assert_tidy

pytestmark = pytest.mark.shared_server

AUTOTEST = "autotest.tar.bz2"
SUITE = "autotest/test_suites/control.bvt"
CONTROL = "autotest/client/site_tests/t9/control"

Damage = Callable[[Path], object]  # done to the build's directory


def records(directory: Path) -> Path:
    return directory / ".devserver"


def manifest(directory: Path) -> Path:
    return records(directory) / "manifest.json"


def files_of_autotest(directory: Path) -> Path:
    return records(directory) / "autotest.files.json"


def lead_elsewhere(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def shorten(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def forget_a_file(path: Path) -> None:
    """Take one file out of a list of files."""
    files = json.loads(path.read_bytes())
    files.popitem()
    path.write_text(json.dumps(files))


# What is done to a build, and which of its artifacts nobody may call staged after it; None for all.
DAMAGE: dict[str, tuple[Damage, set[str] | None]] = {
    "the manifest is garbage": (lambda build: manifest(build).write_bytes(b"\0" * 300), None),
    "the manifest is cut off": (lambda build: shorten(manifest(build)), None),
    "the manifest is empty": (lambda build: manifest(build).write_bytes(b""), None),
    "the manifest is gone": (lambda build: manifest(build).unlink(), None),
    "the manifest is of another kind": (lambda build: manifest(build).write_text("[1, 2]"), None),
    "a list of files is garbage": (
        lambda build: files_of_autotest(build).write_text("{"),
        {"autotest"},
    ),
    "a list of files is of another kind": (
        lambda build: files_of_autotest(build).write_text('{"x": "y"}'),
        {"autotest"},
    ),
    "a list of files is gone": (lambda build: files_of_autotest(build).unlink(), {"autotest"}),
    "a list of files is too short": (
        lambda build: forget_a_file(records(build) / "test_suites.files.json"),
        {"test_suites"},
    ),
    "a file is gone": (lambda build: (build / CONTROL).unlink(), {"autotest"}),
    "a file is cut off": (lambda build: shorten(build / "update.gz"), {"full_payload"}),
    "a file is empty": (lambda build: os.truncate(build / SUITE, 0), {"test_suites"}),
    "a link leads elsewhere": (
        lambda build: lead_elsewhere(next(build.glob("au/*_nton")) / "stateful.tgz"),
        {"nton_payload"},
    ),
}
OBJECTS = {"autotest": AUTOTEST, "nton_payload": NTON_PAYLOAD, "test_suites": "test_suites.tar.bz2"}
ALL = "full_payload,stateful,test_suites,nton_payload,mton_payload,autotest"


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_is_damaged_is_staged_anew_and_nothing_else(
    server: DevServer, archive: FakeArchive, build: Build, kind: str
) -> None:
    server.stage(build.url)
    assert server.stop() == 0
    damage, artifacts = DAMAGE[kind]
    damage(server.static_dir / build.path)
    archive.forget()
    server.start_again()
    for name in artifacts or ALL.split(","):
        assert server.get("/is_staged", archive_url=build.url, artifacts=name).text == "False"
    good = ",".join(name for name in ALL.split(",") if artifacts is not None and name not in artifacts)
    if good:
        assert server.get("/is_staged", archive_url=build.url, artifacts=good).text == "True"
    assert "NoDownload" in cause_of(server.wait_for_status(build.url))
    server.stage(build.url)
    build.check_staged(server.static_dir)
    fetched = {fetch.name for fetch in archive.fetches}
    if artifacts is not None:
        assert len(fetched) == 1
        assert fetched <= {*OBJECTS.values(), *build.objects}
    else:
        assert AUTOTEST in fetched
    assert_tidy(server.static_dir)


@pytest.mark.parametrize("kind", ["the manifest is cut off", "a list of files is gone"])
def test_after_that_all_is_as_if_nothing_had_happened(
    server: DevServer, archive: FakeArchive, build: Build, kind: str
) -> None:
    server.stage(build.url)
    damage, _ = DAMAGE[kind]
    damage(server.static_dir / build.path)
    assert server.stop() == 0
    server.start_again()
    server.stage(build.url)
    archive.forget()
    assert server.stop() == 0
    server.start_again()
    check_success(server.wait_for_status(build.url))
    server.stage(build.url)
    assert not archive.fetches
    assert not list(records(server.static_dir / build.path).glob("*.lost"))


@pytest.mark.own_server
def test_damage_is_found_while_nobody_asks(server: DevServer, build: Build) -> None:
    server.stage(build.url)
    assert server.stop() == 0
    directory = server.static_dir / build.path
    shorten(directory / "update.gz")
    (directory / "mine").write_text("of somebody else")
    server.start_again()
    eventually(lambda: "full_payload is not as it was staged, and counts as staged no more: update.gz: " in server.log)
    assert server.get(f"/static/{build.path}/update.gz").status_code == 404  # it was not whole
    assert server.get(f"/static/{build.path}/mine").text == "of somebody else"
    server.stage(build.url)
    assert (directory / "mine").exists()


@pytest.mark.own_server
def test_a_broken_manifest_is_kept_out_of_the_way_and_only_the_latest(server: DevServer, build: Build) -> None:
    server.stage(build.url)
    directory = server.static_dir / build.path
    for text in ("first", "second"):
        assert server.stop() == 0
        manifest(directory).write_text(text)
        server.start_again()
        eventually(lambda: not manifest(directory).exists())
        server.stage(build.url)
    assert server.log.count("its manifest cannot be understood") == 2
    assert [path.read_text() for path in records(directory).glob("*.broken")] == ["second"]
    assert server.get(f"/static/{build.path}/.devserver/manifest.json.broken").status_code == 404


def test_two_artifacts_of_one_file_are_both_right(server: DevServer, archive: FakeArchive) -> None:
    build = make_build()
    build.objects["control_files.tar"] = tarball({SUITE: b"of another artifact\n"}, "")
    build.upload(archive)
    for name in ("test_suites", "control_files"):
        check_success(server.get("/stage", archive_url=build.url, artifacts=name))
    assert server.stop() == 0
    server.start_again()
    answer = server.get("/is_staged", archive_url=build.url, artifacts="test_suites,control_files")
    assert answer.text == "True"


def test_lists_of_files_of_an_older_version_are_understood(
    server: DevServer, archive: FakeArchive, build: Build
) -> None:
    server.stage(build.url)
    assert server.stop() == 0
    for path in records(server.static_dir / build.path).glob("*.files.json"):
        older = {name: entry[0] for name, entry in json.loads(path.read_bytes()).items()}
        path.write_text(json.dumps(older))
    archive.forget()
    server.start_again()
    check_success(server.wait_for_status(build.url))
    server.stage(build.url)
    assert not archive.fetches


def test_what_a_crash_left_of_a_build_with_a_long_path_is_cleared_up_by_itself(
    start_server: StartServer, archive: FakeArchive
) -> None:
    build = make_build(target="a/" * 90 + "target", version="R17-" + "1" * 100).upload(archive)
    server = start_server("--stall-timeout", "60")
    with archive.holding(AUTOTEST) as reached:
        check_success(server.download(build.url))
        assert reached.wait(20)
        server.kill()
    areas = server.static_dir / ".devserver" / "staging"
    (key,) = (path.name for path in areas.iterdir())
    assert "+" in key
    other = start_server("--no-resume", name="other")
    eventually(lambda: not list(areas.iterdir()))
    assert other.get("/index").status_code == 200
    assert_tidy(server.static_dir)
