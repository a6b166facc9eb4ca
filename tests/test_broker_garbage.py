"""A cluster whose Redis holds what nobody of the cluster wrote: each of it is told and left out, and all live on."""

from __future__ import annotations

import json
import pickle
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from staging.cluster.messages import data_of
from staging.cluster.news import Bulletin
from staging.cluster.transport import checked_message
from staging.errors import ObjectNotFound
from staging.messages import BadMessage, Expected, cause_of, event_of
from staging.status import BuildStatus, Event, State
from tests.builds import Build, make_build
from tests.fake_archive import FakeArchive
from tests.redis_server import RedisServer
from tests.servers import check_success, eventually
from tests.test_cluster import Cluster, broker, cluster  # noqa: F401 - fixtures

TASK = "devserver.run_job"
QUEUES = ("synchronous", "background")


def message(**changed: Any) -> bytes:
    """A message of Celery's, with some of it changed."""
    body = b64encode(json.dumps([["a:b", "0" * 32, 1, {}], {}, {}]).encode()).decode()
    tag = {"delivery_tag": "t", "delivery_info": {"exchange": "", "routing_key": "background"}}
    whole = {
        "headers": {"task": TASK, "id": "1"},
        "properties": {**tag, "body_encoding": "base64"},
        "body": body,
        "content-type": "application/json",
        "content-encoding": "utf-8",
    }
    return json.dumps({**whole, **changed}).encode()


def body_of(*parts: Any) -> str:
    return b64encode(json.dumps(parts).encode()).decode()


WRONG: tuple[object, ...] = (None, 1, [1], {}, ["x"], "\ud800", "../x")
IN_QUEUES = [
    b"no JSON",
    b"",
    b"\xff\xfe\x00",
    b"{}",
    b"[]",
    b"null",
    b'"text"',
    b"NaN",
    b"[" * 100_000,
    b'{"__type__": "datetime", "__value__": "x"}',
    b"x" * 8_000_000,
    message(headers=None),
    message(headers={"task": "os.system", "id": "1"}),
    message(headers={"task": TASK}),
    message(headers={"task": TASK, "id": []}),
    message(headers={"task": TASK, "id": "1", "eta": "x", "expires": [], "timelimit": "x", "compression": "zlib"}),
    message(properties={}),
    message(properties=[]),
    message(properties={"delivery_tag": {}, "delivery_info": {}}),
    message(body=None),
    message(body="\u00fc"),
    message(body="x"),
    message(body=b64encode(pickle.dumps(print)).decode()),
    message(**{"content-type": "application/x-python-serialize", "body": b64encode(pickle.dumps(print)).decode()}),
    message(**{"content-type": "application/data"}),
    message(**{"content-encoding": "rot13"}),
    message(body=body_of([], {}, {})),
    message(body=body_of([1, 2, 3, 4], {}, {})),
    message(body=body_of(["a:b", "../x", 1, {}], {}, {})),
    message(body=body_of(["os:system", "0" * 32, 1, {"x": "y"}], {}, {})),
    message(body=body_of(["a:b", "0" * 32, 1, {}], {"name": 1}, {"chord": 1, "callbacks": [1]})),
]
GOOD = Build()
BULLETIN = json.loads(Bulletin.of(BuildStatus(GOOD.url, GOOD.path, {"x": True}), "0" * 32, "1" * 32).to_text())
BULLETINS: list[str] = [
    "",
    "no JSON",
    "null",
    "[]",
    "{}",
    "[" * 100_000,
    "x" * 2_000_000,
    *(json.dumps({name: value for name, value in BULLETIN.items() if name != left_out}) for left_out in BULLETIN),
    *(json.dumps({**BULLETIN, name: wrong}) for name in BULLETIN for wrong in WRONG),
    *(
        json.dumps({**BULLETIN, "events": [{**BULLETIN["events"][0], name: wrong}]})
        for name, wrong in (
            ("build", "../../etc"),
            ("build", "other/build"),
            ("artifact", "other"),
            ("artifact", []),
            ("state", "x"),
            ("state", {}),
            ("bytes_done", "x"),
            ("bytes_done", -1),
            ("bytes_done", 10**400),
            ("cause", {"kind": "x", "args": []}),
            ("cause", {"kind": "ObjectNotFound", "args": [1, 2, 3, 4, 5]}),
            ("cause", "x"),
            ("note", 1),
        )
    ),
]


@pytest.mark.parametrize("text", BULLETINS, ids=lambda text: text[:80])
def test_a_bulletin_that_is_none_is_refused(text: str) -> None:
    is_good_still = False
    try:
        Bulletin.from_text(text)
        is_good_still = True
    except BadMessage:
        pass
    # A text field may hold any text.
    assert not is_good_still or json.loads(text)["request_id"] != "" or json.loads(text)["archive_url"] != GOOD.url


def test_a_bulletin_of_a_later_version_is_read() -> None:
    assert Bulletin.from_text(json.dumps({**BULLETIN, "more": 1})) == Bulletin.from_text(json.dumps(BULLETIN))


@pytest.mark.parametrize("text", IN_QUEUES, ids=lambda text: repr(text[:60]))
def test_celery_is_given_nothing_but_jobs(text: bytes) -> None:
    try:
        found = checked_message(data_of(text.decode(errors="replace")), TASK)
    except BadMessage:
        return
    assert set(found["headers"]) == {"task", "id", "root_id", "timelimit", "retries", "ignore_result", "lang"}


def test_what_is_told_of_a_job_is_of_that_job() -> None:
    event = Event(GOOD.path, "stateful", State.FAILED, 1, 2, cause=ObjectNotFound("gs://a/b"))
    assert str(event_of(event.to_json(), Expected(GOOD.path, frozenset({"stateful"}))).cause) == str(event.cause)
    for expected in (Expected(None, frozenset({"other"})), Expected("other/build")):
        with pytest.raises(BadMessage):
            event_of(event.to_json(), expected)
    with pytest.raises(BadMessage):
        cause_of({"kind": "DiskFull", "args": []})


def fill_with_garbage(client: redis.Redis) -> None:
    """Put garbage wherever the cluster looks."""
    for queue in QUEUES:
        client.rpush(queue, *IN_QUEUES)
    for number, text in enumerate([*IN_QUEUES, b"[1, 2, 3]", b"[null, null, null]"]):
        client.hset("unacked", f"tag{number}", text)
        client.zadd("unacked_index", {f"tag{number}": 1})
    for bulletin in BULLETINS:
        client.xadd("devserver:news", {"bulletin": bulletin.encode(errors="surrogatepass")})
    client.xadd("devserver:news", {"other": b"\xff\xfe"})
    for number, bulletin in enumerate(BULLETINS):
        client.set(f"devserver:download:{number}", bulletin.encode(errors="surrogatepass"))
    client.rpush("devserver:download:list", "x")
    client.set("_kombu.binding.devserver", "x")


def make_of_another_type(client: redis.Redis) -> None:
    """Put something else in the place of each key that is known."""
    for key in (*QUEUES, "unacked", "unacked_index", "devserver:news"):
        client.delete(key)
        client.set(key, "x") if key != "unacked" else client.rpush(key, "x")


def test_garbage_everywhere_ends_nothing(cluster: Cluster, broker: RedisServer, archive: FakeArchive) -> None:  # noqa: F811
    cluster.silence = "20"  # whatever else the machine does
    patient = ("--retry-deadline", "20")
    worker, server = cluster.worker("worker"), cluster.devserver("devserver", "--no-stage-inline", *patient)
    other = cluster.devserver("other", *patient)
    with redis.Redis(port=broker.port) as client:
        eventually(lambda: broker.count_keys("devserver:worker:*"))
        for number, disturb in enumerate((fill_with_garbage, make_of_another_type, fill_with_garbage)):
            disturb(client)
            build = make_build(version=f"R17-{number}.0.0").upload(archive)
            check_success(server.download(build.url))
            check_success(other.wait_for_status(build.url, timeout="50"))
            build.check_staged(server.static_dir)
    assert worker.process.poll() is None
    for log in (server.log, other.log, worker.log_file.read_text()):
        assert "Traceback" not in log
    assert "what no devserver told, which is left out" in other.log
    assert "a message in the queue is no job, and is left out" in worker.log_file.read_text()


def told_to_the_run(client: redis.Redis) -> Iterator[bytes]:
    yield from client.scan_iter("devserver:run:*:told")


def test_garbage_in_what_is_told_of_a_job_does_not_end_it(
    cluster: Cluster,  # noqa: F811
    broker: RedisServer,  # noqa: F811
    archive: FakeArchive,
    build: Build,
) -> None:
    cluster.silence = "20"
    cluster.worker("worker")
    server = cluster.devserver("devserver", "--retry-deadline", "20")
    with redis.Redis(port=broker.port) as client, archive.holding("autotest.tar.bz2") as reached:
        check_success(server.download(build.url))
        assert reached.wait(20)
        key = next(told_to_the_run(client))
        for text in ("no JSON", "[]", "[1]", '[1, "event", null]', '[1, "event", {"build": "../x"}]', '[1, "x", {}]'):
            client.xadd(key, {"told": text})
        client.xadd(key, {"other": b"\xff"})
        client.xadd(key, {"told": json.dumps([1, "event", Event("other/build", "x", State.FAILED).to_json()])})
    check_success(server.wait_for_status(build.url, timeout="50"))
    assert "Traceback" not in server.log
    assert "which is left out" in server.log


def refusals(client: redis.Redis) -> int:
    """How often the Redis said no since its counters were set back."""
    return int(client.info("stats")["total_error_replies"])


def say_no(client: redis.Redis) -> Iterator[Callable[[], Any]]:
    """Ways in which a Redis says no, or forgets all; each is followed by what ends it."""
    client.flushall()
    yield lambda: None
    client.config_set("maxmemory", "1")
    yield lambda: eventually(lambda: refusals(client) >= 5) and client.config_set("maxmemory", "0")
    client.replicaof("127.0.0.1", "1")
    yield lambda: eventually(lambda: refusals(client) >= 5) and client.replicaof("NO", "ONE")


def test_a_broker_that_says_no_for_a_while_ends_nothing(
    cluster: Cluster,  # noqa: F811
    broker: RedisServer,  # noqa: F811
    archive: FakeArchive,
) -> None:
    cluster.silence = "20"
    worker, server = cluster.worker("worker"), cluster.devserver("devserver", "--retry-deadline", "40")
    with redis.Redis(port=broker.port) as client:
        eventually(lambda: broker.count_keys("devserver:worker:*"))
        for number, heal in enumerate(say_no(client)):
            build = make_build(version=f"R17-{number}.0.0").upload(archive)
            client.config_resetstat()
            asked = server.ask("/download", archive_url=build.url)
            heal()
            check_success(asked.result(60))
            check_success(server.wait_for_status(build.url, timeout="50"))
    assert worker.process.poll() is None
    assert "Traceback" not in server.log


@pytest.mark.parametrize("is_begun", [False, True])
def test_a_broker_that_says_no_when_a_job_is_taken_or_finished_does_not_end_the_worker(
    cluster: Cluster,  # noqa: F811
    broker: RedisServer,  # noqa: F811
    archive: FakeArchive,
    build: Build,
    is_begun: bool,
) -> None:
    worker, server = cluster.worker("worker"), cluster.devserver("devserver", "--retry-deadline", "40")
    with redis.Redis(port=broker.port) as client:
        eventually(lambda: broker.count_keys("devserver:worker:*"))
        with archive.holding("autotest.tar.bz2") as reached:
            if is_begun:
                check_success(server.download(build.url))
                assert reached.wait(20)
                client.replicaof("127.0.0.1", "1")
        if not is_begun:
            client.acl_setuser("default", enabled=True, commands=["-zadd"])
            check_success(server.download(build.url))
        eventually(lambda: "the broker says no to a note of a job" in worker.log_file.read_text())
        if is_begun:
            client.replicaof("NO", "ONE")
        else:
            client.acl_setuser("default", enabled=True, commands=["+zadd"])
    check_success(server.wait_for_status(build.url, timeout="50"))
    assert worker.process.poll() is None
