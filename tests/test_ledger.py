"""The ledger: what was served to whom, and that serving never waits for it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cherrypy
import pytest
import requests

from staging.errors import ConfigurationError
from tests.builds import Build
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.nginx import in_front_of
from tests.servers import PROJECT, DevServer, eventually
from web.answers import Served
from web.callers import REQUEST_ID_KEY
from web.ledger.records import Ledger, Row, rows_of
from web.ledger.writer import LedgerWriter

LARGE = 64 * 1024 * 1024


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """A server with a ledger, and a build with a small file and a large one."""
    directory = tmp_path_factory.mktemp("ledger")
    with FakeArchive() as archive:
        build = Build(objects={"small.bin": b"0123456789", "large.bin": bytes(LARGE)}).upload(archive)
        options = ("--ledger", str(directory / "ledger.db"))
        server = DevServer(directory, *options, environment={"STORAGE_EMULATOR_HOST": archive.url})
        assert server.get("/stage", archive_url=build.url, files="small.bin,large.bin").ok
        yield server
        server.close()


def shown(server: DevServer, *options: str) -> list[dict[str, Any]]:
    """What `devserver ledger` prints beside the server, without those of the usual values."""
    return command(server.static_dir.parent / "ledger.db", *options, "--json")


def command(path: Path, *options: str) -> list[dict[str, Any]]:
    """What `devserver ledger --json` prints of a ledger."""
    printed = run(path, *options)
    assert printed.returncode == 0, printed.stderr
    return [json.loads(line) for line in printed.stdout.splitlines()]


def run(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run `devserver ledger`."""
    arguments = [sys.executable, str(PROJECT / "devserver.py"), "--ledger", str(path), "ledger", *options]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=60)


def ask(server: DevServer, name: str, identity: str, **headers: str) -> requests.Response:
    """Ask for a file of the build, with a request id."""
    headers |= {"X-Request-ID": identity}
    return requests.get(f"{server.url}/static/{Build().path}/{name}", headers=headers, timeout=60)


def row_of(server: DevServer, identity: str) -> Row:
    """The row of the request with this id, once it is written."""
    path = server.static_dir.parent / "ledger.db"
    return eventually(lambda: [row for row in rows_of(path) if row.request_id == identity])[0]


def test_a_whole_read_is_a_row(served: DevServer) -> None:
    assert ask(served, "small.bin", "whole").content == b"0123456789"
    row = row_of(served, "whole")
    assert row[1:] == ("127.0.0.1", Build().path, "small.bin", 200, 10, True, "whole")


def test_a_range_is_a_row_of_a_part(served: DevServer) -> None:
    assert ask(served, "small.bin", "range", Range="bytes=4-").content == b"456789"
    assert row_of(served, "range")[4:7] == (206, 6, False)
    assert ask(served, "small.bin", "all of it", Range="bytes=0-").status_code == 206
    assert row_of(served, "all_of_it")[4:7] == (206, 10, True)


def test_a_read_that_broke_off_is_a_row_of_what_was_sent(served: DevServer) -> None:
    with socket.create_connection(("127.0.0.1", served.port)) as client:
        request = f"GET /static/{Build().path}/large.bin HTTP/1.1\r\nHost: x\r\nX-Request-ID: broken\r\n\r\n"
        client.sendall(request.encode())
        assert client.recv(4096)
    row = row_of(served, "broken")
    assert row.status == 200
    assert 0 < row.bytes < LARGE
    assert not row.whole


def test_what_brings_no_file_of_a_build_is_no_row(served: DevServer) -> None:
    (served.static_dir / "file").write_bytes(b"nobody's build")
    etag = ask(served, "small.bin", "first").headers["ETag"]
    url = f"{served.url}/static/{Build().path}"
    for path in ("small.bin", "nothing", ""):
        requests.head(f"{url}/{path}", headers={"X-Request-ID": "none"}, timeout=10)
    for address in (f"{url}/nothing", f"{url}/", f"{served.url}/static/file"):
        requests.get(address, headers={"X-Request-ID": "none"}, timeout=10)
    assert ask(served, "small.bin", "known", **{"If-None-Match": etag}).status_code == 304
    assert row_of(served, "known")[4:7] == (304, 0, False)
    rows_so_far = rows_of(served.static_dir.parent / "ledger.db")
    assert not [row for row in rows_so_far if row.request_id == "none"]


def test_the_command_shows_what_is_asked_for(served: DevServer) -> None:
    ask(served, "small.bin", "shown")
    row_of(served, "shown")
    assert "shown" in [row["request_id"] for row in shown(served, "--build", Build().path, "--since", "2h")]
    assert shown(served, "--build", "another/build") == []
    assert shown(served, "--client", "10.0.0.1") == []
    assert shown(served, "--since", "0.001s") == []
    lines = run(served.static_dir.parent / "ledger.db", "--client", "127.0.0.1").stdout.splitlines()
    whole = ["127.0.0.1", "200", "10", "whole", f"{Build().path}/small.bin"]
    assert whole in [line.split()[1:] for line in lines]


def test_what_the_command_cannot_do_is_one_line(tmp_path: Path) -> None:
    missing = run(tmp_path / "nothing")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "there is no ledger" in missing.stderr
    (tmp_path / "text").write_text("this is no database, and has never been one" * 30)
    assert "cannot be read as a ledger" in run(tmp_path / "text").stderr
    assert "or 90s, 30m, 2h, 1d" in run(tmp_path / "text", "--since", "yesterday").stderr
    nowhere = [sys.executable, str(PROJECT / "devserver.py"), "ledger"]
    asked = subprocess.run(nowhere, capture_output=True, text=True, timeout=60)
    assert (asked.returncode, len(asked.stderr.splitlines())) == (2, 1)


def test_it_goes_on_after_a_restart(start_server: StartServer, archive: FakeArchive, tmp_path: Path) -> None:
    build = Build(objects={"small.bin": b"0123456789"}).upload(archive)
    server = start_server("--ledger", str(tmp_path / "ledger.db"))
    assert server.get("/stage", archive_url=build.url, files="small.bin").ok
    ask(server, "small.bin", "before")
    assert server.stop() == 0  # what was not written yet, is now
    server.start_again()
    ask(server, "small.bin", "after")
    assert server.stop() == 0
    assert [row.request_id for row in rows_of(tmp_path / "ledger.db")] == ["before", "after"]


def rows(count: int, begin: int = 0) -> list[Row]:
    """Some rows, whose times are their numbers."""
    return [Row(float(number), "10.0.0.7", "a/b", "file", 200, 5, True, "") for number in range(begin, begin + count)]


def test_the_oldest_rows_go(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger", 2500)
    for begin in range(0, 20_000, 1000):
        ledger.add(rows(1000, begin))
    assert [row.time for row in rows_of(tmp_path / "ledger")] == [float(number) for number in range(17_500, 20_000)]
    ledger.close()
    size = (tmp_path / "ledger").stat().st_size
    ledger = Ledger(tmp_path / "ledger", 2500)
    for begin in range(20_000, 40_000, 1000):
        ledger.add(rows(1000, begin))
    ledger.close()
    assert (tmp_path / "ledger").stat().st_size < 2 * size


def test_it_is_read_while_it_is_written(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger", 10_000)
    ledger.add(rows(3000))
    reading = rows_of(tmp_path / "ledger")
    assert next(reading).time == 0
    ledger.add(rows(1000, 3000))
    assert len(list(reading)) == 3999
    ledger.close()


class Writer:
    """A writer of a ledger, on a bus of its own that remembers what it is told to log."""

    def __init__(self, path: Path) -> None:
        self.logged: list[str] = []
        self.dropped = 0
        bus = cherrypy.process.wspbus.Bus()
        bus.subscribe("log", lambda text, _level: self.logged.append(text))
        self.writer = LedgerWriter(bus, path, 1000, self._drop)

    def _drop(self) -> None:
        self.dropped += 1

    def serve(self, count: int = 1) -> None:
        """Have files been served."""
        environ = {"REQUEST_METHOD": "GET", "REMOTE_ADDR": "10.0.0.7", REQUEST_ID_KEY: "x"}
        for _ in range(count):
            self.writer.ends(Served(environ, 200, 5, "a/b", "file", 5), 5)


def test_what_does_not_fit_is_dropped_and_counted(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "ledger")
    writer.serve(50_100)  # nobody writes yet
    assert writer.dropped == 100
    writer.writer.start()
    eventually(lambda: len(list(rows_of(tmp_path / "ledger"))) == 1000)
    writer.writer.stop()


@pytest.mark.parametrize("harm", ["removed", "locked"])
def test_a_ledger_that_breaks_is_logged_once_and_written_again(
    tmp_path: Path, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.ledger.writer._PAUSE_AFTER_FAILURE", 0.05)
    monkeypatch.setattr("web.ledger.records._PATIENCE", 0.05)
    folder = tmp_path / "folder"
    folder.mkdir()
    writer = Writer(folder / "ledger")
    writer.writer.start()
    if harm == "removed":
        shutil.rmtree(folder)
    else:
        other = sqlite3.connect(folder / "ledger", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
    writer.serve()
    eventually(lambda: writer.logged)
    writer.serve()
    if harm == "removed":
        folder.mkdir()
    else:
        other.rollback()
        other.close()
    eventually(lambda: "the ledger is written again" in writer.logged)
    eventually(lambda: len(list(rows_of(folder / "ledger"))) == 2)
    writer.writer.stop()
    assert [line for line in writer.logged if "cannot be written for now" in line] == writer.logged[:1]


@pytest.mark.parametrize("content", [b"", b"this is no database, and has never been one" * 30])
def test_a_ledger_that_cannot_be_used_is_told_at_the_start(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ledger"
    if content:
        path.write_bytes(content)
    else:
        path.mkdir()
    with pytest.raises(ConfigurationError, match=r"^--ledger: .* cannot be used as a ledger"):
        Writer(path)


def test_a_server_does_not_start_with_one(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("this is no database, and has never been one" * 30)
    started = start(["--ledger", str(tmp_path / "text"), "--static-dir", str(tmp_path / "static"), "--port", "0"])
    assert started.returncode == 2
    assert started.stderr.startswith("devserver: --ledger: ")
    assert len(started.stderr.splitlines()) == 1


def start(options: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Start a server that will not run."""
    arguments = [sys.executable, str(PROJECT / "devserver.py"), *options]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=60)


def test_what_nginx_served_is_in_the_ledger_and_counted(
    start_server: StartServer, archive: FakeArchive, tmp_path: Path
) -> None:
    build = Build(objects={"small.bin": b"0123456789"}).upload(archive)
    run_dir = tmp_path / "run"
    ledger = tmp_path / "ledger.db"
    server = start_server("--front", "nginx", "--front-log", str(run_dir / "use.log"), "--ledger", str(ledger))
    with in_front_of(server, run_dir) as address:
        assert server.get("/stage", archive_url=build.url, files="small.bin").ok
        url = f"{address}/static/{build.path}/small.bin"
        assert requests.get(url, timeout=10).content == b"0123456789"
        assert requests.get(url, headers={"Range": "bytes=4-"}, timeout=10).content == b"456789"
        found = eventually(lambda: [row for row in rows_of(ledger) if len(list(rows_of(ledger))) == 2])
        assert [row[1:] for row in found] == [
            ("127.0.0.1", build.path, "small.bin", 200, 10, True, ""),
            ("127.0.0.1", build.path, "small.bin", 206, 6, False, ""),
        ]
        page = server.get("/metrics").text
    assert 'devserver_static_sent_bytes_total{sender="nginx"} 16.0' in page
    assert 'devserver_requests_total{rpc="static",status="206"} 1.0' in page


def test_a_name_that_is_no_text_is_in_the_ledger_too(start_server: StartServer, build: Build, tmp_path: Path) -> None:
    server = start_server("--ledger", str(tmp_path / "ledger.db"))
    server.stage(build.url)
    with open(os.fsencode(server.static_dir / build.path) + b"/caf\xe9.txt", "wb") as file:  # noqa: PTH123
        file.write(b"x")
    for name in ("caf%E9.txt", "update.gz"):
        assert requests.get(f"{server.url}/static/{build.path}/{name}", timeout=10).ok
    told = [sys.executable, str(PROJECT / "devserver.py"), "--ledger", str(tmp_path / "ledger.db"), "ledger", "--json"]

    def files() -> list[str]:
        ended = subprocess.run(told, capture_output=True, text=True, check=False)
        return sorted(json.loads(line)["file"] for line in ended.stdout.splitlines())

    eventually(lambda: files() == ["caf\\udce9.txt", "update.gz"])
