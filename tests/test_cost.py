"""What a request may cost: nothing that a stranger sends or publishes keeps the server from answering others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from urllib.parse import urljoin

import pytest
import requests

from staging import in_mind
from staging.holds import MOST_LEASES
from staging.layout import BuildPlaces
from staging.orders import OrderRecord
from staging.suite_map import parsed_suites
from tests.builds import Build, tarball
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.servers import DevServer, cause_of, check_success, eventually
from web.client.answers import error_of
from web.client.errors import RequestRefused
from web.client.routes import Route

pytestmark = pytest.mark.shared_server

MOST_SECONDS = 2.0  # that /check_health takes, beside all the other tests
HOSTILE_NAMES = ("a" * 48, "a_" * 24, "aX" * 23 + "aa")
SUITES = "autotest/test_suites/suite_to_control_file_map"


@contextmanager
def answering(server: DevServer) -> Iterator[None]:
    """Have somebody ask for /check_health all the while, who never waits for long."""
    assert server.get("/check_health").status_code == 200  # it may only just have started
    end = Event()
    times: list[float] = []

    def ask() -> None:
        while not times or not end.wait(0.02):
            began = monotonic()
            assert server.get("/check_health").status_code == 200
            times.append(monotonic() - began)

    asking = Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        end.set()
        asking.join()
    assert max(times) < MOST_SECONDS, f"/check_health took {max(times):.2f} s"


@pytest.mark.parametrize(
    "pattern", ["*?" * 10 + "X", "*a" * 15 + "X", "*" * 32 + "X", "?*" * 14 + "X", "*" * 15 + "Xb***"]
)
def test_no_pattern_of_a_request_keeps_the_server_from_answering(
    server: DevServer, archive: FakeArchive, build: Build, pattern: str
) -> None:
    for name in HOSTILE_NAMES:
        archive.put(build.bucket, f"{build.path}/{name}", b"x")
    with answering(server):
        answer = server.get("/stage", archive_url=build.url, files=pattern)
        assert answer.status_code == 500
        assert cause_of(answer).startswith("ObjectNotFound: Could not find gs://")
        assert server.get("/is_staged", archive_url=build.url, files=pattern).status_code == 500


@pytest.mark.parametrize("pattern", ["*" * 33, "*?" * 400 + "X", "a?" * 33])
def test_more_wildcards_than_anybody_needs_are_refused(server: DevServer, build: Build, pattern: str) -> None:
    for rpc in ("/stage", "/is_staged"):
        answer = server.get(rpc, archive_url=build.url, files=pattern)
        assert answer.status_code == 400
        assert cause_of(answer) == "InvalidParameter: files: a pattern has more than 32 wildcards, which are * and ?"
    wish = {"archive_url": build.url, "files": [pattern]}
    assert requests.post(f"{server.url}/api/v1/builds", json=wish, timeout=10).status_code == 400


@pytest.mark.own_server
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"artifacts": {"file:" + "*?" * 40: True}}, "files: a pattern has more than 32 wildcards"),
        ({"artifacts": {f"file:{number}": True for number in range(501)}}, "files: more than 500 are named"),
        ({"artifacts": {"file:../x": True}}, "leaves the build's directory"),
        ({"holder": "x" * 101}, "holder: it should be at most 100 printable"),
        ({"archive_url": "gs://bucket/../version"}, "it must not hold"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_order_that_no_request_could_give_is_not_taken_up(
    start_server: StartServer, build: Build, changes: dict[str, object], reason: str
) -> None:
    server = start_server()
    server.kill()
    directory = server.static_dir / ".devserver" / "orders" / "dead"
    directory.mkdir(parents=True)
    order = {"archive_url": build.url, "build_path": build.path, "artifacts": {"file:x": True}, **changes}
    (directory / "1.json").write_text(json.dumps({"format": 1, **order}))
    assert OrderRecord.read(directory / "1.json")
    server.start_again()
    eventually(lambda: "does not go on: " in server.log)
    assert reason in server.log
    eventually(lambda: not list(directory.parent.glob("*/*.json")))


def test_no_address_keeps_the_server_from_answering(server: DevServer) -> None:
    address = f"/api/v1/builds/a{'/leases/x' * 3000}/%0a"
    with answering(server):
        assert server.get(address).status_code == 404
        assert requests.delete(f"{server.url}{address}", timeout=20).status_code == 404


def test_no_map_of_suites_keeps_the_server_from_answering(
    server: DevServer, archive: FakeArchive, build: Build
) -> None:
    hostile = b"{'a':[" + b"1," * 500_000 + b"]}"
    archive.put(build.bucket, f"{build.path}/test_suites.tar.bz2", tarball({SUITES: hostile}))
    check_success(server.get("/stage", archive_url=build.url, artifacts="test_suites"))
    with answering(server):
        answer = server.get("/controlfiles", build=build.path, suite_name="bvt")
        assert answer.status_code == 500
        assert "it is no map from suites to lists of paths" in cause_of(answer)


def test_a_map_of_suites_is_read_as_python_writes_it() -> None:
    suites = {
        "bvt": ["a/control", "it's", 'a "b"', "é\\\n"],
        "empty": [],
        "smoke": [f"{n}/control" for n in range(500)],
    }
    assert parsed_suites(repr(suites)) == suites
    assert parsed_suites(json.dumps(suites, indent=1)) == suites
    assert parsed_suites("# of two thousand and twelve\n{u'bvt': [u'a', 'b',],}\n") == {"bvt": ["a", "b"]}


@pytest.mark.parametrize(
    "literal", ["", "{", "[]", "{'a'}", "{'a': 'b'}", "{'a': [1]}", "{'a': []} x", "{'a': ['b']", "'a"]
)
def test_what_is_no_map_of_suites_is_refused(literal: str) -> None:
    with pytest.raises(ValueError, match=r"does not belong here|ends too early|something else"):
        parsed_suites(literal)


def held(server: DevServer) -> list[str]:
    """The records of who holds builds."""
    directory = server.static_dir / ".devserver" / "holds"
    return [path.name for path in directory.glob("*.json")] if directory.exists() else []


def test_a_build_has_so_many_leases_however_they_are_asked_for(server: DevServer, build: Build) -> None:
    wish = {"archive_url": build.url, "artifacts": "stateful", "lease": "2h"}
    for number in range(MOST_LEASES):
        check_success(server.get("/stage", holder=f"dut-{number}", **wish))
    for rpc in ("/stage", "/download"):
        answer = server.get(rpc, holder="one-more", **wish)
        assert answer.status_code == 400
        assert cause_of(answer).startswith(f"InvalidParameter: holder: {build.path} has {MOST_LEASES} leases")
    check_success(server.get("/stage", holder="dut-7", **wish))  # which makes its own longer
    leases = f"{server.url}/api/v1/builds/{build.path.replace('/', '%2F')}/leases"
    assert len(requests.get(leases, timeout=20).json()["leases"]) == MOST_LEASES


def test_a_lease_for_a_build_that_never_comes_goes_with_its_download(server: DevServer, build: Build) -> None:
    before = set(held(server))
    for number in range(10):
        url = f"gs://{build.bucket}/never/R1-{number}"
        assert server.get("/download", archive_url=url, lease="30d").status_code == 500
        assert server.get("/stage", archive_url=url, files="x", lease="30d").status_code == 500
    eventually(lambda: before.issuperset(held(server)))  # some of which may end meanwhile
    check_success(server.download(build.url, lease="1h"))  # one that comes is kept
    server.get("/stage", archive_url=build.url, files="none", lease="1h", holder="other")
    assert len(set(held(server)) - before) == 1


@pytest.mark.own_server
def test_a_lease_goes_with_a_refusal(start_server: StartServer, archive: FakeArchive, build: Build) -> None:
    server = start_server("--max-downloads", "1", "--max-queue", "0")
    with archive.holding("stateful.tgz") as reached:
        server.ask("/download", archive_url=build.url)
        assert reached.wait(20)
        answer = server.get("/download", archive_url=f"gs://{build.bucket}/other/R1-1", lease="30d")
        assert answer.status_code == 503
        assert not held(server)


def test_no_page_keeps_a_client_from_reading_it() -> None:
    answer = requests.Response()
    answer.status_code = 400
    answer._content = b"\n" * 200_000
    began = monotonic()
    assert str(error_of(answer, Route("http://lab"))) == "http://lab answers 400, and not as a devserver does"
    answer._content = b"<pre>\nno\nInvalidParameter: x &lt; y\n  </pre></pre>"
    error = error_of(answer, Route("http://lab"))
    assert isinstance(error, RequestRefused)
    assert str(error) == "InvalidParameter: x < y"
    assert monotonic() - began < MOST_SECONDS


def test_a_walk_in_order_finds_what_is_in_mind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_mind, "_MOST", 300)
    builds = [BuildPlaces(tmp_path, f"target/{number}") for number in range(400)]
    for places in builds:
        places.manifest.parent.mkdir(parents=True)
        places.manifest.write_text("{}")
    reads: list[BuildPlaces] = []
    known: in_mind.InMind[int] = in_mind.InMind(lambda places, _: reads.append(places) or 1)  # type: ignore[func-returns-value]
    for _ in range(5):
        reads.clear()
        for places in builds:
            assert known.of(places) == 1
    assert len(known._known) <= 300
    assert len(reads) < 300  # of 400


def test_a_large_directory_is_listed_page_by_page(server: DevServer) -> None:
    directory = server.static_dir / "large"
    directory.mkdir(parents=True)
    names = [f"{number:05}&%.bin" for number in range(2500)]
    for name in names:
        (directory / name).touch()
    address, listed = f"{server.url}/static/large/", []
    while address:
        answer = requests.get(address, headers={"Accept": "application/json"}, timeout=20)
        listed.append([entry["name"] for entry in answer.json()])
        address = urljoin(address, answer.links["next"]["url"]) if answer.links else ""
    assert [len(page) for page in listed] == [1000, 1000, 500]
    assert [name for page in listed for name in page] == names
    page = server.get("/static/large/").text
    assert page.count("<tr>") == 1001
    assert 'rel="next">More</a>' in page
