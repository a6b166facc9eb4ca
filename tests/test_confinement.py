"""Workers are shut in: what one of them is made to do, it does within the static directory, and with bounds."""

from __future__ import annotations

import ast
import io
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event as Flag
from typing import Any

import pytest

from staging import extraction
from staging.errors import BadTarball, DevServerError, DiskFailure, InternalFailure
from staging.executors import reach
from staging.executors.confinement import Confinement, has_landlock
from staging.executors.process import Bounds, ProcessExecutor
from staging.locks import FileLock
from staging.selection import EVERYTHING
from staging.status import Report
from staging.tar_headers import Member
from staging.tar_stream import TarStream
from staging.tree import TreeWriter, UnpackLimits
from tests.builds import Build, tarball
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.servers import PROJECT, DevServer, check_success, eventually

needs_landlock = pytest.mark.skipif(not has_landlock(), reason="this kernel has no Landlock")
LARGEST = 100_000


def write(request: dict[str, Any], report: Report, cancelled: Flag) -> None:
    """The job: do one thing to a path outside, or inside."""
    del report, cancelled
    ACTIONS[request["action"]](Path(request["inside"]), Path(request["target"]))


def through_a_link(inside: Path, target: Path) -> None:
    (inside / "link").symlink_to(target.parent)
    (inside / "link" / target.name).write_text("evil")


def by_a_lying_writer(inside: Path, target: Path) -> None:
    class Lying(TreeWriter):
        def _place_for(self, path: str, makes: bool = True) -> str:
            return path

    Lying(inside, "lie.tar", UnpackLimits()).file(str(target), 4, 0o644, 0.0, [b"evil"])


def by_a_program(_: Path, target: Path) -> None:
    subprocess.run(["touch", target], check=True, capture_output=True)


ACTIONS: dict[str, Callable[[Path, Path], object]] = {
    "write": lambda _, target: target.write_text("evil"),
    "make a directory": lambda _, target: target.mkdir(),
    "make a link": lambda _, target: target.symlink_to("/etc/passwd"),
    "move something out": lambda inside, target: (inside / "mine").rename(target),
    "give something a second name": lambda inside, target: target.hardlink_to(inside / "mine"),
    "through a link": through_a_link,
    "by a lying writer": by_a_lying_writer,
    "by a program": by_a_program,
    "make a pipe": lambda _, target: os.mkfifo(target),
}
OF_OTHERS: dict[str, Callable[[Path, Path], object]] = {
    "remove": lambda inside, _: (inside.parent / "others").unlink(),
    "replace": lambda inside, _: (inside / "mine").replace(inside.parent / "others"),
    "cut": lambda inside, _: os.truncate(inside.parent / "others", 0),
    "append": lambda inside, _: (inside.parent / "others").open("a").write("evil"),
}
ACTIONS.update(OF_OTHERS)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, ProcessExecutor]]:
    """A directory with one in it that workers may write to, and an executor of such workers."""
    folder = tmp_path_factory.mktemp("confined")
    (folder / "static").mkdir()
    writable = (folder / "static", *([PROJECT] if "COVERAGE_PROCESS_CONFIG" in os.environ else []))
    confinement = Confinement(tuple(map(str, writable)), runnable=reach.runnable(), largest_file=LARGEST)
    executor = ProcessExecutor(["tests.test_confinement"], 10.0, lambda _: Bounds(confinement))
    executor.start()
    yield folder, executor
    executor.stop()


def run(places: tuple[Path, ProcessExecutor], action: str, target: Path) -> None:
    folder, executor = places
    (folder / "others").write_text("what others wrote")
    (folder / "static" / "mine").write_text("mine")
    request = {"action": action, "inside": str(folder / "static"), "target": str(target)}
    lock = FileLock.acquire(folder / "lock", Flag())
    try:
        executor.run(write, request, lambda _: None, lock, Flag())
    finally:
        lock.release()


@needs_landlock
@pytest.mark.parametrize("action", list(ACTIONS))
def test_a_worker_writes_nowhere_else(places: tuple[Path, ProcessExecutor], action: str) -> None:
    folder, _ = places
    with pytest.raises((DiskFailure, InternalFailure)):
        run(places, action, folder / "escaped")
    assert not os.path.lexists(folder / "escaped")
    assert (folder / "others").read_text() == "what others wrote"


@pytest.mark.parametrize("action", ["write", "make a directory", "make a link", "move something out", "by a program"])
def test_it_writes_where_it_should(places: tuple[Path, ProcessExecutor], action: str) -> None:
    folder, _ = places
    target = folder / "static" / f"made by {action}"
    run(places, action, target)
    assert os.path.lexists(target)


def too_large(_: Path, target: Path) -> None:
    with target.open("wb") as file:
        file.write(bytes(LARGEST + 1))


def far_too_much_memory(_: Path, target: Path) -> None:
    del target
    bytearray(5 * 1024**3)


ACTIONS_BEYOND = {"too large a file": too_large, "too much memory": far_too_much_memory}


@pytest.mark.parametrize("action", ACTIONS_BEYOND)
def test_a_worker_has_bounds(places: tuple[Path, ProcessExecutor], action: str) -> None:
    folder, _ = places
    with pytest.raises(DevServerError):
        run(places, action, folder / "static" / "large")
    run(places, "write", folder / "static" / "small")  # and the next one is none the worse


ACTIONS.update(ACTIONS_BEYOND)


def test_a_devservers_worker_is_confined(server: DevServer, archive: FakeArchive, build: Build) -> None:
    with archive.holding("autotest.tar.bz2") as reached:
        check_success(server.download(build.url))
        assert reached.wait(20)
        worker = server.worker()
        status = Path(f"/proc/{worker.pid}/status").read_text()
        assert "NoNewPrivs:\t1\n" in status
        assert "Umask:\t0022\n" in status
        assert worker.rlimit(resource.RLIMIT_CORE) == (0, 0)
        assert worker.rlimit(resource.RLIMIT_NOFILE)[1] <= 4096
        assert worker.rlimit(resource.RLIMIT_DATA)[1] == 4 * 1024**3
        assert worker.rlimit(resource.RLIMIT_FSIZE)[1] == 256 * 1024**3
        assert worker.nice() >= 10
        assert [niceness_of_session(pid) for pid in (worker.pid, server.process.pid)] in (["10", "0"], ["", ""])
        assert os.getpgid(worker.pid) == worker.pid
    check_success(server.wait_for_status(build.url))
    build.check_staged(server.static_dir)


def niceness_of_session(process: int) -> str:
    """By which the kernel shares the processors out among sessions; empty where it does not."""
    path = Path(f"/proc/{process}/autogroup")
    return path.read_text().split()[-1] if path.exists() else ""


def test_nothing_that_is_staged_can_be_written_to_by_others(
    start_server: StartServer, archive: FakeArchive, build: Build
) -> None:
    build.objects["test_suites.tar.bz2"] = tarball({"autotest/test_suites/control.x": b"x"}, mode=0o7777)
    build.upload(archive)
    server = start_server(wrapper=("sh", "-c", 'umask 000; exec "$@"', "sh"))
    server.stage(build.url)
    eventually(lambda: not list(server.static_dir.glob(".devserver/staging/*")))
    modes = {path: path.lstat().st_mode for path in server.static_dir.rglob("*") if not path.is_symlink()}
    assert len(modes) > 50
    assert {path: oct(mode) for path, mode in modes.items() if mode & 0o7022} == {}


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/devserver-escaped", "a/../../../escaped", "a\0b", ".."])
def test_a_tar_reader_that_lies_leads_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    lie = Member(name=name, size=0, mode=0o644, mtime=0.0, kind=b"0", link="")
    members = iter([lie])
    monkeypatch.setattr(TarStream, "next_member", lambda _: next(members, None))
    writer = TreeWriter(tmp_path / "deep" / "down", "x", UnpackLimits())
    with pytest.raises(BadTarball):
        extraction._Unpacking(writer, "x", EVERYTHING).take_all(TarStream(io.BytesIO().read, lambda _: None))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


SHELLS = ("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput")


def test_nothing_is_run_by_a_shell() -> None:
    runs = []
    for path in PROJECT.rglob("*.py"):
        if path.relative_to(PROJECT).parts[0] in ("artifacts", "commands", "staging", "web") or path.parent == PROJECT:
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.keyword) and node.arg == "shell":
                    runs.append(path)
                if isinstance(node, ast.Attribute) and ast.unparse(node) in (
                    "os.system",
                    "os.popen",
                    "subprocess.getoutput",
                ):
                    runs.append(path)
    assert runs == []
