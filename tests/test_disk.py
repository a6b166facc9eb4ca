"""The disk of a running devserver: room is made for what comes, and what somebody needs stays."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest
import requests

from staging.layout import clock_file
from tests.builds import Build, noise
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.servers import DevServer, cause_of, check_success, eventually
from tests.terminal import in_a_pipe
from web.client import Client, RequestRefused, StagingFailed

SIZE = 100_000
TARGET = "target"


def url_of(version: str) -> str:
    return f"gs://bucket/{TARGET}/{version}"


def path_of(version: str) -> str:
    return f"{TARGET}/{version}"


def api(server: DevServer, version: str, more: str = "") -> str:
    return f"{server.url}/api/v1/builds/{quote(path_of(version), safe='')}{more}"


@pytest.fixture
def versions(archive: FakeArchive) -> list[str]:
    """Builds of one file each, of SIZE bytes."""
    names = [f"R{number}-1.0.0" for number in range(1, 7)]
    for name in names:
        archive.put("bucket", f"{path_of(name)}/{name}.bin", noise(SIZE, name))
    return names


def stage(server: DevServer, version: str, **query: str) -> requests.Response:
    return server.get("/stage", archive_url=url_of(version), files="*.bin", **query)


def here(server: DevServer) -> list[str]:
    return sorted(path.parent.name for path in server.static_dir.glob(f"{TARGET}/*/*.bin"))


def read(server: DevServer, version: str) -> None:
    assert server.get(f"/static/{path_of(version)}/{version}.bin").ok


def test_the_least_recently_used_goes_also_after_a_restart(start_server: StartServer, versions: list[str]) -> None:
    server = start_server("--max-bytes", str(3 * SIZE))
    for version in versions[:3]:
        check_success(stage(server, version))
    read(server, versions[0])
    server.stop()
    server.start_again()
    check_success(stage(server, versions[3]))
    assert here(server) == [versions[0], versions[2], versions[3]]
    assert server.log.count(f"{path_of(versions[1])}: evicted for the sake of --max-bytes, 97.7 KiB") == 1
    read(server, versions[0])
    check_success(stage(server, versions[4]))
    assert here(server) == [versions[0], versions[3], versions[4]]


def test_what_is_held_stays_and_a_refusal_says_why(
    start_server: StartServer, archive: FakeArchive, versions: list[str]
) -> None:
    large = 20_000_000
    archive.put("bucket", f"{path_of('large')}/large.bin", noise(1000, "large") * (large // 1000))
    # What is held back for long is no archive that has stalled.
    server = start_server("--max-bytes", str(large + 3 * SIZE), "--stall-timeout", "120")
    check_success(stage(server, "large"))
    pinned, leased, held_back, refused = versions[:4]
    check_success(stage(server, pinned))
    assert requests.post(api(server, pinned, "/pin"), timeout=30).json()["pinned"] is True
    check_success(stage(server, leased, lease="2h", holder="dut-7"))
    with slow_reader(server, "large") as reader, archive.holding(f"{held_back}.bin") as reached:
        staging = server.ask("/stage", archive_url=url_of(held_back), files="*.bin")
        assert reached.wait(30)
        answer = stage(server, refused)
        assert answer.status_code == 507
        cause = cause_of(answer)
        assert cause.startswith(f"NoRoom: there is no room for {path_of(refused)}: it needs 97.7 KiB")
        assert f"{path_of('large')} (19.1 MiB: being read by 1 client)" in cause
        assert f"{path_of(pinned)} (97.7 KiB: pinned)" in cause
        assert f"{path_of(leased)} (97.7 KiB: leased until " in cause
        assert " UTC by dut-7)" in cause
        assert f"{path_of(held_back)} (97.7 KiB: being staged)" in cause
        assert not (server.static_dir / path_of(refused)).exists()
        assert requests.get(api(server, refused), timeout=30).json()["artifacts"][0]["cause"]["kind"] == "NoRoom"
        others_know = held_for_others(server)
        assert others_know[path_of("large")] == ["being read"]
        assert others_know[path_of(held_back)] == ["being staged"]
        assert rest_of(reader) == large
    check_success(staging.result(30))
    eventually(lambda: stage(server, refused).status_code == 200)
    assert here(server) == sorted([pinned, leased, held_back, refused])


def test_there_being_no_room_is_told_at_once_however_long_the_queue_is(
    start_server: StartServer, archive: FakeArchive, versions: list[str]
) -> None:
    pinned, held_back, refused = versions[:3]
    server = start_server("--max-bytes", str(2 * SIZE), "--max-downloads", "1", "--stall-timeout", "120")
    check_success(stage(server, pinned))
    assert requests.post(api(server, pinned, "/pin"), timeout=30).json()["pinned"] is True
    with archive.holding(f"{held_back}.bin") as reached:
        staging = server.ask("/stage", archive_url=url_of(held_back), files="*.bin")
        assert reached.wait(30)
        answer = stage(server, refused)
        assert (answer.status_code, staging.done()) == (507, False)
    check_success(staging.result(30))


def held_for_others(server: DevServer) -> dict[str, list[str]]:
    """What another process knows of the builds' holds."""
    told = in_a_pipe("--static-dir", str(server.static_dir), "--max-bytes", "1", "gc", "--dry-run", "--json")
    return {one["build"]: one["holds"] for one in json.loads(told.stdout)["stays"]}


class slow_reader:  # noqa: N801 - it is used like a function
    """A client that has read the beginning of a build's file, at a few megabytes a second, and goes on later."""

    def __init__(self, server: DevServer, version: str) -> None:
        self._answer = requests.get(f"{server.url}/static/{path_of(version)}/{version}.bin", stream=True, timeout=60)
        self.count = 0

    def __enter__(self) -> slow_reader:  # noqa: PYI034
        for _ in range(4):
            self.count += len(self._answer.raw.read(400_000))
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        self._answer.close()

    def go_on(self) -> None:
        """Read the rest."""
        while piece := self._answer.raw.read(1_000_000):
            self.count += len(piece)


def rest_of(reader: slow_reader) -> int:
    """All that the reader got, at the end."""
    reader.go_on()
    return reader.count


def test_a_lease_survives_a_restart_and_ends_by_itself(start_server: StartServer, versions: list[str]) -> None:
    server = start_server("--max-bytes", str(SIZE))
    check_success(stage(server, versions[0]))
    lease = requests.post(api(server, versions[0], "/leases"), json={"seconds": 600, "holder": "me"}, timeout=30)
    assert (lease.status_code, lease.json()["holder"]) == (201, "me")
    server.kill()
    server.start_again()
    assert stage(server, versions[1]).status_code == 507
    address = f"{server.url}{lease.headers['Location']}".replace(f"{server.url}http", "http")
    assert requests.put(address, json={"seconds": 1.5}, timeout=30).status_code == 200
    eventually(lambda: stage(server, versions[1]).status_code == 200)
    assert here(server) == [versions[1]]
    assert requests.delete(address, timeout=30).status_code == 404


def test_downloads_side_by_side_are_not_promised_the_same_room(
    start_server: StartServer, archive: FakeArchive, versions: list[str]
) -> None:
    server = start_server("--max-bytes", str(2 * SIZE), "--stall-timeout", "120")
    check_success(stage(server, versions[0]))
    with archive.holding(f"{versions[1]}.bin") as first, archive.holding(f"{versions[2]}.bin") as second:
        asked = [server.ask("/stage", archive_url=url_of(one), files="*.bin") for one in versions[1:3]]
        assert first.wait(30)
        assert second.wait(30)
        assert here(server) == []
        assert cause_of(stage(server, versions[3])).count("being staged") == 2
    for answer in asked:
        check_success(answer.result(30))
    assert here(server) == versions[1:3]


def test_a_build_larger_than_the_limit_is_told_so(start_server: StartServer, versions: list[str]) -> None:
    server = start_server("--max-bytes", "90K")
    answer = stage(server, versions[0])
    assert answer.status_code == 507
    assert cause_of(answer) == (
        f"NoRoom: there is no room for {path_of(versions[0])}: alone it needs 97.7 KiB, and --max-bytes allows "
        "90.0 KiB in all"
    )
    problem = requests.get(
        f"{server.url}/is_staged", {"archive_url": url_of(versions[0]), "files": "*.bin"}, timeout=10
    )
    assert problem.status_code == 507


def test_what_nobody_used_for_long_goes_by_itself(start_server: StartServer, versions: list[str]) -> None:
    server = start_server("--max-age", "3s")
    foreign = server.static_dir / TARGET / "foreign" / "foreign.bin"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"somebody else's")
    os.utime(foreign.parent, (1e9, 1e9))
    check_success(stage(server, versions[0], lease="1h"))
    check_success(stage(server, versions[1]))
    with requests.get(f"{server.url}/api/v1/events", stream=True, timeout=60) as stream:
        lines = stream.iter_lines()
        while b"event: removed" not in next(lines):
            pass
        assert json.loads(next(lines).partition(b": ")[2])["build"] == path_of(versions[1])
    assert here(server) == sorted([versions[0], "foreign"])
    assert f"{path_of(versions[1])}: evicted for the sake of --max-age" in server.log


def test_what_is_held_is_not_removed_by_hand_either(server: DevServer, versions: list[str]) -> None:
    one, other = versions[:2]
    client = Client(server.url)
    client.stage(url_of(one), files=["*.bin"], lease="30m", holder="me")
    client.stage(url_of(other), files=["*.bin"])
    assert client.pin(path_of(other))["pinned"]
    with pytest.raises(RequestRefused, match=r"BuildHeld: .* is leased until .* by me; unpin it, and give leases back"):
        client.remove(path_of(one))
    with pytest.raises(RequestRefused, match=r"BuildHeld: .* is pinned"):
        client.remove(path_of(other))
    assert stage(server, one, clean="true").status_code == 409
    check_success(stage(server, one, clean="true", holder="me"))
    with pytest.raises(RequestRefused, match="BuildHeld"):
        client.start(url_of(other), files=["*.bin"], clean=True)
    assert here(server) == [one, other]
    (lease,) = client.build(path_of(one))["leases"]
    assert client.renew(path_of(one), lease["id"], 7200)["until"] > lease["until"]
    client.release(path_of(one), lease["id"])
    assert client.unpin(path_of(other))["pinned"] is False
    for version in (one, other):
        client.remove(path_of(version))
    assert here(server) == []


def test_a_lease_holds_from_the_moment_it_is_asked_for(server: DevServer, archive: FakeArchive, build: Build) -> None:
    assert server.get("/index").ok
    with archive.holding("stateful.tgz") as reached:
        asked = server.ask("/download", archive_url=build.url, lease="2h")
        assert reached.wait(30)
        (lease,) = requests.get(f"{server.url}/api/v1/builds/{build.path}/leases", timeout=30).json()["leases"]
        assert lease["holder"] == "127.0.0.1"
    check_success(asked.result(20))


@pytest.mark.parametrize("lease", ["2w", "-1", "0", "31d", "soon"])
def test_a_wrong_lease_is_told_what_is_right(shared: DevServer, lease: str) -> None:
    for path in ("/download", "/stage"):
        answer = shared.get(path, archive_url=url_of("any"), files="x", lease=lease)
        assert answer.status_code == 400
        assert "2h" in cause_of(answer) or "30 days" in cause_of(answer)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> object:
    """A devserver for tests that leave nothing behind."""
    server = DevServer(tmp_path_factory.mktemp("shared"))
    yield server
    server.close()


USES: dict[str, Callable[[DevServer, Build], object]] = {
    "/download": lambda server, build: server.download(build.url),
    "/stage": lambda server, build: server.get("/stage", archive_url=build.url, artifacts="stateful"),
    "/wait_for_status": lambda server, build: server.wait_for_status(build.url),
    "/is_staged": lambda server, build: server.get("/is_staged", archive_url=build.url, artifacts="stateful"),
    "/controlfiles": lambda server, build: server.get("/controlfiles", build=build.path),
    "/list_suite_controls": lambda server, build: server.get("/list_suite_controls", build=build.path),
    "/list_image_dir": lambda server, build: server.get("/list_image_dir", archive_url=build.url),
    "/locate_file": lambda server, build: server.get("/locate_file", archive_url=build.url, file_name="stateful.tgz"),
    "/static": lambda server, build: server.get(f"/static/{build.path}/stateful.tgz"),
}


def test_whatever_asks_for_a_build_is_a_use_of_it(server: DevServer, build: Build) -> None:
    server.stage(build.url)
    record = server.static_dir / build.path / ".devserver" / "last-use"
    for name, use in USES.items():
        before = time.time()
        use(server, build)
        assert eventually(partial(was_used_since, record, before), 10), name


def was_used_since(record: Path, moment: float) -> bool:
    return record.exists() and record.stat().st_mtime > moment - 0.001  # as exact as a file's time is


def is_anything_under_way(static_dir: Path) -> bool:
    own = static_dir / ".devserver"
    return any(own.glob("locks/*")) or any(own.glob("orders/*/*.json"))


def test_gc_says_what_it_would_do_and_does_it(server: DevServer, versions: list[str]) -> None:
    for version in versions[:3]:
        check_success(stage(server, version))
    assert requests.post(api(server, versions[0], "/pin"), timeout=30).ok
    server_options = ("--static-dir", str(server.static_dir), "--max-bytes", str(2 * SIZE))
    assert eventually(lambda: not is_anything_under_way(server.static_dir), 10)
    before = everything(server.static_dir)
    told = in_a_pipe(*server_options, "gc", "--dry-run")
    assert (told.returncode, told.stderr) == (0, "")
    lines = [line.split() for line in told.stdout.splitlines()]
    assert [(line[0], " ".join(line[7:])) for line in lines[:3]] == [
        (path_of(versions[1]), "would go: more than --max-bytes"),
        (path_of(versions[0]), "stays: pinned"),
        (path_of(versions[2]), "stays: its room is not needed"),
    ]
    assert told.stdout.splitlines()[-1] == "1 of 3 builds would go, 97.7 KiB"
    assert everything(server.static_dir) == before
    done = in_a_pipe(*server_options, "gc", "--json")
    assert done.returncode == 0
    data = json.loads(done.stdout)
    assert [(one["build"], one["reason"]) for one in data["goes"]] == [(path_of(versions[1]), "bytes")]
    assert here(server) == [versions[0], versions[2]]
    assert [one["build"] for one in server.get("/api/v1/builds").json()["builds"]] == [
        path_of(versions[0]),
        path_of(versions[2]),
    ]
    too_little = in_a_pipe("--static-dir", str(server.static_dir), "--max-bytes", "1", "gc")
    assert too_little.returncode == 1
    assert "all that could go is held" in too_little.stderr
    assert here(server) == [versions[0]]


def everything(directory: Path) -> dict[str, tuple[int, int]]:
    """Every file, with its time and its inode, but for what a running server writes each minute."""
    files = [path for path in directory.rglob("*") if path.is_file() and path != clock_file(directory)]
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_ino) for path in files}


def test_commands_pin_and_unpin(server: DevServer, versions: list[str]) -> None:
    check_success(stage(server, versions[0]))
    path = path_of(versions[0])
    asking = ("--server", server.url)
    assert in_a_pipe("pin", path, *asking).stdout == f"{path}: pinned\n"
    assert "  pinned\n" in in_a_pipe("status", path, *asking).stdout
    refused = in_a_pipe("remove", "--yes", path, *asking)
    assert (refused.returncode, "BuildHeld" in refused.stderr) == (1, True)
    assert in_a_pipe("unpin", path, *asking).stdout == f"{path}: not pinned\n"
    assert in_a_pipe("pin", "no/build", *asking).returncode == 1


def test_a_harness_is_told_of_no_room_as_of_any_failure(start_server: StartServer, versions: list[str]) -> None:
    server = start_server("--min-free", "900T")
    with pytest.raises(StagingFailed, match=r"NoRoom: .*--min-free"):
        Client(server.url).stage(url_of(versions[0]), files=["*.bin"])


@pytest.mark.parametrize(("option", "value"), [("--max-bytes", "much"), ("--min-free", "0"), ("--max-age", "2w")])
def test_a_limit_that_is_none_is_told_what_is_right(option: str, value: str) -> None:
    ended = in_a_pipe(option, value, "gc")
    assert ended.returncode == 2
    assert ("20G" in ended.stderr) or ("30m" in ended.stderr)
