"""Kills, crashes and full disks: every download ends with a cause, and nothing partial is ever shown."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import requests

from tests.builds import FULL_PAYLOAD, MTON_PAYLOAD, NTON_PAYLOAD, Build, make_build, noise
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.servers import PROJECT, DevServer, cause_of, check_success, eventually

pytestmark = pytest.mark.shared_server

BACKGROUND = {"nton_payload": NTON_PAYLOAD, "mton_payload": MTON_PAYLOAD, "autotest": "autotest.tar.bz2"}


@pytest.mark.parametrize("artifact", BACKGROUND)
@pytest.mark.own_server
def test_a_killed_worker_is_told_to_every_waiter_and_costs_only_what_it_was_staging(
    server: DevServer, archive: FakeArchive, build: Build, artifact: str
) -> None:
    with archive.holding(BACKGROUND[artifact]) as reached:
        check_success(server.download(build.url))
        waiters = [server.ask("/wait_for_status", archive_url=build.url) for _ in range(5)]
        assert reached.wait(10)
        others = BACKGROUND.keys() - {artifact}
        eventually(lambda: all(f"{other} staged" in server.log for other in others))
        server.worker().kill()
        killed = time.monotonic()
        for waiter in waiters:
            assert waiter.result(10).status_code == 500
            assert cause_of(waiter.result(10)) == f"WorkerDied: worker killed by SIGKILL while staging {artifact}"
        assert time.monotonic() - killed < 2.0
    archive.forget()
    server.stage(build.url)
    assert {fetch.name for fetch in archive.fetches} == {BACKGROUND[artifact]}
    build.check_staged(server.static_dir)


def test_a_hung_worker_is_killed_and_told(start_server: StartServer, archive: FakeArchive, build: Build) -> None:
    server = start_server("--worker-silence", "2", "--stall-timeout", "60")
    with archive.holding("autotest.tar.bz2") as reached:
        check_success(server.download(build.url))
        assert reached.wait(10)
        eventually(lambda: "mton_payload staged" in server.log and "nton_payload staged" in server.log)
        worker = server.worker()
        worker.suspend()
        answer = server.wait_for_status(build.url)
    assert cause_of(answer) == "WorkerDied: worker was silent for 2 s and was killed while staging autotest"
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
    server.stage(build.url)


def test_a_worker_that_cannot_start_is_told(server: DevServer, archive: FakeArchive, build: Build) -> None:
    with archive.holding("stateful.tgz") as reached:
        download = server.ask("/download", archive_url=build.url)
        assert reached.wait(10)
        # The devserver's children make its workers. Held to no more processes and files, they cannot.
        for child in psutil.Process(server.process.pid).children():
            child.rlimit(psutil.RLIMIT_NOFILE, (4, 4))
    check_success(download.result(10))
    answer = server.wait_for_status(build.url)
    assert answer.status_code == 500
    assert cause_of(answer).startswith("WorkerDied: worker ")
    for child in psutil.Process(server.process.pid).children():
        child.kill()
    server.stage(build.url)
    build.check_staged(server.static_dir)


def test_a_dead_fork_server_is_replaced(server: DevServer, archive: FakeArchive, build: Build) -> None:
    server.stage(build.url)
    for child in psutil.Process(server.process.pid).children():
        child.kill()
    other = make_build(version="R18-1.0.0").upload(archive)
    server.stage(other.url)
    other.check_staged(server.static_dir)


@pytest.mark.parametrize("moment", range(20))
def test_a_killed_devserver_leaves_nothing_partial_and_goes_on_after_its_restart(
    start_server: StartServer, archive: FakeArchive, moment: int
) -> None:
    build = make_build(scale=4).upload(archive)
    archive.bytes_per_second = 8_000_000  # so that a download takes about half a second
    server = start_server()
    download = server.ask("/download", archive_url=build.url)
    eventually(lambda: archive.listings)
    time.sleep(moment * 0.04)
    processes = server.processes()
    server.kill()
    server.start_again()
    _ = server.port
    assert not psutil.wait_procs(processes[1:], timeout=5)[1]
    build.check_nothing_partial(server.static_dir)
    archive.bytes_per_second = 0
    server.stage(build.url)
    build.check_staged(server.static_dir)
    assert_tidy(server.static_dir)
    assert download.exception(10) is not None or download.result().text == "Success"


@pytest.mark.own_server
def test_what_was_staged_before_a_crash_is_not_fetched_again(
    server: DevServer, archive: FakeArchive, build: Build
) -> None:
    with archive.holding("autotest.tar.bz2") as reached:
        check_success(server.download(build.url))
        assert reached.wait(10)
        eventually(lambda: "mton_payload staged" in server.log and "nton_payload staged" in server.log)
        server.kill()
    eventually(lambda: archive.reads_now == 0)
    archive.forget()
    server.start_again()
    check_success(server.wait_for_status(build.url))
    assert {fetch.name for fetch in archive.fetches} == {"autotest.tar.bz2"}
    build.check_staged(server.static_dir)


def test_a_build_whose_removal_was_cut_off_by_a_crash_can_be_staged_again(server: DevServer, build: Build) -> None:
    server.stage(build.url)
    server.kill()
    # So far a removal comes before it takes away the lists of files.
    (server.static_dir / build.path / ".devserver" / "manifest.json").unlink()
    (server.static_dir / build.path / "update.gz").unlink()
    server.start_again()
    server.stage(build.url)
    build.check_staged(server.static_dir)
    assert_tidy(server.static_dir)


def test_static_never_shows_a_partial_file(server: DevServer, archive: FakeArchive) -> None:
    build = make_build(scale=4).upload(archive)
    archive.bytes_per_second = 8_000_000
    done = threading.Event()
    seen: set[str] = set()

    def poll() -> None:
        while not done.is_set():
            for name in ("update.gz", "stateful.tgz", "autotest/client/site_tests/t9/control"):
                answer = server.get(f"/static/{build.path}/{name}")
                if answer.status_code == 200:
                    assert answer.content == build.files[name]
                    seen.add(name)
            build.check_nothing_partial(server.static_dir)

    poller = server._pool.submit(poll)
    server.stage(build.url)
    done.set()
    poller.result(30)
    assert "update.gz" in seen


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.own_server
def test_a_signal_ends_the_devserver_and_its_workers_and_tells_the_waiters(
    server: DevServer, archive: FakeArchive, build: Build, end: signal.Signals
) -> None:
    with archive.holding("autotest.tar.bz2") as reached:
        check_success(server.download(build.url))
        waiter = server.ask("/wait_for_status", archive_url=build.url)
        assert reached.wait(10)
        processes = server.processes()
        server.process.send_signal(end)
        assert server.process.wait(10) == 0
    assert cause_of(waiter.result(10)) == "Cancelled: the devserver is stopping"
    assert not psutil.wait_procs(processes[1:], timeout=5)[1]
    build.check_nothing_partial(server.static_dir)
    assert "Traceback" not in server.log
    server.start_again()
    server.stage(build.url)
    build.check_staged(server.static_dir)
    assert_tidy(server.static_dir)


def test_a_full_disk_is_a_failure_with_a_cause_and_room_makes_it_good(
    tmp_path: Path, start_server: StartServer, archive: FakeArchive, build: Build
) -> None:
    # A small disk that only the devserver sees, in a mount namespace of its own.
    static_dir = tmp_path / "static"
    static_dir.mkdir()
    script = 'mount -t tmpfs -o size=3m tmpfs "$0" && exec "$@"'
    server = start_server(wrapper=("unshare", "-rm", "sh", "-c", script, str(static_dir)))
    inside = Path(f"/proc/{server.process.pid}/root{static_dir}")
    ballast = inside / "ballast"
    _ = server.port
    ballast.write_bytes(bytes(2_700_000))
    answer = server.download(build.url)
    assert answer.status_code == 500
    assert cause_of(answer).startswith("DiskFull: No space left on the devserver's disk while staging ")
    ballast.unlink()
    eventually(lambda: os.statvfs(inside).f_bavail * os.statvfs(inside).f_frsize > 2_000_000)
    server.stage(build.url)
    build.check_staged(inside)


def test_a_record_for_which_there_is_no_room_leaves_nothing_behind(tmp_path: Path) -> None:
    write = (
        "import resource, signal, sys; from pathlib import Path; from staging.records.decoding import write\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "write(Path(sys.argv[1]), 'x' * 1000)"
    )
    record = tmp_path / "record.json"
    record.write_text("{}")
    command = [sys.executable, "-c", write, str(record)]
    ended = subprocess.run(command, check=False, cwd=PROJECT, capture_output=True, text=True)
    assert "File too large" in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]
    assert record.read_text() == "{}"


def assert_tidy(static_dir: Path) -> None:
    """Assert that nothing is left of the work: no lock, no staging area, no temporary file."""

    def leftovers() -> list[Path]:
        own = static_dir / ".devserver"
        orders = own.glob("orders/*/*.json")
        # os.walk bears with directories that go meanwhile.
        temporary = [Path(name) for _, _, names in os.walk(static_dir) for name in names if name.endswith(".tmp")]
        return [*own.glob("locks/*"), *own.glob("staging/*"), *orders, *temporary]

    eventually(lambda: not leftovers(), timeout=2)


def test_a_devserver_starts_where_an_earlier_one_left_what_cannot_be_read(
    server: DevServer, archive: FakeArchive, build: Build
) -> None:
    _ = server.port
    assert server.stop() == 0
    area = server.static_dir / ".devserver" / "staging" / build.path.replace("/", "%2F") / "stateful"
    area.mkdir(parents=True)
    (area / "ready.json").write_text("{ this is not JSON")
    server.start_again()
    server.stage(build.url)
    build.check_staged(server.static_dir)
    assert_tidy(server.static_dir)


def test_a_slow_reader_does_not_hold_up_the_end(server: DevServer) -> None:
    _ = server.port
    (server.static_dir / "big").write_bytes(bytes(50_000_000))
    with requests.get(f"{server.url}/static/big", stream=True, timeout=10) as answer:
        assert answer.raw.read(10)
        assert server.stop(10) == 0


def test_a_hung_fork_server_is_told_and_replaced(server: DevServer, archive: FakeArchive, build: Build) -> None:
    with archive.holding("stateful.tgz") as reached:
        download = server.ask("/download", archive_url=build.url)
        assert reached.wait(10)
        for child in psutil.Process(server.process.pid).children():
            if "forkserver" in " ".join(child.cmdline()):  # and not what decompresses the test suites just now
                child.suspend()
    check_success(download.result(10))
    assert cause_of(server.wait_for_status(build.url)).startswith("WorkerDied: worker could not start within ")
    server.stage(build.url)


def test_workers_do_not_depend_on_where_the_devserver_was_started(
    start_server: StartServer, tmp_path: Path, build: Build
) -> None:
    elsewhere = tmp_path / "elsewhere"
    for name in ("staging", "artifacts", "web"):
        (elsewhere / name).mkdir(parents=True)
        (elsewhere / name / "__init__.py").write_text("raise RuntimeError('not this one')")
    server = start_server(wrapper=("env", "-C", str(elsewhere)))
    server.stage(build.url)
    build.check_staged(server.static_dir)


def test_artifacts_that_bring_the_same_directory_do_not_get_in_each_others_way(
    server: DevServer, archive: FakeArchive
) -> None:
    for number in range(30):
        build = make_build(version=f"R17-{number}.0.0").upload(archive)
        server.stage(build.url)
        build.check_staged(server.static_dir)


@pytest.mark.own_server
def test_a_download_that_was_cut_off_goes_on_from_its_verified_part(server: DevServer, archive: FakeArchive) -> None:
    build = make_build()
    payload = noise(125_000_000, "big")
    build.objects[FULL_PAYLOAD] = build.files["update.gz"] = payload
    build.upload(archive)
    with archive.holding(FULL_PAYLOAD, after=120_000_000) as reached:
        server.ask("/download", archive_url=build.url)
        assert reached.wait(20)
        eventually(lambda: list(server.static_dir.rglob("*mark")))
        server.kill()
    eventually(lambda: archive.reads_now == 0)
    archive.forget()
    server.start_again()
    check_success(server.wait_for_status(build.url))  # which nobody has asked for since
    build.check_staged(server.static_dir)
    assert archive.bytes_sent(FULL_PAYLOAD) <= len(payload) - 64 * 1024 * 1024
    assert_tidy(server.static_dir)


@pytest.mark.parametrize(
    ("leads_to", "cause"),
    [
        ("another file system", "lies on another file system than the rest of the static directory"),
        ("another mount", "lies on another file system than the rest of the static directory"),
        ("another directory", "is a link out of the static directory, and nothing is served from there"),
        ("nowhere", "is a link out of the static directory, and nothing is served from there"),
    ],
)
@pytest.mark.own_server
def test_a_directory_that_nothing_can_be_published_in_is_refused_at_the_request(
    server: DevServer, archive: FakeArchive, build: Build, tmp_path: Path, leads_to: str, cause: str
) -> None:
    target = server.static_dir / build.path.partition("/")[0]
    server.static_dir.mkdir(exist_ok=True)
    outside = tmp_path / "outside"
    if leads_to != "nowhere":
        outside.mkdir()
    mounts = {
        "another file system": ("-t", "tmpfs", "none", str(target)),
        "another mount": ("--bind", str(outside), str(target)),
    }
    if leads_to in mounts:
        target.mkdir()
        if subprocess.run(["mount", *mounts[leads_to]], check=False, capture_output=True).returncode:
            pytest.skip("only the administrator may mount")
    else:
        target.symlink_to(outside)
    try:
        answer = server.download(build.url)
        assert answer.status_code == 500
        assert cause_of(answer).startswith(f"UnusableDirectory: {build.path} cannot be staged: its directory {cause}")
        assert archive.fetches == []
        assert list(target.glob("*")) == []
        answer = server.wait_for_status(build.url)
        assert cause_of(answer).startswith("NoDownload: ")
    finally:
        if leads_to in mounts:
            subprocess.run(["umount", str(target)], check=True)
    if leads_to in mounts:
        server.stage(build.url)
        build.check_staged(server.static_dir)


@pytest.mark.own_server
def test_a_build_is_staged_into_a_directory_of_an_images_lower_layer(
    start_server: StartServer, build: Build, tmp_path: Path
) -> None:
    lower, upper, work, static_dir = (tmp_path / name for name in ("lower", "upper", "work", "static"))
    (lower / build.path / "autotest").mkdir(parents=True)
    (lower / build.path / "autotest" / "mine").write_text("of the image")
    for directory in (upper, work, static_dir):
        directory.mkdir(exist_ok=True)
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    mount = ["mount", "-t", "overlay", "none", "-o", options, str(static_dir)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only the administrator may mount, and not on every file system")
    try:
        server = start_server()
        assert server.static_dir == static_dir
        server.stage(build.url)
        mine = static_dir / build.path / "autotest" / "mine"
        assert mine.read_text() == "of the image"
        mine.rename(static_dir / "mine")
        build.check_staged(static_dir)
        (static_dir / "mine").rename(mine)
        assert requests.delete(f"{server.url}/api/v1/builds/{build.path}", timeout=30).ok
        assert [path.name for path in (static_dir / build.path).rglob("*")] == ["autotest", "mine"]
    finally:
        subprocess.run(["umount", "-l", str(static_dir)], check=True)
