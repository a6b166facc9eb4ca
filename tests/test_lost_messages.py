"""What is taken off a queue and then lost, whoever took it, is given to another worker; and a Redis that starts again,
with or without what it held, loses nothing.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from staging.cluster.runs import Run
from tests.builds import Build
from tests.fake_archive import FakeArchive
from tests.redis_server import RedisServer
from tests.servers import DevServer, check_success, eventually
from tests.test_cluster import Cluster, broker, cluster, fetched  # noqa: F401 - fixtures


@contextmanager
def client_of(broker: RedisServer) -> Iterator[redis.Redis]:  # noqa: F811
    with redis.Redis(port=broker.port, decode_responses=True) as client:
        yield client


def taken(client: redis.Redis) -> tuple[str, int]:
    """Take a job off the queue, as a worker does that then says nothing: the run, and which attempt."""
    popped = client.brpop(["background"], 10)
    assert popped is not None
    _, run, attempt, _ = json.loads(b64decode(json.loads(popped[1])["body"]))[0]
    return run, attempt


def check_staged_by_another(server: DevServer, archive: FakeArchive, build: Build) -> None:
    check_success(server.wait_for_status(build.url, timeout="30"))
    build.check_staged(server.static_dir)
    assert set(fetched(archive).values()) == {1}


@pytest.mark.parametrize("is_begun", [False, True])
def test_a_job_whose_worker_died_or_hung_as_it_took_it_is_given_to_another(
    cluster: Cluster,  # noqa: F811
    archive: FakeArchive,
    build: Build,
    is_begun: bool,
) -> None:
    cluster.silence = "3"
    server = cluster.devserver("devserver", "--retry-deadline", "20")
    check_success(server.download(build.url))
    with client_of(cluster.broker) as client:
        for _ in range(3):
            run, attempt = taken(client)
            if is_begun:
                assert Run(client, run, 5).begin(attempt, "token")
    cluster.worker("other")
    check_staged_by_another(server, archive, build)
    assert server.log.count("a job was taken and not begun with for 3 s: it is given to another worker") == 3


def test_a_job_that_two_workers_lost_fails_where_there_is_no_other(
    cluster: Cluster,  # noqa: F811
    build: Build,
) -> None:
    cluster.silence = "1"
    server = cluster.devserver("devserver", "--retry-deadline", "6")
    check_success(server.download(build.url))
    with client_of(cluster.broker) as client:
        while [taken(client)[1] for _ in range(3)] != [2, 2, 2]:
            pass
    answer = server.wait_for_status(build.url, timeout="30")
    assert "WorkerDied: worker could not start: there was none in the cluster for 6 s" in answer.text


def test_a_redis_that_loses_all_between_giving_and_taking_loses_no_job(
    cluster: Cluster,  # noqa: F811
    archive: FakeArchive,
    build: Build,
) -> None:
    server = cluster.devserver("devserver", "--retry-deadline", "20")
    check_success(server.download(build.url))
    with client_of(cluster.broker) as client:
        eventually(lambda: client.llen("background") == 3)
        taken(client)
    cluster.broker.kill()
    cluster.broker.start_again()
    cluster.worker("worker")
    check_staged_by_another(server, archive, build)


def test_a_redis_that_reads_what_it_kept_is_waited_for(
    cluster: Cluster,  # noqa: F811
    archive: FakeArchive,
    build: Build,
) -> None:
    worker = cluster.worker("worker")
    server, other = (cluster.devserver(name, "--retry-deadline", "20") for name in ("a", "b"))
    with archive.holding("autotest.tar.bz2") as reached:
        check_success(server.download(build.url))
        assert reached.wait(10)
        cluster.broker.start_slowly(3)
        eventually(lambda: "the broker does not answer" in server.log)
        eventually(lambda: "the broker answers again" in server.log)
    for one in (other, server):
        check_success(one.wait_for_status(build.url, timeout="30"))
    build.check_staged(server.static_dir)  # what was held may have been asked for twice
    assert "is given to another" not in server.log
    assert worker.process.poll() is None


def test_who_starts_while_a_redis_reads_what_it_kept_waits_for_it(
    cluster: Cluster,  # noqa: F811
    archive: FakeArchive,
    build: Build,
) -> None:
    cluster.broker.start_slowly(6)
    worker, server = cluster.worker("worker"), cluster.devserver("devserver", "--retry-deadline", "20")
    check_success(server.download(build.url))
    check_staged_by_another(server, archive, build)
    assert worker.process.poll() is None


def test_a_job_that_is_in_the_queue_several_times_is_done_once(
    cluster: Cluster,  # noqa: F811
    archive: FakeArchive,
    build: Build,
) -> None:
    server = cluster.devserver("devserver", "--retry-deadline", "20")
    check_success(server.download(build.url))
    with client_of(cluster.broker) as client:
        eventually(lambda: client.llen("background") == 3)
        for message in client.lrange("background", 0, -1):
            client.lpush("background", message, message)
        cluster.worker("one")
        cluster.worker("two")
        check_staged_by_another(server, archive, build)
        eventually(lambda: not client.llen("background"))
        eventually(lambda: not client.hlen("unacked"))
    assert set(fetched(archive).values()) == {1}


def test_connections_that_are_cut_again_and_again_lose_no_job(
    cluster: Cluster,  # noqa: F811
    archive: FakeArchive,
    build: Build,
) -> None:
    cluster.worker("worker")
    server = cluster.devserver("devserver", "--retry-deadline", "20")
    _ = server.port
    with client_of(cluster.broker) as client:

        def is_waited() -> bool:
            return any(one["cmd"] == "brpop" for one in client.client_list())

        for _ in range(4):
            eventually(is_waited)
            client.client_kill_filter(_type="normal", skipme=True)
        check_success(server.download(build.url))
        client.client_kill_filter(_type="normal", skipme=True)
    check_staged_by_another(server, archive, build)
