"""A cluster: devservers and workers that share a static directory, with a Redis between them."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builds import Build
from tests.clusters import Worker
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.redis_server import RedisServer
from tests.servers import DevServer, cause_of, check_success, eventually
from tests.test_crashes import assert_tidy

SILENCE = ("--worker-silence", "3")


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
        self._archive = archive
        self._start_server = start_server

    def devserver(self, name: str, *options: str) -> DevServer:
        """Start a devserver of the cluster."""
        return self._start_server("--executor", "celery", "--broker", self.broker.url, *SILENCE, *options, name=name)

    def worker(self, name: str) -> Worker:
        """Start a worker."""
        environment = {"STORAGE_EMULATOR_HOST": self._archive.url}
        worker = Worker(self.directory, self.broker.url, environment, *SILENCE, name=name)
        self.workers.append(worker)
        return worker

    def at_work(self) -> Worker:
        """The worker that runs jobs, once one does."""
        return eventually(lambda: [worker for worker in self.workers if worker.jobs()])[0]


@pytest.fixture
def cluster(tmp_path: Path, broker: RedisServer, archive: FakeArchive, start_server: StartServer) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path, broker, archive, start_server)
    yield cluster
    for worker in cluster.workers:
        worker.close()


def fetched(archive: FakeArchive) -> Counter[str]:
    """How often the archive was asked for the first byte of each object."""
    return Counter(fetch.name for fetch in archive.fetches if fetch.start == 0)


@pytest.mark.parametrize("inline", ["--stage-inline", "--no-stage-inline"])
def test_a_build_is_staged_by_the_workers(cluster: Cluster, archive: FakeArchive, build: Build, inline: str) -> None:
    cluster.worker("worker")
    server = cluster.devserver("devserver", inline)
    server.stage(build.url)
    build.check_staged(server.static_dir)
    assert set(fetched(archive).values()) == {1}
    assert server.get("/check_health").json()["broker_reachable"] == 1


def test_a_killed_job_is_told_and_costs_only_what_it_was_staging(
    cluster: Cluster, archive: FakeArchive, build: Build
) -> None:
    worker = cluster.worker("worker")
    server = cluster.devserver("devserver")
    with archive.holding("autotest.tar.bz2") as reached:
        check_success(server.download(build.url))
        assert reached.wait(10)
        eventually(lambda: len(worker.jobs()) == 1)
        worker.jobs()[0].kill()
        answer = server.wait_for_status(build.url)
    assert cause_of(answer) == "WorkerDied: worker killed by SIGKILL while staging autotest"
    archive.forget()
    server.stage(build.url)
    assert set(fetched(archive)) == {"autotest.tar.bz2"}
    build.check_staged(server.static_dir)


def test_what_a_dead_machine_was_staging_is_staged_by_another(
    cluster: Cluster, archive: FakeArchive, build: Build
) -> None:
    cluster.worker("one")
    server = cluster.devserver("devserver")
    with archive.holding("autotest.tar.bz2") as reached:
        check_success(server.download(build.url))
        assert reached.wait(10)
        cluster.worker("two")
        cluster.workers[0].signal_all(signal.SIGKILL)
    check_success(server.wait_for_status(build.url, timeout="30"))
    build.check_staged(server.static_dir)
    assert "its job is given to another" in server.log


def test_a_machine_that_hung_and_goes_on_does_no_harm(cluster: Cluster, archive: FakeArchive, build: Build) -> None:
    hung = cluster.worker("hung")
    server = cluster.devserver("devserver")
    with archive.holding("autotest.tar.bz2") as reached:
        check_success(server.download(build.url))
        assert reached.wait(10)
        cluster.worker("other")
        hung.signal_all(signal.SIGSTOP)
    check_success(server.wait_for_status(build.url, timeout="30"))
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
    check_success(server.wait_for_status(build.url, timeout="30"))
    build.check_staged(server.static_dir)
