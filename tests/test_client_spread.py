"""A lab of several devservers, each with a disk of its own: the client and nginx share out the builds, and go on."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pytest
import requests

from tests.builds import Build, make_build
from tests.fake_archive import FakeArchive
from tests.nginx import free_port, running_nginx
from tests.servers import DevServer, check_success, eventually
from tests.terminal import in_a_pipe
from tests.test_spread import spread_configuration
from web.client import Client, RequestRefused, ServerUnreachable, StagingFailed
from web.client.ring import Ring


class Lab(NamedTuple):
    """Several devservers by their addresses, a client of all of them, and the nginx in front of them."""

    servers: dict[str, DevServer]
    client: Client
    front: str

    def order(self, build: Build) -> list[DevServer]:
        """The devservers of a build: whose it is, and who takes over."""
        return [self.servers[name] for name in Ring(list(self.servers)).order(build.path)]

    def holders(self, build: Build) -> list[DevServer]:
        """Those that staged a build."""
        manifest = f"{build.path}/.devserver/manifest.json"
        return [server for server in self.servers.values() if (server.static_dir / manifest).exists()]

    def get(self, path: str, **query: str) -> requests.Response:
        """The answer that comes through nginx."""
        return requests.get(self.front + path, params=query, timeout=60)


@contextmanager
def a_lab(folder: Path, archive: FakeArchive) -> Iterator[Lab]:
    """Three devservers."""
    started = []
    for name in ("one", "two", "three"):
        (folder / name).mkdir()
        started.append(DevServer(folder / name, environment={"STORAGE_EMULATOR_HOST": archive.url}))
    servers = {f"127.0.0.1:{server.port}": server for server in started}
    client = Client([server.url for server in started], patience=20)
    port = free_port()
    configuration = spread_configuration(list(servers), port, folder / "front")
    with running_nginx(folder / "front", configuration, port) as front:
        yield Lab(servers, client, front)
    for server in started:
        server.close()


def some_builds(archive: FakeArchive, count: int) -> list[Build]:
    """So many builds in the archive."""
    return [make_build(version=f"R17-{number}.0.0").upload(archive) for number in range(count)]


@pytest.fixture
def lab(tmp_path: Path, archive: FakeArchive) -> Iterator[Lab]:
    """Three devservers, which the test may kill."""
    with a_lab(tmp_path, archive) as lab:
        yield lab


@pytest.fixture
def builds(archive: FakeArchive) -> list[Build]:
    """Some builds in the archive of ``lab``."""
    return some_builds(archive, 5)


class SharedLab(NamedTuple):
    """A lab for more than one test, and builds that each of them takes some of."""

    lab: Lab
    builds: Iterator[Build]

    def take(self, count: int) -> list[Build]:
        """So many builds that nobody asked for yet."""
        return list(islice(self.builds, count))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedLab]:
    """Three devservers that live."""
    with FakeArchive() as archive, a_lab(tmp_path_factory.mktemp("lab"), archive) as lab:
        yield SharedLab(lab, iter(some_builds(archive, 20)))


def stage_through_nginx(lab: Lab, build: Build) -> None:
    """All that a harness and a device ask for, as they ask for it."""
    check_success(lab.get("/download", archive_url=build.url))
    check_success(lab.get("/wait_for_status", archive_url=build.url))
    for path, content in build.files.items():
        assert lab.get(f"/static/{build.path}/{path}").content == content
    assert lab.get(f"/api/v1/builds/{build.path.replace('/', '%2F')}").json()["state"] == "staged"
    assert lab.get("/is_staged", archive_url=build.url, artifacts="stateful").text == "True"
    assert build.version in lab.get(f"/builds/{build.path}").text


def stage_with_the_client(lab: Lab, build: Build) -> None:
    """All that a harness asks for with the client."""
    lab.client.download(build.url)
    lab.client.wait_for_status(build.url)
    assert lab.client.build(build.path)["state"] == "staged"
    assert lab.client.is_staged(build.url, artifacts=["stateful"])
    assert list(lab.client.events(build.path))[-1].data["state"] == "staged"


# While all are there


def test_each_build_is_staged_on_one_devserver(shared: SharedLab) -> None:
    lab, builds = shared.lab, shared.take(6)
    for build in builds[:3]:
        stage_with_the_client(lab, build)
    for build in builds[3:]:
        stage_through_nginx(lab, build)
    for build in builds:  # who asks the other way finds what is staged
        stage_through_nginx(lab, build)
        stage_with_the_client(lab, build)
        assert lab.holders(build) == [lab.order(build)[0]]
    listed = [one["build"] for one in lab.client.builds()]
    assert listed == sorted(listed)
    assert set(listed) >= {build.path for build in builds}
    assert lab.client.start(builds[0].url) == builds[0].path
    assert lab.client.version()
    assert lab.client.health()["free_disk"]


def test_what_another_devserver_has_is_found(shared: SharedLab) -> None:
    lab, (build,) = shared.lab, shared.take(1)
    first, second, _ = lab.order(build)
    second.stage(build.url)
    assert lab.client.build(build.path)["state"] == "staged"
    lab.client.wait_for_status(build.url)
    assert lab.get(f"/static/{build.path}/stateful.tgz").ok
    assert lab.get(f"/builds/{build.path}").ok
    first.stage(build.url)
    assert [one["build"] for one in lab.client.builds(build.path)] == [build.path]


def test_a_build_is_kept_and_removed_where_it_is(shared: SharedLab) -> None:
    lab, (build,) = shared.lab, shared.take(1)
    lab.client.stage(build.url, artifacts=["stateful"])
    lease = lab.client.lease(build.path, 600)
    lab.client.renew(build.path, lease["id"], 700)
    lab.client.release(build.path, lease["id"])
    assert lab.client.pin(build.path)["pinned"]
    assert not lab.client.unpin(build.path)["pinned"]
    lab.client.remove(build.path)
    assert not lab.holders(build)


def test_a_client_of_the_front_alone_is_sent_to_the_same_devservers(shared: SharedLab) -> None:
    lab, builds = shared.lab, shared.take(3)
    client = Client(lab.front)
    for build in builds:
        assert client.start(build.url) == build.path
        assert list(client.events(build.path))[-1].data["state"] == "staged"
        assert lab.holders(build) == [lab.order(build)[0]]


def test_a_devserver_that_hangs_is_not_waited_for(shared: SharedLab) -> None:
    lab, (build,) = shared.lab, shared.take(1)
    first, second, _ = lab.order(build)
    first.process.send_signal(signal.SIGSTOP)
    try:
        Client([server.url for server in lab.servers.values()]).download(build.url, timeout=30)
    finally:
        first.process.send_signal(signal.SIGCONT)
    assert lab.holders(build) == [second]


def test_what_nobody_knows_is_refused_at_once(shared: SharedLab) -> None:
    lab, (build,) = shared.lab, shared.take(1)
    with pytest.raises(RequestRefused, match=r"^NotStaged"):
        lab.client.build("no/build")
    with pytest.raises(RequestRefused, match=r"^NotStaged"):
        next(lab.client.events("no/build"))
    with pytest.raises(StagingFailed, match=r"^NoDownload"):
        lab.client.wait_for_status(build.url)
    assert lab.get("/static/no/build/file").status_code == 404
    assert lab.get("/download", archive_url="gs://bucket/no/build").status_code == 500
    assert lab.get("/download").status_code == 400


def test_the_command_line_asks_them_all(shared: SharedLab) -> None:
    lab, (build,) = shared.lab, shared.take(1)
    one, *others = [server.url for server in lab.servers.values()]
    ended = in_a_pipe("stage", build.url, "--wait", "--server", one, "--server", ",".join(others))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert lab.holders(build) == [lab.order(build)[0]]
    listed = in_a_pipe("builds", build.path, DEVSERVER_SERVER=",".join([*others, one]))
    assert listed.stdout.count(build.path) == 1
    shown = in_a_pipe("status", "--server", "127.0.0.1:9", "--server", one)
    assert shown.returncode == 3
    assert one in shown.stdout


# When one is not


def test_with_one_of_three_down_everything_is_answered(lab: Lab, builds: list[Build]) -> None:
    lost, second, _ = lab.order(builds[0])
    lost.kill()
    for build in builds:
        stage_through_nginx(lab, build)
        stage_with_the_client(lab, build)
    assert second in lab.holders(builds[0])
    assert [one["build"] for one in lab.client.builds()] == sorted(build.path for build in builds)
    assert lab.client.version()
    assert lab.client.catalogue()
    for number in range(6):
        assert lab.get(f"/static/no/build-{number}/file").status_code == 404
        assert lab.get(f"/builds/no/build-{number}").status_code == 404
        assert lab.get("/check_health").ok
        assert lab.get("/api/v1/version").ok


def test_who_waits_goes_on_with_the_next_when_a_devserver_dies(
    lab: Lab, archive: FakeArchive, builds: list[Build]
) -> None:
    first, second, _ = lab.order(builds[0])
    with ThreadPoolExecutor(1) as pool, archive.holding("autotest.tar.bz2") as reached:
        lab.client.download(builds[0].url)
        assert reached.wait(10)
        waiting = pool.submit(lab.client.wait_for_status, builds[0].url)
        eventually(lambda: first.get("/check_health").json()["waiting_clients"])
        first.kill()
        eventually(lambda: second.get("/check_health").json()["staging_thread_count"])
    waiting.result(30)
    assert second in lab.holders(builds[0])


def test_a_download_goes_on_with_the_next_when_a_devserver_dies(
    lab: Lab, archive: FakeArchive, builds: list[Build]
) -> None:
    first, second, _ = lab.order(builds[0])
    with ThreadPoolExecutor(2) as pool, archive.holding("stateful.tgz") as reached:
        with_the_client = pool.submit(lab.client.download, builds[0].url)
        through_nginx = pool.submit(lab.get, "/download", archive_url=builds[0].url)
        assert reached.wait(10)
        eventually(lambda: first.get("/check_health").json()["waiting_clients"] == 2)
        first.kill()
    with_the_client.result(30)
    check_success(through_nginx.result(30))
    assert second in lab.holders(builds[0])


def test_a_lab_that_is_not_there_is_one_error() -> None:
    client = Client(["http://127.0.0.1:9", "http://127.0.0.1:19"], patience=0.6)
    for ask in (lambda: client.download("gs://a/b/c"), client.version, lambda: list(client.builds())):
        with pytest.raises(ServerUnreachable, match="cannot be reached"):
            ask()
    with pytest.raises(ValueError, match="no devserver to ask"):
        Client([])
