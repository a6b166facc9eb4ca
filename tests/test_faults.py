"""A system call that fails loses nothing, and leaves nothing behind: the short form of ``make faults``."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from threading import Event as Flag

import pytest
import requests

from campaigns.faults.interposer import Fault, Interposer, Mode, compiled
from staging.errors import DiskFailure, as_devserver_error
from staging.eviction import Limits
from staging.inventory import Stocktaker, nobody
from staging.layout import BuildPlaces
from staging.locks import FileLock
from staging.overview import builds_below
from staging.presence import exists, names_in, remove_if_empty, remove_tree
from staging.recovery import clear_up
from staging.room import Room
from staging.usage import LastUse
from tests.builds import Build, make_build
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.servers import PROJECT, DevServer, cause_of, eventually

NO_LIMITS = Limits()


def test_no_file_descriptor_left_during_a_removal_makes_no_orphans() -> None:
    command = [sys.executable, "-m", "campaigns.faults", "--only", "remove", "--error", "EMFILE", "--mode", "once"]
    ran = subprocess.run(command, check=False, cwd=PROJECT, capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.search(r"\| runs \| [1-9][0-9]", ran.stdout)
    assert "| LOST | 0 |" in ran.stdout
    assert "| ORPHAN | 0 |" in ran.stdout


@pytest.mark.parametrize(
    ("error", "mode", "step"), [("EIO", "once", 101), ("ENOSPC", "from_then_on", 101), ("EIO", "crash", 61)]
)
def test_a_call_that_fails_loses_nothing_and_leaves_nothing(error: str, mode: str, step: int) -> None:
    figures = ["--error", error, "--mode", mode, "--step", f"{step}", "--first", "7"]
    for scenario in ("stage-the-rest", "make-room", "heal", "recover-6"):
        figures += ["--only", scenario]
    ran = subprocess.run(
        [sys.executable, "-m", "campaigns.faults", *figures],
        check=False,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.search(r"\| runs \| [1-9][0-9]", ran.stdout)


def test_what_a_crash_left_is_cleared_up_without_a_restart(tmp_path: Path) -> None:
    places = BuildPlaces(tmp_path, "target/R1-1.0.0")
    long = BuildPlaces(tmp_path, "target/" + "R1-1.0.0-" + "x" * 220)
    left = [
        places.lock,
        places.publishing_lock,
        places.area_lock("stateful"),
        long.holds_lock,
        places.promises / "0.json",
        long.promises / "0.json.1-1.tmp",
        places.staging / "stateful" / "objects" / "object",
        places.holds.with_name(f"{places.holds.name}.1-1.tmp"),
    ]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    last_use = LastUse(tmp_path)
    Room(tmp_path, NO_LIMITS, last_use, Stocktaker(tmp_path, last_use, nobody, None)).tend()
    assert [path for path in left if path.exists()] == []
    assert not places.staging.exists()


def test_what_somebody_is_at_work_on_is_not_cleared_up(tmp_path: Path) -> None:
    places = BuildPlaces(tmp_path, "target/R1-1.0.0")
    area = places.staging / "stateful" / "objects" / "object"
    promise = places.promises / "0.json"
    for path in (area, promise):
        path.parent.mkdir(parents=True)
        path.touch()
    lock = FileLock.acquire(places.lock, Flag())
    assert clear_up(tmp_path) == {}
    assert area.exists()
    assert promise.exists()
    assert places.lock.exists()
    lock.release()
    assert clear_up(tmp_path) == {}
    assert not area.exists()
    assert not promise.exists()


def test_a_directory_that_may_not_be_read_hides_no_other() -> None:
    with tempfile.TemporaryDirectory() as directory:  # which others may enter, unlike those of a test
        Path(directory).chmod(0o755)
        check_that_lost_and_found_hides_nothing(Path(directory))


def check_that_lost_and_found_hides_nothing(static_dir: Path) -> None:
    (static_dir / "lost+found").mkdir(mode=0o700)
    records = static_dir / "target" / "R1-1.0.0" / ".devserver"
    records.mkdir(parents=True)
    (records / "manifest.json").write_text("{}")
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from staging.overview import builds_below\n"
        "if not os.getuid(): os.setuid(65534)\n"
        "print([places.build_path for places in builds_below(Path(sys.argv[1]))])\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(static_dir)], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert (ran.stdout, ran.stderr) == ("['target/R1-1.0.0']\n", "")


def test_a_static_directory_that_cannot_be_read_is_not_taken_for_empty(tmp_path: Path) -> None:
    assert list(builds_below(tmp_path / "none")) == []
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="loop"):
        list(builds_below(tmp_path / "loop"))


def test_only_what_is_absent_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for absent in (tmp_path / "none", tmp_path / "file" / "below", tmp_path / ("x" * 300)):
        assert not exists(absent)
        assert names_in(absent) == []
        remove_tree(absent)
        assert remove_if_empty(absent)
    assert not remove_if_empty(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    assert exists(tmp_path / "loop")
    with pytest.raises(OSError, match="loop"):
        names_in(tmp_path / "loop")


def test_a_disk_that_fails_is_told_as_such() -> None:
    cause = as_devserver_error(OSError(errno.EIO, os.strerror(errno.EIO), "/srv/secret"), "target/version")
    assert isinstance(cause, DiskFailure)
    assert str(cause) == "the devserver's disk failed at target/version: Input/output error"


def test_a_server_whose_disk_fails_says_so_and_goes_on_when_it_works_again(
    start_server: StartServer, build: Build, tmp_path: Path
) -> None:
    interposer = Interposer(tmp_path / "control", tmp_path / "static", compiled(tmp_path))
    server = start_server(**interposer.environment)
    assert server.port
    for fault in (Fault(1, "EIO", Mode.FROM_THEN_ON), Fault(1, "EMFILE", Mode.ONCE), Fault(700, "EIO", Mode.ONCE)):
        with interposer.on(fault):
            for address in ("/", "/metrics", "/api/v1/builds", "/latestbuild?target=x", f"/static/{build.path}/"):
                check_cause(server.get(address))
            check_cause(server.download(build.url))
            check_cause(server.wait_for_status(build.url))
        server.stage(build.url)
        build.check_staged(server.static_dir)
        assert eventually(partial(is_removed, server, build), 10)
    assert "Traceback" not in server.log


def is_absent(path: Path) -> bool:
    return not path.exists()


def is_removed(server: DevServer, build: Build) -> bool:
    return requests.delete(f"{server.url}/api/v1/builds/{build.path}", timeout=30).status_code == 204


def check_cause(answer: requests.Response) -> None:
    """An answer that tells of an error tells of the disk, or of what is not there."""
    if answer.status_code >= 500:
        assert re.search("DiskFailure|OutOfResources|RecordUnreadable|NotStaged|NoDownload", answer.text), answer.text
        assert "/static/.devserver" not in answer.text


def test_a_lease_goes_with_the_request_that_the_disk_failed(
    start_server: StartServer, archive: FakeArchive, tmp_path: Path
) -> None:
    interposer = Interposer(tmp_path / "control", tmp_path / "static", compiled(tmp_path))
    server = start_server(**interposer.environment)
    assert server.port
    failed = 0
    for at in range(1, 60, 3):
        build = make_build(version=f"R17-{at}.0.0")  # which the archive does not have: nothing of it ever comes
        with interposer.on(Fault(at, "EIO", Mode.ONCE)):
            answer = server.get("/download", archive_url=build.url, lease="600")
        if not cause_of(answer).startswith("ObjectNotFound"):  # else it met the end of the download, or nothing
            failed += 1
            assert eventually(partial(is_absent, BuildPlaces(server.static_dir, build.path).holds), 5)
    assert failed
    assert archive.fetches == []
