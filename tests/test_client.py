"""The Python client, against real devservers."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.builds import Build, make_build
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.servers import PROJECT, DevServer, check_success, eventually
from web.client import Client, ClientError, RequestRefused, ServerBusy, ServerUnreachable, StagingFailed, StillStaging

pytestmark = pytest.mark.shared_server


def test_a_harness_stages_a_build_with_it(server: DevServer, build: Build) -> None:
    client = Client(server.url)
    client.download(build.url)
    client.wait_for_status(build.url)
    client.stage(build.url, artifacts=["stateful"], files=["chromeos_*_full_*"])
    assert client.is_staged(build.url, artifacts=["stateful"], files=["chromeos_*_full_*"])
    assert not client.is_staged(build.url, artifacts=["firmware"])


def test_events_are_followed_to_the_outcome(server: DevServer, build: Build) -> None:
    client = Client(server.url)
    client.download(build.url)
    events = list(client.events(build.path))
    assert events[-1].kind == "outcome"
    assert events[-1].data["state"] == "staged"


@pytest.mark.own_server
def test_builds_are_started_listed_and_removed(server: DevServer, archive: FakeArchive, build: Build) -> None:
    client = Client(server.url)
    other = make_build(target="other").upload(archive)
    for one in (build, other):
        assert client.start(one.url, artifacts=["stateful"], files=["chromeos_*_full_*"]) == one.path
        assert list(client.events(one.path))[-1].data["state"] == "staged"
    assert client.build(build.path)["archive_url"] == build.url
    assert [one["build"] for one in client.builds()] == sorted([build.path, other.path])
    assert list(client.builds(prefix="other/")) == [client.build(other.path)]
    client.start(build.url, artifacts=["stateful"], clean=True)
    assert list(client.events(build.path))[-1].data["state"] == "staged"
    assert [artifact["name"] for artifact in client.build(build.path)["artifacts"]] == ["stateful"]
    client.remove(build.path)
    with pytest.raises(RequestRefused, match=r"^NotStaged"):
        client.build(build.path)


@pytest.mark.own_server
def test_builds_are_listed_over_all_pages(
    server: DevServer, archive: FakeArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.client.listing._PAGE", 2)
    builds = [make_build(version=f"R17-{number}.0.0").upload(archive) for number in range(5)]
    client = Client(server.url)
    for build in builds:
        client.stage(build.url, ["stateful"])
    assert [one["build"] for one in client.builds()] == [build.path for build in builds]


def test_work_is_cancelled_and_cannot_be_removed_before(server: DevServer, archive: FakeArchive, build: Build) -> None:
    client = Client(server.url)
    with archive.holding("autotest.tar.bz2") as reached:
        client.start(build.url)
        assert reached.wait(10)
        with pytest.raises(RequestRefused, match=r"^BuildBusy"):
            client.remove(build.path)
        cancelled = client.cancel(build.path)
    assert not cancelled["under_way"]
    assert {one["name"]: one["state"] for one in cancelled["artifacts"]}["autotest"] == "cancelled"
    with pytest.raises(RequestRefused, match=r"^NotUnderWay"):
        client.cancel(build.path)
    with pytest.raises(RequestRefused, match=r"^UnknownArtifact.*did you mean stateful"):
        client.start(build.url, artifacts=["statefull"])


def test_the_server_says_what_it_is_and_has(server: DevServer) -> None:
    client = Client(server.url)
    assert client.health().keys() >= {"free_disk", "staging_thread_count"}
    assert client.version()
    assert "stateful" in [entry["name"] for entry in client.catalogue() if entry["synchronous"]]


def test_failures_say_what_failed(server: DevServer, archive: FakeArchive, build: Build) -> None:
    client = Client(server.url)
    archive.put(build.bucket, f"{build.path}/autotest.tar.bz2", b"this is no tarball")
    client.download(build.url)
    with pytest.raises(StagingFailed, match=r"^BadTarball: autotest"):
        client.wait_for_status(build.url)
    with pytest.raises(StagingFailed, match="did you mean stateful"):
        client.stage(build.url, artifacts=["statefull"])
    with pytest.raises(RequestRefused, match=r"^InvalidArchiveUrl"):
        client.download("http://no/archive")
    with pytest.raises(RequestRefused, match=r"^NotStaged"):
        next(client.events("no/build"))


def test_a_timeout_is_told_as_one(server: DevServer, archive: FakeArchive, build: Build) -> None:
    client = Client(server.url)
    with archive.holding("autotest.tar.bz2") as reached:
        client.download(build.url)
        assert reached.wait(10)
        with pytest.raises(StillStaging):
            client.wait_for_status(build.url, timeout=0.2)
    with archive.holding("stateful.tgz"), pytest.raises(StillStaging):
        client.stage(build.url, artifacts=["stateful"], clean=True, timeout=0.5)


def test_a_server_that_is_not_there_is_one_error() -> None:
    with pytest.raises(ServerUnreachable, match="cannot be reached"):
        Client("http://127.0.0.1:9", patience=0.6).is_staged("gs://a/b/c", artifacts=["stateful"])
    assert issubclass(ServerUnreachable, ClientError)


def test_a_restart_of_the_server_is_waited_for(start_server: StartServer, build: Build) -> None:
    first = start_server()
    port = first.port
    first.close()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(Client(f"http://127.0.0.1:{port}").stage, build.url, ["stateful"])
        second = start_server("--port", str(port), name="second")
        answer.result(30)
    assert (second.static_dir / build.path / "stateful.tgz").exists()


def test_no_room_for_another_waiter_is_waited_for(
    start_server: StartServer, archive: FakeArchive, build: Build
) -> None:
    server = start_server("--max-threads", "1")
    probe = {"archive_url": build.url, "timeout": "0"}
    with ThreadPoolExecutor(2) as pool, archive.holding("autotest.tar.bz2") as reached:
        check_success(server.download(build.url))
        assert reached.wait(10)
        waiting = pool.submit(Client(server.url).wait_for_status, build.url)
        eventually(lambda: server.get("/wait_for_status", **probe).status_code == 503)
        with pytest.raises(ServerBusy):
            Client(server.url, patience=0.5).wait_for_status(build.url)
        patient = pool.submit(Client(server.url).wait_for_status, build.url)
    patient.result(30)
    waiting.result(30)


def test_it_needs_no_cherrypy() -> None:
    code = "import sys, web.client; sys.exit('cherrypy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False).returncode == 0
