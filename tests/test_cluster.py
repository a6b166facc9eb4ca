"""A cluster: devservers and workers that share a static directory, with a Redis between them."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from artifacts.job import StageRequest, StagingOptions
from staging.archives import AllowedArchives
from staging.errors import ArchiveNotAllowed
from tests.builds import Build, make_build
from tests.clusters import Worker
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive, Fault
from tests.redis_server import RedisServer
from tests.servers import PROJECT, DevServer, cause_of, check_success, eventually
from tests.terminal import environment
from tests.test_crashes import assert_tidy
from wiring.executors import Jobs
from wiring.signals import MEANINGLESS


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as broker:
        yield broker


class Cluster:
    """What a test starts of a cluster."""

    def __init__(self, directory: Path, broker: RedisServer, archive: FakeArchive, start_server: StartServer) -> None:
        self.directory = directory
        self.broker = broker
        self.workers: list[Worker] = []
        self.silence = "5"  # seconds
        self._archive = archive
        self._start_server = start_server

    def devserver(self, name: str, *options: str) -> DevServer:
        """Start a devserver of the cluster."""
        return self._start_server(
            "--executor", "celery", "--broker", self.broker.url, "--worker-silence", self.silence, *options, name=name
        )

    def worker(self, name: str) -> Worker:
        """Start a worker."""
        environment = {"STORAGE_EMULATOR_HOST": self._archive.url}
        worker = Worker(self.directory, self.broker.url, environment, "--worker-silence", self.silence, name=name)
        self.workers.append(worker)
        return worker


@pytest.fixture
def cluster(tmp_path: Path, broker: RedisServer, archive: FakeArchive, start_server: StartServer) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path, broker, archive, start_server)
    yield cluster
    for worker in cluster.workers:
        worker.close()


def fetched(archive: FakeArchive) -> Counter[str]:
    """How often the archive was asked for the first byte of each object."""
    return Counter(fetch.name for fetch in archive.fetches if fetch.start == 0)


def test_a_dead_job_is_told_and_a_dead_machines_is_staged_by_another(
    cluster: Cluster, archive: FakeArchive, build: Build
) -> None:
    worker = cluster.worker("one")
    server = cluster.devserver("devserver")
    with archive.holding("autotest.tar.bz2") as reached:
        check_success(server.download(build.url))
        assert reached.wait(10)
        eventually(lambda: len(worker.jobs()) == 1)
        worker.jobs()[0].kill()
        answer = server.wait_for_status(build.url)
    assert cause_of(answer) == "WorkerDied: worker killed by SIGKILL while staging autotest"
    archive.forget()
    with archive.holding("autotest.tar.bz2") as reached:
        check_success(server.download(build.url))
        assert reached.wait(10)
        worker.signal_all(signal.SIGKILL)
        cluster.worker("two")
    check_success(server.wait_for_status(build.url, timeout="55"))
    assert set(fetched(archive)) == {"autotest.tar.bz2"}
    build.check_staged(server.static_dir)
    assert "its job is given to another" in server.log


def test_a_machine_that_hung_and_goes_on_does_no_harm(cluster: Cluster, archive: FakeArchive, build: Build) -> None:
    hung = cluster.worker("hung")
    server = cluster.devserver("devserver")
    with archive.holding("autotest.tar.bz2") as reached:
        check_success(server.download(build.url))
        assert reached.wait(10)
        cluster.worker("other")
        eventually(lambda: cluster.broker.count_keys("devserver:worker:*") == 2)
        hung.signal_all(signal.SIGSTOP)
    try:
        check_success(server.wait_for_status(build.url, timeout="50"))
    finally:
        hung.signal_all(signal.SIGCONT)
    eventually(lambda: not hung.jobs())
    build.check_staged(server.static_dir)
    assert server.stop() == 0
    server.start_again()  # the lock of who hung is cleared up at the next start
    _ = server.port
    assert_tidy(server.static_dir)


def test_a_worker_that_is_told_to_end_gives_its_job_to_another(
    cluster: Cluster, archive: FakeArchive, build: Build
) -> None:
    first = cluster.worker("first")
    server = cluster.devserver("devserver", "--worker-silence", "60")
    with archive.holding("autotest.tar.bz2") as reached:
        check_success(server.download(build.url))
        assert reached.wait(10)
        cluster.worker("second")
        first.close()
        assert first.process.returncode == 0
    check_success(server.wait_for_status(build.url, timeout="55"))
    build.check_staged(server.static_dir)


def test_a_signal_that_means_nothing_does_not_end_a_worker(
    cluster: Cluster, archive: FakeArchive, build: Build
) -> None:
    worker, server = cluster.worker("worker"), cluster.devserver("devserver", "--retry-deadline", "20")
    eventually(lambda: cluster.broker.count_keys("devserver:worker:*"))
    with archive.holding("autotest.tar.bz2") as reached:
        check_success(server.download(build.url))
        assert reached.wait(10)
        for number in MEANINGLESS:
            worker.process.send_signal(number)
    check_success(server.wait_for_status(build.url))
    assert worker.process.poll() is None


def test_a_hundred_callers_of_two_devservers_are_told_and_each_object_is_fetched_once(
    cluster: Cluster, archive: FakeArchive
) -> None:
    cluster.silence = "60"  # whatever else the machine does
    builds = [make_build(version=f"R17-{number}.0.0").upload(archive) for number in range(10)]
    servers = [cluster.devserver("a"), cluster.devserver("b", "--no-stage-inline")]
    for name in ("one", "two"):
        cluster.worker(name)
    for rpc in ("/download", "/wait_for_status"):
        asked = [servers[number % 2].ask(rpc, archive_url=builds[number // 2 % 10].url) for number in range(100)]
        for answer in asked:
            check_success(answer.result(60))
    for build in builds:
        build.check_staged(servers[0].static_dir)
    assert set(fetched(archive).values()) == {10}


def test_whoever_asks_another_devserver_is_told_the_same_of_success_and_failure(
    cluster: Cluster, archive: FakeArchive, build: Build
) -> None:
    a, b = cluster.devserver("a"), cluster.devserver("b")
    cluster.worker("worker")
    with archive.holding("autotest.tar.bz2") as reached:
        check_success(a.download(build.url))
        assert reached.wait(10)
        waiter = b.ask("/wait_for_status", archive_url=build.url)
        eventually(lambda: state_at(b, build, "nton_payload") == "staged")
        assert state_at(b, build, "autotest") == "downloading"
        assert not waiter.done()
        late = cluster.devserver("late")  # it did not hear how it began
        eventually(lambda: state_at(late, build, "autotest") == "downloading")
        joined = late.ask("/download", archive_url=build.url)
        check_success(joined.result(10))
    check_success(waiter.result(20))
    assert set(fetched(archive).values()) == {1}
    assert "nton_payload staged" not in b.log  # that is in the log of who staged it

    other = make_build(version="R18-1.0.0").upload(archive)
    archive.fail_always("autotest.tar.bz2", Fault(status=403))
    check_success(a.download(other.url))
    causes = {cause_of(server.wait_for_status(other.url)) for server in (b, a)}
    assert len(causes) == 1
    assert causes.pop().startswith("AccessDenied: ")


@pytest.mark.parametrize("end", [DevServer.kill, DevServer.stop])
def test_what_a_devserver_was_staging_that_ended_is_told_by_the_other(
    cluster: Cluster, archive: FakeArchive, build: Build, end: Callable[[DevServer], object]
) -> None:
    a, b = cluster.devserver("a"), cluster.devserver("b")
    cluster.worker("worker")
    with archive.holding("autotest.tar.bz2") as reached:
        check_success(a.download(build.url))
        assert reached.wait(10)
        early = b.ask("/wait_for_status", archive_url=build.url)
        eventually(lambda: state_at(b, build, "autotest") == "downloading")
        end(a)
        eventually(lambda: "the download that was cut off goes on" in b.log)
        late = b.ask("/wait_for_status", archive_url=build.url)
    for waiter in (early, late):
        check_success(waiter.result(40))
    build.check_staged(b.static_dir)


def test_a_redis_that_dies_and_comes_back_costs_nothing(cluster: Cluster, archive: FakeArchive, build: Build) -> None:
    server = cluster.devserver("devserver", "--retry-deadline", "20")
    cluster.worker("worker")
    with archive.holding("autotest.tar.bz2") as reached:
        check_success(server.download(build.url))
        assert reached.wait(10)
        cluster.broker.kill()
        eventually(lambda: server.get("/check_health").json()["broker_reachable"] == 0)
        cluster.broker.start_again()
        eventually(lambda: server.get("/check_health").json()["broker_reachable"] == 1)
    check_success(server.wait_for_status(build.url))
    other = make_build(version="R18-1.0.0").upload(archive)
    server.stage(other.url)
    assert set(fetched(archive).values()) == {2}  # once for each build
    assert server.log.count("the broker does not answer") == 1
    assert server.log.count("the broker answers again") == 1


def test_what_needs_workers_or_a_redis_that_stay_away_fails_with_the_cause(
    cluster: Cluster, archive: FakeArchive, build: Build
) -> None:
    server = cluster.devserver("devserver", "--retry-deadline", "2")
    check_success(server.download(build.url))
    answer = server.wait_for_status(build.url)
    assert cause_of(answer).startswith("WorkerDied: worker could not start: there was none in the cluster for 2 s")
    cluster.broker.kill()
    check_success(server.download(build.url))
    answer = server.wait_for_status(build.url)
    assert cause_of(answer).startswith("BrokerUnreachable: the broker between this devserver and its workers did not ")
    cluster.broker.start_again()
    cluster.worker("worker")
    eventually(lambda: cluster.broker.count_keys("devserver:worker:*"))
    server.stage(build.url)
    build.check_staged(server.static_dir)


def test_a_worker_stages_where_it_was_told_and_from_what_it_may(tmp_path: Path) -> None:
    mine, others = StagingOptions(tmp_path), StagingOptions(Path("/etc"), run_packager=True)
    jobs = Jobs(mine, AllowedArchives.parse(["gs://mine"]))
    request = StageRequest("gs://mine/target/version", [], others)
    assert jobs.as_we_stage(request.to_json()) == replace(request, options=mine).to_json()
    with pytest.raises(ArchiveNotAllowed):
        jobs.as_we_stage(replace(request, archive_url="gs://another/target/version").to_json())


def test_synchronous_artifacts_may_be_staged_by_a_process_of_this_machine(
    start_server: StartServer, archive: FakeArchive, build: Build
) -> None:
    server = start_server("--no-stage-inline")
    with archive.holding("stateful.tgz") as reached:
        download = server.ask("/download", archive_url=build.url)
        assert reached.wait(10)
        for worker in server.workers():  # the first of them may be the one that only warms up
            worker.kill()
        assert cause_of(download.result(10)).startswith("WorkerDied: worker killed by SIGKILL while staging ")
    server.stage(build.url)
    build.check_staged(server.static_dir)


def state_at(server: DevServer, build: Build, artifact: str) -> str:
    """The state of an artifact, as the JSON API of a devserver has it."""
    answer = server.get(f"/api/v1/builds/{build.path}").json()
    return next((one["state"] for one in answer.get("artifacts", ()) if one["name"] == artifact), "")


def test_the_demonstration_kills_and_loses_nothing() -> None:
    command = [sys.executable, "-m", "demo.cluster", "--size-mb", "20"]
    shown = subprocess.run(command, cwd=PROJECT, env=environment(), capture_output=True, text=True, timeout=120)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert len(re.findall(r"(worker-\d|devserver-\w) is killed by SIGKILL", shown.stdout)) == 2
    assert "all are right. Nothing was lost." in shown.stdout
