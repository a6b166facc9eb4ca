"""A directory as the archive, which may be a file server's, and on a bad day."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from artifacts.catalogue import file_artifact
from devserver_util import gather_artifact_downloads
from staging.archives import Archive, ArchiveObject, ArchiveUrl, Wanted, directory, open_archive, patient, url
from staging.errors import (
    ArchiveRefused,
    ArchiveUnavailable,
    Cancelled,
    InvalidArchiveUrl,
    ObjectChanged,
    ObjectNotFound,
)
from staging.retry import retrying
from tests.builds import make_build, noise
from tests.conftest import StartServer
from tests.servers import cause_of, check_success, eventually

CONTENT = noise(3_000_000, "content")


@pytest.fixture
def build(tmp_path: Path) -> Path:
    folder = tmp_path / "root" / "target" / "version"
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(CONTENT)
    return folder


def opened(build: Path, patience: float = 5) -> Archive:
    return open_archive(ArchiveUrl.parse(f"file://{build}", [build.parents[1]]), patience)


def read_all(archive: Archive, item: ArchiveObject) -> bytes:
    return b"".join(archive.read(item, 0, item.size))


def failing(monkeypatch: pytest.MonkeyPatch, name: str, failure: Callable[[], object]) -> None:
    """Have a call of the kernel's go wrong first, as far as the archive is concerned."""
    real = getattr(os, name)

    def call(*arguments: Any, **named: Any) -> Any:
        if threading.current_thread().name == "read a directory":
            failure()
        return real(*arguments, **named)

    monkeypatch.setattr(os, name, call)


@pytest.mark.parametrize("is_set_back", [False, True])
def test_a_file_that_is_rewritten_while_it_is_read_is_a_changed_object(build: Path, is_set_back: bool) -> None:
    archive = opened(build)
    item = archive.describe("file")
    status = (build / "file").stat()
    time.sleep(0.02)  # as long as a file system may take for the same moment
    stream = archive.read(item, 0, item.size)
    next(stream)
    with (build / "file").open("r+b") as file:
        file.seek(2_900_000)
        file.write(b"other bytes")
    if is_set_back:
        os.utime(build / "file", ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(ObjectChanged):
        list(stream)


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO])
@pytest.mark.parametrize("name", ["stat", "pread", "scandir"])
def test_what_a_file_server_says_is_the_archives_and_waited_for(
    build: Path, monkeypatch: pytest.MonkeyPatch, number: int, name: str
) -> None:
    left = [2]

    def fail() -> None:
        if left[0]:
            left[0] -= 1
            raise OSError(number, os.strerror(number))

    archive = opened(build)
    item = archive.describe("file")
    failing(monkeypatch, name, fail)
    questions: dict[str, Callable[[], object]] = {
        "stat": lambda: archive.describe("file"),
        "pread": lambda: read_all(archive, item),
        "scandir": archive.list,
    }
    with pytest.raises(ArchiveUnavailable, match=os.strerror(number)):
        questions[name]()
    assert retrying(questions[name], 5, threading.Event())
    assert left == [0]


@pytest.mark.parametrize("name", ["stat", "pread", "scandir"])
def test_a_file_server_that_hangs_is_given_up(build: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    released = threading.Event()
    archive = opened(build, 0.2)
    item = archive.describe("file")
    failing(monkeypatch, name, lambda: released.wait(20))
    questions: dict[str, Callable[[], object]] = {
        "stat": lambda: archive.describe("file"),
        "pread": lambda: read_all(archive, item),
        "scandir": archive.list,
    }
    with pytest.raises(ArchiveUnavailable, match="its file server did not answer for too long"):
        questions[name]()
    monkeypatch.setattr(patient, "_MOST_GIVEN_UP", 1)
    began = time.monotonic()
    with pytest.raises(ArchiveUnavailable, match="its file server did not answer"):  # nothing more hangs for it
        questions[name]()
    assert time.monotonic() - began < 0.1
    released.set()
    eventually(lambda: patient._HANGING._count == 0)
    assert questions[name]()


def test_a_read_that_hangs_can_be_stopped(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    archive = opened(build, 30)
    item = archive.describe("file")
    failing(monkeypatch, "pread", lambda: released.wait(20))
    stream = archive.read(item, 0, item.size)
    threading.Timer(0.1, stream.abort).start()
    with pytest.raises(Cancelled):
        next(stream)
    released.set()


def test_a_url_below_a_file_server_that_hangs_holds_no_request(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(url, "_PATIENCE", 0.1)
    monkeypatch.setattr(url, "real_path", lambda _: released.wait(20))
    with pytest.raises(ArchiveUnavailable, match="its file server did not answer"):
        opened(build)
    with pytest.raises(InvalidArchiveUrl):  # what lies elsewhere is no business of the file server's
        ArchiveUrl.parse("file:///elsewhere/target/version", [build.parents[1]])
    released.set()
    eventually(lambda: patient._HANGING._count == 0)


def test_two_servers_of_one_file_may_tell_its_time_a_moment_apart(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, number = os.fstat, [0]

    def fstat(descriptor: int) -> Any:
        status = real(descriptor)
        if threading.current_thread().name != "read a directory":
            return status
        number[0] += 1
        return _Moved(status, 1_000_000 if number[0] % 2 else 0)

    archive = opened(build)
    item = archive.describe("file")
    monkeypatch.setattr(os, "fstat", fstat)
    assert read_all(archive, item) == CONTENT


class _Moved:
    """A status of another time."""

    def __init__(self, status: os.stat_result, by: int) -> None:
        self.st_size = status.st_size
        self.st_mtime_ns = status.st_mtime_ns + by
        self.st_ctime_ns = status.st_ctime_ns + by


def test_a_file_under_another_inode_is_the_same(build: Path, tmp_path: Path) -> None:
    archive = opened(build)
    item = archive.describe("file")
    status = (build / "file").stat()
    (build / "copy").write_bytes(CONTENT)
    os.utime(build / "copy", ns=(status.st_atime_ns, status.st_mtime_ns))
    (build / "copy").replace(build / "file")
    assert archive.describe("file") == item
    assert read_all(archive, item) == CONTENT


def test_links_to_directories_are_followed_by_pattern_as_by_name(build: Path, tmp_path: Path) -> None:
    shared, outside = build.parents[1] / "shared" / "autotest", tmp_path / "outside"
    for folder in (shared, outside):
        folder.mkdir(parents=True)
        (folder / "a.tar").write_bytes(b"x")
    (build / "autotest").symlink_to("../../shared/autotest")
    (build / "elsewhere").symlink_to(outside)
    (shared / "round").symlink_to(build)
    archive = opened(build)
    for pattern in ("autotest/*.tar", "autotest/a.tar"):
        found = gather_artifact_downloads([file_artifact(pattern)], archive)
        assert [item.name for item in found.artifacts[0].objects] == ["autotest/a.tar"]
    names = [item.name for item in archive.list()]
    assert names == ["autotest/a.tar", "file"]
    with pytest.raises(ObjectNotFound):
        archive.describe("elsewhere/a.tar")


def test_no_more_of_a_directory_is_walked_than_is_wanted(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        (build / f"{number}").mkdir()
        (build / f"{number}" / "x.bin").touch()
    looked_at: list[object] = []
    real = os.scandir

    def scandir(path: str) -> Any:
        looked_at.append(path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    archive = opened(build)
    assert [item.name for item in archive.list(Wanted("7/", is_shallow=True))] == ["7/x.bin"]
    assert [item.name for item in archive.list(Wanted("", is_shallow=True))] == ["file"]
    assert len(looked_at) == 2
    monkeypatch.setattr(directory, "_MOST_OBJECTS", 10)
    with pytest.raises(ArchiveRefused, match="more than 10 files are wanted"):
        archive.list()


def test_a_build_that_is_published_while_it_is_staged_is_never_a_mixture(
    start_server: StartServer, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    build = make_build()
    build.objects["big.bin"] = CONTENT
    build.write(root)
    server = start_server("--archive-root", str(root))
    url = f"file://{root}/{build.path}"
    path = root / build.path / "big.bin"
    is_over = threading.Event()

    written = [CONTENT]

    def rewrite() -> None:
        while not is_over.wait(0.01):
            written.append(noise(3_000_000, f"{len(written)}"))
            with path.open("r+b") as file:
                file.write(written[-1])

    writer = threading.Thread(target=rewrite)
    writer.start()
    for _ in range(5):
        answer = server.get("/stage", archive_url=url, files="big.bin", clean="true")
        if answer.status_code == 200:
            assert (server.static_dir / build.path / "big.bin").read_bytes() in written
        else:
            assert cause_of(answer).startswith("ObjectChanged: ")
    is_over.set()
    writer.join()
    check_success(server.get("/stage", archive_url=url, files="big.bin", clean="true"))
    assert (server.static_dir / build.path / "big.bin").read_bytes() == path.read_bytes()
