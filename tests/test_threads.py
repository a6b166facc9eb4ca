"""Threads that live as long as the server survive what they meet, and say so in a line."""

from __future__ import annotations

import socket
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event as Flag
from typing import Any

import pytest

from staging import threads
from staging.soundness import Soundness
from tests.builds import Build
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.servers import check_success, eventually

# A server in which one thing fails once, in a thread that nobody looks after.
BROKEN = (
    "import sys; sys.path.insert(0, {project!r}); import {module}; "
    "calls = []; right = {module}.{name}\n"
    "def wrong(*arguments, **named):\n"
    "    calls.append(1)\n"
    "    if len(calls) == {call}: raise RuntimeError('met\\nsomething')\n"
    "    return right(*arguments, **named)\n"
    "{module}.{name} = wrong\n"
    "import devserver; sys.exit(devserver.main(sys.argv[3:]))"
)


def start_broken(start_server: StartServer, module: str, name: str, *options: str, call: int = 1) -> Any:
    project = str(Path(__file__).resolve().parent.parent)
    program = BROKEN.format(project=project, module=module, name=name, call=call)
    # The command line is `python devserver.py ...`: the wrapper puts another program in front, which drops those two.
    return start_server(*options, wrapper=(sys.executable, "-c", program))


def told(log: str, name: str) -> bool:
    return f"{name} failed and goes on in 0.2 s: RuntimeError: met\\nsomething" in log


def test_the_ledger_is_written_after_its_thread_met_something(
    start_server: StartServer, build: Build, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger.sqlite"
    server = start_broken(start_server, "web.ledger.writer", "LedgerWriter._batch", "--ledger", str(ledger), call=2)
    server.stage(build.url)
    eventually(lambda: told(server.log, "ledger"))
    assert server.get(f"/static/{build.path}/update.gz").ok

    def rows() -> int:
        with sqlite3.connect(ledger) as connection:
            tables = [name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")]
            return int(max(connection.execute(f"select count(*) from {name}").fetchone()[0] for name in tables))

    eventually(rows)
    assert "Traceback" not in server.log


def test_builds_are_verified_after_the_thread_met_something(start_server: StartServer, build: Build) -> None:
    server = start_broken(start_server, "staging.verification", "builds_below", "--verify-every", "0.00001")
    server.stage(build.url)
    eventually(lambda: told(server.log, "verify"))
    eventually(lambda: "verified: " in server.log)


def test_room_is_made_after_the_monitor_met_something(start_server: StartServer) -> None:
    server = start_broken(start_server, "staging.room", "Room.tend", "--max-bytes", "1G", call=1)
    eventually(lambda: told(server.log, "making room on the disk"))
    assert server.get("/check_health").ok


def test_clients_that_went_away_are_noticed_after_the_thread_met_something(
    start_server: StartServer, archive: FakeArchive, build: Build
) -> None:
    server = start_broken(start_server, "web.http.clients", "_has_gone")
    asked = f"GET /wait_for_status?archive_url={build.url} HTTP/1.1\r\nHost: x\r\n\r\n"

    def waiting() -> int:
        return int(server.get("/check_health").json()["waiting_clients"])

    with archive.holding("autotest.tar.bz2"):
        check_success(server.download(build.url))
        for _ in range(2):  # the first is what the thread meets
            with socket.create_connection(("127.0.0.1", server.port)) as client:
                client.sendall(asked.encode())
                eventually(lambda: waiting() == 1)
            eventually(lambda: waiting() == 0)
    assert told(server.log, "watch clients")


def test_one_build_that_cannot_be_looked_at_keeps_no_other_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[tuple[str, str]] = []
    soundness = Soundness(tmp_path, lambda build, text: notes.append((build, text)))
    looked: list[str] = []

    def make_sure(build: str) -> None:
        looked.append(build)
        raise RuntimeError("met something")

    for name in ("a/b", "c/d"):
        (tmp_path / name / ".devserver").mkdir(parents=True)
        (tmp_path / name / ".devserver" / "manifest.json").write_text("{}")
    monkeypatch.setattr(soundness, "make_sure", make_sure)
    soundness.sweep(Flag())
    assert (sorted(looked), len(notes)) == (["a/b", "c/d"], 2)


def test_a_thread_goes_on_after_what_it_meets_and_says_so() -> None:
    lines: list[str] = []
    calls = 0

    def work() -> None:
        nonlocal calls
        calls += 1
        if calls < 4:
            raise ValueError("line one\nline two")

    threads.keep_running("follower", work, Flag(), lines.append)
    assert calls == 4
    assert lines == [
        f"follower failed and goes on in {pause} s: ValueError: line one\\nline two" for pause in ("0.2", "0.4", "0.8")
    ]


def test_a_thread_that_fails_ends_when_it_is_told_to() -> None:
    stopped = Flag()

    def work() -> None:
        stopped.set()
        raise RuntimeError

    thread = threads.start("announcer", work, stopped, lambda _: None)
    thread.join(5)
    assert not thread.is_alive()


def test_what_is_called_now_and_then_survives_and_pauses() -> None:
    lines: list[str] = []
    calls: list[int] = []

    def look() -> None:
        calls.append(1)
        raise OSError(5, "Input/output error")

    survived: Callable[[], None] = threads.surviving("health", look, lines.append)
    survived()
    survived()
    assert (len(calls), len(lines)) == (1, 1)
    eventually(lambda: survived() or len(calls) == 2)  # type: ignore[func-returns-value]
