"""`devserver verify`, and the rounds that a devserver makes by itself: every wrong byte is found, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Any

import pytest

from staging.file_lists import FileRecord, list_of, write_list
from staging.inspection import ByContent, inspect
from staging.layout import BuildPlaces
from staging.manifest import ArtifactRecord, Manifest
from staging.verification import Rounds
from tests.builds import FULL_PAYLOAD, MTON_PAYLOAD, Build, make_build, noise
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive, crc32c_of
from tests.servers import PROJECT, DevServer, check_success, eventually

pytestmark = pytest.mark.shared_server

AUTOTEST = "autotest.tar.bz2"
SUITE = "autotest/test_suites/control.bvt"
CONTROL = "autotest/client/site_tests/t9/control"
COPY = "autotest/test-sleep.tar.bz2"  # of what lies in autotest/packages


def verify(server: DevServer, archive: FakeArchive, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROJECT / "devserver.py"), "--static-dir", str(server.static_dir), "verify"]
    variables = {**os.environ, "STORAGE_EMULATOR_HOST": archive.url, "DEVSERVER_RETRY_DEADLINE": "3"}
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=120, env=variables, check=False
    )


def found(ended: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    (build,) = json.loads(ended.stdout)
    assert isinstance(build, dict)
    return build


def flip(path: Path, offset: int = 0) -> None:
    """Make one bit of a file wrong, in a file of its own; its size and its times stay."""
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    status = path.stat()
    path.unlink()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.fixture
def staged(server: DevServer, build: Build) -> Path:
    """The directory of a build that is staged."""
    server.stage(build.url)
    return server.static_dir / build.path


def test_a_build_as_it_was_staged_is_all_right_whatever_lies_beside_it(
    server: DevServer, archive: FakeArchive, staged: Path, build: Build
) -> None:
    (staged / "autotest" / "mine").write_text("of somebody else")
    (server.static_dir / "other").mkdir()
    ended = verify(server, archive)
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert lines[0].startswith(f"{build.path}: ")
    assert lines[0].endswith(": all right")
    assert lines[1:] == ["nothing is wrong with 1 builds"]
    for name in (build.path, build.url):
        report = found(verify(server, archive, "--json", name))
        assert report["wrong"] == []
        assert report["without_checksum"] == 0
        assert report["files"] == len(build.files) - 1  # the image that nobody staged


@pytest.mark.own_server
def test_every_wrong_file_is_found_with_why_and_repaired_alone(
    server: DevServer, archive: FakeArchive, staged: Path, build: Build
) -> None:
    flip(staged / "update.gz", 200_000)
    flip(staged / CONTROL, 17)
    flip(staged / COPY)
    os.truncate(staged / SUITE, 3)
    link = next(staged.glob("au/*_mton")) / "stateful.tgz"
    link.unlink()
    link.symlink_to("elsewhere")
    (staged / "autotest/packages/packages.checksum").unlink()
    ended = verify(server, archive, "--json")
    assert ended.returncode == 1
    assert ended.stderr == "devserver: something is wrong with 1 of 1 builds\n"
    reasons = {(one["artifact"], one["path"]): one["reason"] for one in found(ended)["wrong"]}
    assert reasons.keys() == {
        ("full_payload", "update.gz"),
        ("autotest", CONTROL),
        ("autotest", COPY),
        ("autotest", "autotest/packages/packages.checksum"),
        ("test_suites", SUITE),
        ("mton_payload", link.relative_to(staged).as_posix()),
    }
    assert reasons["test_suites", SUITE].startswith("it has 3 bytes, and should have ")
    assert reasons["autotest", "autotest/packages/packages.checksum"] == "it is missing"
    assert reasons["autotest", CONTROL].startswith("its crc32c is ")
    assert f"  test_suites: {SUITE}: it has 3 bytes" in verify(server, archive).stdout
    archive.forget()
    ended = verify(server, archive, "--repair", "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert found(ended)["repaired"] == ["autotest", "full_payload", "mton_payload", "test_suites"]
    assert {fetch.name for fetch in archive.fetches} == {FULL_PAYLOAD, AUTOTEST, MTON_PAYLOAD, "test_suites.tar.bz2"}
    build.check_staged(server.static_dir)
    assert verify(server, archive).returncode == 0
    check_success(server.wait_for_status(build.url))


def test_what_cannot_be_repaired_is_told_and_counts_as_staged_no_more(
    server: DevServer, archive: FakeArchive, staged: Path, build: Build
) -> None:
    assert server.stop() == 0
    flip(staged / "update.gz")
    archive.remove(build.bucket, f"{build.path}/{FULL_PAYLOAD}")
    ended = verify(server, archive, "--repair")
    assert ended.returncode == 1
    assert "  full_payload: not repaired: ObjectNotFound: Could not find gs://" in ended.stdout
    server.start_again()
    assert server.get("/is_staged", archive_url=build.url, artifacts="full_payload").text == "False"
    assert server.get("/is_staged", archive_url=build.url, artifacts="autotest,stateful").text == "True"


def test_a_manifest_that_cannot_be_understood_is_something_wrong(
    server: DevServer, archive: FakeArchive, staged: Path
) -> None:
    assert server.stop() == 0
    (staged / ".devserver" / "manifest.json").write_text("{")
    ended = verify(server, archive)
    assert ended.returncode == 1
    assert "its manifest cannot be understood" in ended.stdout
    assert verify(server, archive, "--repair").returncode == 1
    assert verify(server, archive).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["target/version"], "target/version is not staged in this static directory"),
        (["gs://elsewhere/x86-mario-release/R17-1413.0.0-a1-b1346"], "is not staged"),
        (["ftp://x/y"], "is not an archive URL"),
        (["../.."], "is not staged"),
        (["--max-rate", "fast"], "not what it should be: a number of bytes, or 500M"),
        (["--max-rate", "0"], "not what it should be: a number of bytes, or 500M"),
    ],
)
@pytest.mark.own_server
def test_usage(server: DevServer, archive: FakeArchive, staged: Path, arguments: list[str], message: str) -> None:
    ended = verify(server, archive, *arguments)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert message in ended.stderr


def test_it_reads_no_faster_than_it_is_told(server: DevServer, archive: FakeArchive) -> None:
    build = make_build()
    build.objects[FULL_PAYLOAD] = build.files["update.gz"] = noise(4 * 1024**2, "large")
    build.upload(archive)
    check_success(server.get("/stage", archive_url=build.url, artifacts="full_payload"))
    began = time.monotonic()
    assert verify(server, archive, "--max-rate", "2M").returncode == 0
    # Pieces of 1 MiB: before the last one begins, three quarters of the time must have passed.
    assert time.monotonic() - began >= 1.5


def test_a_verify_beside_a_server_that_stages_does_no_harm(
    server: DevServer, archive: FakeArchive, staged: Path, build: Build
) -> None:
    for _ in range(3):
        asked = [
            server.ask("/stage", archive_url=build.url, artifacts="autotest,full_payload,stateful", clean="True")
            for _ in range(2)
        ]
        ended = verify(server, archive, "--repair", "--json")
        assert ended.returncode == 0, ended.stdout
        for answer in asked:
            check_success(answer.result(60))
    server.stage(build.url)
    build.check_staged(server.static_dir)


@pytest.mark.own_server
def test_files_that_an_older_version_staged_are_held_against_what_is_known(
    server: DevServer, archive: FakeArchive, staged: Path
) -> None:
    assert server.stop() == 0
    for path in (staged / ".devserver").glob("*.files.json"):
        path.write_text(json.dumps({name: entry[0] for name, entry in json.loads(path.read_bytes()).items()}))
    flip(staged / "update.gz")  # an object as it is: the manifest has its checksum
    flip(staged / CONTROL)  # of which nobody knows more than the size
    report = found(verify(server, archive, "--json"))
    assert [one["path"] for one in report["wrong"]] == ["update.gz"]
    assert report["without_checksum"] > 50


def test_the_checksums_are_those_of_the_bytes(server: DevServer, staged: Path, build: Build) -> None:
    # Noted as the bytes passed: were one wrong, every build would be.
    inspection = inspect(BuildPlaces(server.static_dir, build.path), ByContent())
    assert inspection is not None
    assert inspection.wrong == ()
    lists = (staged / ".devserver").glob("*.files.json")
    entries = {name: entry for path in lists for name, entry in json.loads(path.read_bytes()).items()}
    assert all(entry[1] or len(entry) == 3 for entry in entries.values())


def test_a_devserver_makes_its_rounds(start_server: StartServer, build: Build) -> None:
    server = start_server()
    server.stage(build.url)
    assert server.stop() == 0
    directory = server.static_dir / build.path
    flip(directory / "update.gz")
    rounds = start_server("--verify-every", "0.00002", name="rounds")  # two seconds
    eventually(lambda: f"{build.path}: verified: " in rounds.log)
    eventually(lambda: "full_payload is not as it was staged, and counts as staged no more: update.gz: " in rounds.log)
    rounds.stage(build.url)
    build.check_staged(server.static_dir)
    eventually(lambda: "bytes, 0 wrong" in rounds.log)
    assert rounds.stop() == 0
    # It is not begun anew by a restart.
    verified = (directory / ".devserver" / "verified").stat().st_mtime_ns
    later = start_server("--verify-every", "30", name="later")
    assert later.get("/index").status_code == 200
    assert later.stop() == 0
    assert "verified: " not in later.log
    assert (directory / ".devserver" / "verified").stat().st_mtime_ns == verified


def test_a_build_that_cannot_be_verified_keeps_no_other_waiting(tmp_path: Path) -> None:
    for path in ("target/R1-1.0.0", "target/R2-2.0.0"):
        Manifest(f"gs://bucket/{path}").write(BuildPlaces(tmp_path, path))
    BuildPlaces(tmp_path, "target/R1-1.0.0").verified.symlink_to("no such directory/file")
    notes, verified = [], []
    stopped = Flag()

    def count(build_path: str, *_: Any) -> None:
        verified.append(build_path)
        stopped.set()

    rounds = Thread(target=Rounds(tmp_path, 1e-9, lambda *note: notes.append(note), count, stopped).run)
    rounds.start()
    rounds.join(20)
    assert verified == ["target/R2-2.0.0"]
    reason = "could not be verified: Too many levels of symbolic links; it is tried again in a day"
    assert ("target/R1-1.0.0", reason) in notes


def test_the_rounds_count_what_they_read(tmp_path: Path) -> None:
    places = BuildPlaces(tmp_path, "target/R1-1.0.0")
    for name, content in (("good", b"good"), ("bad", b"bad")):
        (places.published / name).parent.mkdir(parents=True, exist_ok=True)
        (places.published / name).write_bytes(content)
    files = {name: FileRecord(len(name), crc32c_of(name.encode())) for name in ("good", "bad")}
    write_list(list_of(places, "both"), files)
    Manifest("gs://bucket/target/R1-1.0.0", {"both": ArtifactRecord("staged", files=2, size=7)}).write(places)
    flip(places.published / "bad")
    counted: list[tuple[str, int, int, int]] = []
    stopped = Flag()

    def count(*counts: Any) -> None:
        counted.append(counts)
        stopped.set()

    rounds = Thread(target=Rounds(tmp_path, 1e-9, lambda *_: None, count, stopped).run)  # which steps back for ever
    rounds.start()
    rounds.join(20)
    assert counted == [("target/R1-1.0.0", 2, 7, 1)]
    assert not (places.published / "bad").exists()
    manifest = Manifest.read(places)
    assert manifest is not None
    assert not manifest.artifacts
