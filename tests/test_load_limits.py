"""Limits on what may be under way, fair turns, and a server that says how loaded it is."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event as Flag
from threading import Thread

import pytest
import requests

from staging.slots import Slots
from tests.builds import Build, noise
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.servers import DevServer, cause_of, check_success, eventually

pytestmark = pytest.mark.shared_server

ADDRESSES = ("10.0.0.1", "10.0.0.2")  # of clients, as an nginx in front tells them


@pytest.fixture
def builds(archive: FakeArchive) -> list[Build]:
    """Some builds, each with one object that can be held back: their versions are in the objects' names."""
    return [make_small_build(archive, f"R17-{number}.0.0") for number in range(8)]


def make_small_build(archive: FakeArchive, version: str, size: int = 1000) -> Build:
    build = Build(version=version)
    build.objects = {f"{version}.bin": noise(size, version)}
    build.files = dict(build.objects)
    return build.upload(archive)


def stage(server: DevServer, build: Build, client: str = "", **query: str) -> requests.Response:
    """Have the build's one object staged, as a client at an address."""
    query = {"archive_url": build.url, "files": next(iter(build.objects)), **query}
    headers = {"X-Forwarded-For": client} if client else {}
    return requests.get(f"{server.url}/stage", params=query, headers=headers, timeout=60)


def start_staging(server: DevServer, build: Build, client: str = "") -> None:
    answer = stage(server, build, client, **{"async": "True"})
    assert answer.status_code == 200, answer.text


@contextmanager
def held(server: DevServer, archive: FakeArchive, build: Build) -> Iterator[None]:
    """The build takes a place, and keeps it."""
    with archive.holding(next(iter(build.objects)), after=0) as reached:
        start_staging(server, build)
        assert reached.wait(10)
        yield


def health(server: DevServer) -> dict[str, float]:
    figures: dict[str, float] = server.get("/check_health").json()
    return figures


def check_refused(answer: requests.Response, why: str) -> None:
    """It is an answer on which every client waits and asks again."""
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "Service Unavailable" in answer.text
    assert cause_of(answer).startswith("Overloaded: Service Unavailable: ")
    assert why in cause_of(answer)


def test_what_would_wait_behind_a_full_queue_is_refused_at_once(
    start_server: StartServer, archive: FakeArchive, builds: list[Build]
) -> None:
    server = start_server("--max-downloads", "1", "--max-queue", "1")
    running, waiting, refused, *_ = builds
    with held(server, archive, running):
        start_staging(server, waiting)
        check_refused(stage(server, refused), "2 downloads are under way or wait for a place, as many as may")
        check_refused(server.get("/download", archive_url=refused.url), "as many as may")
        problem = requests.post(f"{server.url}/api/v1/builds", json={"archive_url": refused.url}, timeout=10)
        assert problem.status_code == 503
        assert problem.headers["Content-Type"] == "application/problem+json"
        assert problem.json()["type"] == "urn:devserver:error:Overloaded"
        assert int(problem.headers["Retry-After"]) > 0
        # Nothing was begun, and who joins what is under way is not refused.
        assert server.get(f"/api/v1/builds/{refused.path}").status_code == 404
        joined = server.ask("/stage", archive_url=waiting.url, files=next(iter(waiting.objects)))
        start_staging(server, running)
    check_success(joined.result(20))
    check_success(stage(server, refused))


def test_without_a_queue_nothing_waits(start_server: StartServer, archive: FakeArchive, builds: list[Build]) -> None:
    server = start_server("--max-downloads", "1", "--max-queue", "0")
    with held(server, archive, builds[0]):
        check_refused(stage(server, builds[1]), "1 downloads are under way")
    check_success(stage(server, builds[0]))
    eventually(lambda: stage(server, builds[1]).status_code == 200)  # the other's is over a moment after it is staged


def test_a_client_may_have_so_many_downloads_under_way(
    start_server: StartServer, archive: FakeArchive, builds: list[Build]
) -> None:
    server = start_server("--max-downloads-per-client", "2", "--front", "nginx")
    mine, others = ADDRESSES
    first, second, third, *_ = builds
    with ExitStack() as stack:
        for build in (first, second):
            reached = stack.enter_context(archive.holding(next(iter(build.objects)), after=0))
            start_staging(server, build, mine)
            assert reached.wait(10)
        check_refused(stage(server, third, mine), f"{mine} has 2 downloads under way, as many as one client may")
        # What others started, one may join; and others may start what they like.
        start_staging(server, first, mine)
        check_success(stage(server, third, others))
        check_success(stage(server, third, mine))
    for build in (first, second):
        check_success(stage(server, build, mine))
    eventually(
        lambda: stage(server, builds[3], mine).status_code == 200
    )  # they are over a moment after they are staged


def test_the_build_that_has_moved_fewest_bytes_goes_first(start_server: StartServer, archive: FakeArchive) -> None:
    server = start_server("--max-downloads", "1")
    heavy = make_small_build(archive, "heavy", 500_000)
    heavy.objects["more.bin"] = b"more"
    heavy.upload(archive)
    check_success(stage(server, heavy))
    running, fresh = (make_small_build(archive, name) for name in ("running", "fresh"))
    with held(server, archive, running):
        heavy.objects.pop("heavy.bin")
        start_staging(server, heavy)
        eventually(lambda: health(server)["queued_downloads"] == 1)
        start_staging(server, fresh)
        eventually(lambda: health(server)["queued_downloads"] == 2)
        assert "and 1 more are ahead" in eventually(lambda: server.log if "1 more are ahead" in server.log else "")
        archive.forget()
    check_success(stage(server, heavy))
    check_success(stage(server, fresh))
    read = [fetch.name for fetch in archive.fetches if fetch.name in ("more.bin", "fresh.bin")]
    assert read == ["fresh.bin", "more.bin"]


def test_builds_that_have_moved_as_much_go_in_the_order_in_which_they_came(
    start_server: StartServer, archive: FakeArchive, builds: list[Build]
) -> None:
    server = start_server("--max-downloads", "1")
    first, *others = builds[:4]
    with held(server, archive, first):
        for number, build in enumerate(others, 1):
            start_staging(server, build)
            eventually(lambda number=number: health(server)["queued_downloads"] == number)  # type: ignore[misc]
    for build in others:
        check_success(stage(server, build))
    names = [next(iter(build.objects)) for build in builds[:4]]
    assert [fetch.name for fetch in archive.fetches] == names


def test_nobody_starves() -> None:
    slots = Slots(1)
    let_in: list[str] = []

    def enter(name: str, moved: int) -> Thread:
        def wait_for_it() -> None:
            with slots.taken(Flag(), lambda _: None, lambda: moved):
                let_in.append(name)

        thread = Thread(target=wait_for_it)
        thread.start()
        return thread

    def queued(name: str, moved: int) -> Thread:
        before = slots.queue_length
        thread = enter(name, moved)
        eventually(lambda: slots.queue_length == before + 1)
        return thread

    with slots.taken(Flag(), lambda _: None):
        threads = [queued("heavy", 10**12), *(queued(f"fresh {number}", 0) for number in range(30))]
    for thread in threads:
        thread.join(20)
    assert let_in.index("heavy") == 20
    assert len(let_in) == 31


# Health


def overloaded(server: DevServer) -> bool:
    return health(server)["overloaded"] == 1


def answers_quickly(server: DevServer) -> bool:
    """Whether /check_health does; the best of a few, for what else the machine does is not the server's."""
    took = []
    for _ in range(10):
        began = time.monotonic()
        health(server)
        took.append(time.monotonic() - began)
    return min(took) < 0.1


def test_an_idle_server_is_not_overloaded(server: DevServer) -> None:
    figures = health(server)
    assert (figures["queued_downloads"], figures["waiting_clients"], figures["overloaded"]) == (0, 0, 0)
    assert figures["free_seats"] == 4500


def test_health_counts_who_waits(start_server: StartServer, archive: FakeArchive, builds: list[Build]) -> None:
    server = start_server("--max-threads", "2", "--max-downloads", "2", "--max-queue", "1")
    with held(server, archive, builds[0]):
        query = {"archive_url": builds[0].url, "files": next(iter(builds[0].objects))}
        waiters = [server.ask("/stage", **query)]
        eventually(lambda: (health(server)["waiting_clients"], health(server)["free_seats"]) == (1, 1))
        assert not overloaded(server)
        waiters.append(server.ask("/stage", **query))
        eventually(lambda: health(server)["free_seats"] == 0)
        assert overloaded(server)
        assert answers_quickly(server)
    for waiter in waiters:
        check_success(waiter.result(20))
    eventually(lambda: not overloaded(server))


@pytest.mark.parametrize(
    ("options", "waiting"),
    [(("--max-queue", "2"), 2), ((), 4)],
    ids=["the next would be refused", "the next would wait for long"],
)
def test_a_server_whose_queue_is_long_says_so(
    start_server: StartServer, archive: FakeArchive, builds: list[Build], options: tuple[str, ...], waiting: int
) -> None:
    server = start_server("--max-downloads", "1", *options)
    with held(server, archive, builds[0]):
        for number in range(1, waiting + 1):
            assert not overloaded(server)
            start_staging(server, builds[number])
            eventually(queue_is(server, number))
        assert overloaded(server)
        assert answers_quickly(server)
    eventually(lambda: not overloaded(server))


def queue_is(server: DevServer, length: int) -> Callable[[], bool]:
    return lambda: health(server)["queued_downloads"] == length


def test_a_server_whose_disk_is_nearly_full_says_so(tmp_path: Path, start_server: StartServer) -> None:
    static_dir = tmp_path / "static"
    static_dir.mkdir()
    script = 'mount -t tmpfs -o size=3m tmpfs "$0" && exec "$@"'
    server = start_server(wrapper=("unshare", "-rm", "sh", "-c", script, str(static_dir)))
    _ = server.port
    assert not overloaded(server)
    ballast = Path(f"/proc/{server.process.pid}/root{static_dir}/ballast")
    ballast.write_bytes(bytes(3_100_000))
    eventually(lambda: overloaded(server))
    assert answers_quickly(server)
    ballast.unlink()
    eventually(lambda: not overloaded(server))


@contextmanager
def slow_reader(server: DevServer) -> Iterator[None]:
    """A client has asked for a large file, and takes none of it."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        client.sendall(b"GET /static/big HTTP/1.1\r\nHost: x\r\n\r\n")
        yield


def test_a_server_whose_threads_are_all_at_work_says_so(start_server: StartServer) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    server = start_server("--max-threads", "1", "--production")
    _ = server.port
    (server.static_dir / "big").write_bytes(bytes(20_000_000))
    with ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(slow_reader(server))
        eventually(lambda: health(server)["apache_client_count"] > 990, timeout=60)
        assert not overloaded(server)
        while not all(
            overloaded(server) for _ in range(10)
        ):  # the last ones may be refused while it is so for a moment
            stack.enter_context(slow_reader(server))
        assert answers_quickly(server)
        check_refused(server.get("/static/"), "all of the devserver's threads are at work")
        check_refused(server.get("/"), "all of the devserver's threads are at work")
        refused = requests.get(f"{server.url}/api/v1/builds", headers={"Accept": "application/json"}, timeout=10)
        assert (refused.status_code, refused.json()["title"]) == (503, "Overloaded")
    eventually(lambda: not overloaded(server), timeout=60)
    assert server.get("/static/").status_code == 200


def test_the_documentation_says_what_overloaded_means(server: DevServer) -> None:
    text = " ".join(server.get("/doc/check_health").text.split())
    for cause in ("as many downloads are under way as may", "no seat is free", "all threads are at work", "memory"):
        assert cause in text
