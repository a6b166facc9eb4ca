"""The use log: a line is a line whatever a file is called, and each is read once whatever becomes of the log."""

from __future__ import annotations

import gzip
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import cherrypy
import pytest
import requests

from tests.builds import Build
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.nginx import in_front_of
from tests.servers import eventually
from web.answers import Read
from web.front import followed
from web.front.followed import FollowedLog
from web.front.use_log import FrontAnswer, UseLog, parsed
from web.ledger.records import rows_of

FORGED = "x\n200 5 1700000000.000 6.6.6.6 /static/a/b/c"


@pytest.mark.parametrize("name", [FORGED, 'a"b', "a\tb", "\x1b[31m", "caf\u00e9", "\x7f", "a b "])
def test_a_name_cannot_write_a_line(start_server: StartServer, archive: FakeArchive, tmp_path: Path, name: str) -> None:
    build = Build(objects={"small.bin": b"0123456789"}).upload(archive)
    run_dir, ledger = tmp_path / "run", tmp_path / "ledger.db"
    server = start_server("--front", "nginx", "--front-log", str(run_dir / "use.log"), "--ledger", str(ledger))
    assert server.get("/stage", archive_url=build.url, files="small.bin").ok
    odd = server.static_dir / build.path / name
    odd.parent.mkdir(parents=True, exist_ok=True)
    odd.write_bytes(b"by hand, for no archive brings it")
    with in_front_of(server, run_dir) as address:
        quoted = quote(name)
        assert requests.get(f"{address}/static/{build.path}/{quoted}", timeout=10).ok
        assert requests.get(f"{address}/static/{build.path}/small.bin", timeout=10).ok
        rows = eventually(lambda: found if len(found := list(rows_of(ledger))) >= 2 else [])
    assert {(row.client, row.build, row.file, row.status) for row in rows} == {
        ("127.0.0.1", build.path, name, 200),
        ("127.0.0.1", build.path, "small.bin", 200),
    }
    assert len((run_dir / "use.log").read_bytes().splitlines()) == 2


def _wait_for(ledger: Path, rows: int) -> None:
    eventually(lambda: len(list(rows_of(ledger))) >= rows)


def test_no_row_is_lost_where_nginx_begins_a_new_log(
    start_server: StartServer, archive: FakeArchive, tmp_path: Path
) -> None:
    build = Build(objects={"small.bin": b"0123456789"}).upload(archive)
    run_dir, ledger = tmp_path / "run", tmp_path / "ledger.db"
    server = start_server("--front", "nginx", "--front-log", str(run_dir / "use.log"), "--ledger", str(ledger))
    assert server.get("/stage", archive_url=build.url, files="small.bin").ok
    with in_front_of(server, run_dir) as address, requests.Session() as session:
        for number in range(2):
            for _ in range(25):
                assert session.get(f"{address}/static/{build.path}/small.bin", timeout=10).ok
            _wait_for(ledger, 26 * number + 1)  # so that the log is known
            (run_dir / "use.log").rename(run_dir / f"use.log.{number}")  # as logrotate does it
            assert session.get(f"{address}/static/{build.path}/small.bin", timeout=10).ok
            os.kill(int((run_dir / "nginx.pid").read_text()), signal.SIGUSR1)
            eventually((run_dir / "use.log").exists)
            subprocess.run(["gzip", str(run_dir / f"use.log.{number}")], check=True)
        eventually(lambda: len(list(rows_of(ledger))) == 52)


def lines_of(log: FollowedLog) -> list[str]:
    """The lines since the last look."""
    return [line.decode() for line in log.new_lines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log with a line that is older than its reader."""
    path = tmp_path / "log"
    path.write_text("old\n")
    return path


@pytest.fixture
def log(path: Path) -> FollowedLog:
    """Its reader."""
    log = FollowedLog(path)
    log.skip_what_is_there()
    return log


def write(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def renamed(path: Path) -> None:
    path.rename(path.with_suffix(".1"))


def packed(path: Path) -> None:
    renamed(path)
    with gzip.open(path.with_suffix(".1.gz"), "wb") as file:
        file.write(path.with_suffix(".1").read_bytes())
    path.with_suffix(".1").unlink()


def copied_and_emptied(path: Path) -> None:
    shutil.copy(path, path.with_suffix(".1"))
    os.truncate(path, 0)


@pytest.mark.parametrize("rotate", [renamed, packed])
def test_a_renamed_log_is_read_to_its_end(path: Path, log: FollowedLog, rotate: Callable[[Path], None]) -> None:
    write(path, "one\n")
    with path.open("a") as writer:
        assert lines_of(log) == ["one"]
        rotate(path)
        assert lines_of(log) == []
        writer.write("two\nthree")
        writer.flush()
        assert lines_of(log) == ["two"]
        write(path, "four\n")
        writer.write(" and a half\nfive\n")
        writer.flush()
        assert lines_of(log) == ["three and a half", "five", "four"]
    write(path, "six\n")
    assert lines_of(log) == ["six"]
    assert lines_of(log) == []


@pytest.mark.parametrize("more", ["x\n", "new\n", "much more than before\n" * 9])
def test_a_log_that_was_emptied_is_read_from_its_start(path: Path, log: FollowedLog, more: str) -> None:
    write(path, "one\ntwo\n")
    assert lines_of(log) == ["one", "two"]
    copied_and_emptied(path)
    write(path, more)
    assert lines_of(log) == more.splitlines()


def test_many_logs_in_a_row_are_let_go(path: Path, log: FollowedLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followed, "_PATIENCE", -1.0)
    open_files = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(20):
        write(path, f"{number}\n")
        assert lines_of(log) == [str(number)]
        path.rename(path.with_suffix(f".{number}"))
    assert len(list(Path("/proc/self/fd").iterdir())) <= open_files + 2
    log.close()


def test_a_line_without_an_end_is_not_kept_for_ever(path: Path, log: FollowedLog) -> None:
    write(path, "x" * 3_000_000 + "\nafter\n")
    assert lines_of(log)[-1] == "after"


def test_a_line_that_cannot_be_told_now_is_told_later(path: Path) -> None:
    told: list[FrontAnswer] = []
    failures = iter([True, False, False])

    def look_up(_file: str) -> Read | None:
        if next(failures):
            raise OSError(24, "Too many open files")
        return None

    follower = UseLog(cherrypy.process.wspbus.Bus(), path, look_up, lambda answer, _: told.append(answer))
    follower.start()
    for name in ("a", "b"):
        write(path, f'{{"status":200,"sent":5,"time":1.5,"client":"::1","path":"/static/{name}"}}\n')
    eventually(lambda: len(told) == 2)
    follower.stop()
    assert [answer.path for answer in told] == ["a", "b"]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"nonsense",
        b"{",
        b"{}",
        b'{"status":"x"}',
        b"[]",
        b'{"status":200,"sent":1,"time":1,"client":"a","path":"/other"}',
        b'{"status":200,"sent":1e999,"time":1,"client":"a","path":"/static/x"}',
        b"{" * 100_000,
        b"\0" * 100 + b'{"status":200,"sent":1,"time":1,"client":"a","path":"/static/x"}',
        b"200 /elsewhere",
    ],
)
def test_what_is_no_line_of_the_log_says_nothing(line: bytes) -> None:
    assert parsed(line) is None


def test_lines_of_older_configurations_are_read() -> None:
    assert parsed(b"200 /static/a/b") == FrontAnswer(200, 0, 0.0, "", "a/b")
    assert parsed(b"206 5 17.5 10.0.0.7 /static/a b") == FrontAnswer(206, 5, 17.5, "10.0.0.7", "a b")
