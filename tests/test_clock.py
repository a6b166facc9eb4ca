"""The machine's clock may say anything: nothing is removed for it, leases hold, and no duration is negative."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from staging.clock import SETTLED_AFTER, Clock
from staging.layout import clock_file
from tests.builds import Build, make_build
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.servers import DevServer, check_success, eventually

DAY = 86400.0
NOW = 1.8e9


class Machine:
    """A machine whose clock can be set; an hour after its start."""

    def __init__(self) -> None:
        self.passed, self.wall = 3600.0, NOW
        self.news: list[str] = []

    def clock(self) -> Clock:
        """The clock of a process that starts now."""
        clock = Clock(lambda: self.wall, lambda: self.passed)
        clock.subscribe(self.news.append)
        return clock

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.passed += seconds
        self.wall += seconds


def test_a_jump_is_noticed_and_changes_nothing_until_it_has_lasted() -> None:
    machine = Machine()
    clock = machine.clock()
    assert clock.is_trusted()
    machine.wall += 30 * DAY
    assert not clock.is_trusted()
    machine.wait(10)
    assert not clock.is_trusted()
    assert clock.now() == NOW + 10
    machine.wait(SETTLED_AFTER)
    assert clock.is_trusted()
    assert clock.now() == machine.wall
    jumped, believed = machine.news
    assert jumped.startswith("the machine's clock jumped by +2592000 s: nothing is removed for its age until")
    assert believed == "the machine's clock is believed again"


def test_a_clock_that_comes_back_is_believed_at_once() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.wall += 30 * DAY
    assert not clock.is_trusted()
    machine.wall -= 30 * DAY
    assert clock.is_trusted()
    assert clock.now() == NOW


def test_a_clock_that_was_never_set_is_not_believed_and_believed_once_it_is() -> None:
    machine = Machine()
    machine.wall = 100.0
    clock = machine.clock()
    assert not clock.is_trusted()
    machine.wall = NOW
    assert clock.is_trusted()
    assert clock.now() == NOW


def test_a_clock_that_is_put_right_by_little_is_followed_by_nobody() -> None:
    machine = Machine()
    clock = machine.clock()
    for _ in range(5):
        machine.wall -= 5
        assert clock.is_trusted()
        assert clock.now() == NOW
    assert machine.news == []


@pytest.mark.parametrize("jump", [30 * DAY, -30 * DAY])
def test_a_jump_between_two_runs_is_noticed_too(tmp_path: Path, jump: float) -> None:
    machine = Machine()
    machine.clock().save(tmp_path / "clock")
    machine.wait(5)
    machine.wall += jump
    clock = machine.clock()
    clock.restore(tmp_path / "clock")
    assert not clock.is_trusted()
    assert clock.now() == NOW + 5


@pytest.mark.parametrize(("rest", "is_trusted"), [(60.0, True), (3 * DAY, True), (30 * DAY, False), (-60.0, False)])
def test_after_the_machine_started_anew_the_clock_has_to_be_plausible(
    tmp_path: Path, rest: float, is_trusted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine()
    machine.clock().save(tmp_path / "clock")
    monkeypatch.setattr("staging.clock.boot_id", lambda: "another")
    machine.passed, machine.wall = 20.0, NOW + rest
    clock = machine.clock()
    clock.restore(tmp_path / "clock")
    assert clock.is_trusted() is is_trusted


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 5000, b'{"boot": "x", "offset": NaN, "time": 1}', b"\xff"])
def test_what_was_saved_and_cannot_be_read_is_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "clock").write_bytes(content)
    clock = Machine().clock()
    clock.restore(tmp_path / "clock")
    assert clock.now() == NOW


def test_a_pipe_in_its_place_holds_up_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "clock")
    clock = Machine().clock()
    clock.restore(tmp_path / "clock")
    assert clock.is_trusted()


# Real servers, whose clock is stepped while they run.

SetClock = Callable[[float], None]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a process has to load for its time of day to be another."""
    library = tmp_path_factory.mktemp("clock") / "stepped_clock.so"
    source = Path(__file__).with_name("stepped_clock.c")
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True, timeout=60)
    return library


@pytest.fixture
def set_clock(tmp_path: Path) -> Iterator[SetClock]:
    """Sets the clock of what is started by :func:`stepped`: so many seconds ahead of the machine's."""
    with (tmp_path / "offset").open("w+b", buffering=0) as file:

        def set_clock(offset: float) -> None:
            os.pwrite(file.fileno(), struct.pack("l", int(offset)), 0)

        set_clock(0)
        yield set_clock


def stepped(folder: Path, library: Path) -> dict[str, str]:
    """The environment of a process whose time of day is as the file in ``folder`` says."""
    return {"LD_PRELOAD": str(library), "STEPPED_CLOCK": str(folder / "offset")}


@pytest.fixture
def server(start_server: StartServer, tmp_path: Path, set_clock: SetClock, library: Path) -> DevServer:
    """A server whose clock can be set, and that removes what was not used for two weeks."""
    return start_server("--max-age", "14d", **stepped(tmp_path, library))


@pytest.fixture
def builds(server: DevServer, archive: FakeArchive) -> list[Build]:
    """Two builds that it has staged, the first of which is leased."""
    builds = [make_build(version=f"R17-{number}.0.0-a1-b1").upload(archive) for number in (1, 2)]
    for build in builds:
        server.stage(build.url)
    answer = server.get("/download", archive_url=builds[0].url, lease="1h", holder="the test")
    check_success(answer)
    return builds


def evictor_has_looked(server: DevServer) -> None:
    """Return once the evictor has looked at the room twice more, as its own record of the last uses tells."""
    time.sleep(5)  # it looks every two seconds, and tells nobody
    assert server.get("/check_health").status_code == 200


@pytest.mark.parametrize("offset", [30 * DAY, -20_000 * DAY])
def test_no_build_goes_while_the_clock_is_wrong_nor_when_it_is_put_right(
    server: DevServer, builds: list[Build], set_clock: SetClock, offset: float
) -> None:
    set_clock(offset)
    eventually(lambda: "the machine's clock jumped by" in server.log)
    assert server.get(f"/static/{builds[1].path}/update.gz").status_code == 200
    evictor_has_looked(server)
    set_clock(0)
    eventually(lambda: "the machine's clock is what it was again" in server.log)
    evictor_has_looked(server)
    for build in builds:
        build.check_staged(server.static_dir)
    assert "evicted" not in server.log
    (lease,) = server.get(f"/api/v1/builds/{builds[0].path}").json()["leases"]
    assert lease["holder"] == "the test"


@pytest.mark.parametrize(("first", "then"), [(30 * DAY, -20_000 * DAY), (-20_000 * DAY, 30 * DAY)])
def test_no_build_goes_where_the_server_started_with_a_wrong_clock(
    server: DevServer, builds: list[Build], set_clock: SetClock, first: float, then: float
) -> None:
    eventually(clock_file(server.static_dir).exists)  # a server that ends sooner tells the next one nothing
    assert server.stop() == 0
    set_clock(first)
    server.start_again()
    for build in builds:  # what is read then was used when nobody knew what day it was
        assert server.get(f"/static/{build.path}/update.gz").status_code == 200
    evictor_has_looked(server)
    set_clock(then)
    evictor_has_looked(server)
    set_clock(0)
    evictor_has_looked(server)
    for build in builds:
        build.check_staged(server.static_dir)
    assert "evicted" not in server.log
    assert server.get(f"/api/v1/builds/{builds[0].path}").json()["leases"]


def test_a_server_that_ends_at_once_has_told_the_next_one_what_time_it_is(
    start_server: StartServer, tmp_path: Path, set_clock: SetClock, library: Path
) -> None:
    server = start_server("--max-age", "14d", **stepped(tmp_path, library))
    assert server.port
    assert server.stop() == 0
    set_clock(30 * DAY)
    server.start_again()
    assert server.port
    assert "the machine's clock jumped by" in server.log


def test_no_duration_is_negative_where_the_clock_is_set_back(
    server: DevServer, archive: FakeArchive, set_clock: SetClock
) -> None:
    build = make_build().upload(archive)
    with archive.holding("autotest.tar.bz2") as reached:
        check_success(server.download(build.url))
        assert reached.wait(10)
        set_clock(-7200)
        eventually(lambda: "the machine's clock jumped by" in server.log)
    check_success(server.wait_for_status(build.url))
    told = re.findall(r" (-?[\d.]+) s after the download began", server.log)
    assert told
    assert all(0 <= float(seconds) < 3600 for seconds in told)
    sums = re.findall(r"^devserver_\w+_sum(?:\{.*\})? (\S+)$", server.get("/metrics").text, re.MULTILINE)
    assert [one for one in sums if float(one) < 0] == []
