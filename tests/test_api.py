"""The JSON API: what each operation answers, the document that describes them, and the streams of events."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator
from time import time
from typing import Any
from urllib.parse import quote

import pytest
import requests

from staging.board import StatusBoard
from staging.overview import ArtifactView, BuildView
from staging.status import BuildStatus, Change, Event, State
from tests.builds import Build, make_build
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.servers import DevServer, check_success, eventually
from web.api.events import EventStreams

pytestmark = pytest.mark.shared_server

ORDER = ("pending", "downloading", "staging", "staged")


def address(server: DevServer, build: Build, action: str = "") -> str:
    return f"{server.url}/api/v1/builds/{quote(build.path, safe='')}{action}"


def post(server: DevServer, body: Any) -> requests.Response:
    return requests.post(f"{server.url}/api/v1/builds", json=body, timeout=30)


def problem(answer: requests.Response, status: int, kind: str) -> str:
    """The detail of a problem, which is of that status and kind."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    details = answer.json()
    assert details["type"] == f"urn:devserver:error:{kind}"
    assert details["status"] == status
    return str(details["detail"])


def test_a_build_is_started_followed_and_removed(server: DevServer, archive: FakeArchive, build: Build) -> None:
    with archive.holding("autotest.tar.bz2") as reached:
        started = post(server, {"archive_url": build.url})
        assert started.status_code == 202
        assert server.url + started.headers["Location"] == address(server, build)
        assert reached.wait(10)
        under_way = requests.get(address(server, build), timeout=10).json()
        assert under_way["under_way"] is True
        states = {artifact["name"]: artifact["state"] for artifact in under_way["artifacts"]}
        assert states["stateful"] == "staged"
        assert states["autotest"] == "downloading"
        assert "cancel" in problem(requests.delete(address(server, build), timeout=10), 409, "BuildBusy")
    check_success(server.wait_for_status(build.url))
    staged = requests.get(address(server, build), timeout=10).json()
    assert (staged["state"], staged["under_way"]) == ("staged", False)
    assert staged["bytes_done"] == staged["bytes_total"] > len(build.objects["stateful.tgz"])
    assert staged["archive_url"] == build.url
    removed = requests.delete(address(server, build), timeout=10)
    assert (removed.status_code, removed.content) == (204, b"")
    assert not (server.static_dir / build.path).exists()
    problem(requests.get(address(server, build), timeout=10), 404, "NotStaged")
    server.stage(build.url)


def test_a_part_of_a_build_is_staged(server: DevServer, build: Build) -> None:
    body = {"archive_url": build.url, "artifacts": ["stateful"], "files": ["chromeos_*_full_*"]}
    assert post(server, body).status_code == 202
    eventually(lambda: requests.get(address(server, build), timeout=10).json()["state"] == "staged")
    names = [artifact["name"] for artifact in requests.get(address(server, build), timeout=10).json()["artifacts"]]
    assert names == ["file:chromeos_*_full_*", "stateful"]


def test_a_download_is_cancelled_and_taken_up_again(server: DevServer, archive: FakeArchive, build: Build) -> None:
    with archive.holding("autotest.tar.bz2") as reached:
        check_success(server.download(build.url))
        assert reached.wait(10)
        waiter = server.ask("/wait_for_status", archive_url=build.url)
        cancelled = requests.post(address(server, build, "/cancel"), timeout=20)
        assert cancelled.status_code == 200
        assert {one["name"]: one["state"] for one in cancelled.json()["artifacts"]}["autotest"] == "cancelled"
        assert waiter.result(10).status_code == 500
    problem(requests.post(address(server, build, "/cancel"), timeout=10), 409, "NotUnderWay")
    server.stage(build.url)
    build.check_staged(server.static_dir)


@pytest.mark.own_server
def test_builds_are_listed_in_pages(server: DevServer, archive: FakeArchive) -> None:
    builds = [make_build(version=f"R17-{number}.0.0").upload(archive) for number in range(5)]
    for build in builds:
        check_success(server.get("/stage", archive_url=build.url, artifacts="stateful"))
    (server.static_dir / "somebody" / "elses").mkdir(parents=True)
    listed, after = [], ""
    while after is not None:
        query = {"limit": "2", "after": after, "prefix": builds[0].target, "state": "staged"}
        page = requests.get(f"{server.url}/api/v1/builds", query, timeout=10).json()
        assert len(page["builds"]) <= 2
        listed += [build["build"] for build in page["builds"]]
        after = page["next"]
    assert listed == [build.path for build in builds]
    none = requests.get(f"{server.url}/api/v1/builds", {"state": "failed"}, timeout=10).json()
    assert none == {"builds": [], "next": None}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "kind"),
    [
        ("GET", "/builds?state=odd", None, 400, "InvalidParameter"),
        ("GET", "/builds?state=", None, 400, "InvalidParameter"),
        ("GET", "/builds?limit=0", None, 400, "InvalidParameter"),
        ("GET", "/builds?limit=1&limit=2", None, 400, "InvalidParameter"),
        ("GET", "/builds/..%2F..%2Fetc", None, 404, "NotStaged"),
        ("GET", "/builds/.devserver/locks", None, 404, "NotStaged"),
        ("GET", "/builds/no/build", None, 404, "NotStaged"),
        ("GET", "/builds/no/build/events", None, 404, "NotStaged"),
        ("DELETE", "/builds/no/build", None, 404, "NotStaged"),
        ("DELETE", "/builds/no/build/events", None, 405, "MethodNotAllowed"),
        ("POST", "/builds/no/build/cancel", None, 404, "NotStaged"),
        ("POST", "/builds", b"{", 400, "InvalidParameter"),
        ("POST", "/builds", b"[]", 400, "InvalidParameter"),
        ("POST", "/builds", b"{}", 400, "InvalidParameter"),
        ("POST", "/builds", b'{"archive_url": 1}', 400, "InvalidParameter"),
        ("POST", "/builds", b'{"archive_url": "gs://a/b/c", "odd": 1}', 400, "InvalidParameter"),
        ("POST", "/builds", b'{"archive_url": "gs://a/b/c", "artifacts": "x"}', 400, "InvalidParameter"),
        ("POST", "/builds", b'{"archive_url": "gs://a/b/c", "artifacts": ["x"]}', 400, "UnknownArtifact"),
        ("POST", "/builds", b'{"archive_url": "http://a/b/c"}', 400, "InvalidArchiveUrl"),
        ("POST", "/builds", b'{"archive_url": "gs://a/b", "files": ["../x"]}', 400, "InvalidParameter"),
        ("POST", "/builds", b'{"archive_url": "gs://a/b", "files": [""]}', 400, "InvalidParameter"),
        ("POST", "/builds", b'{"archive_url": "gs://a/b", "files": ["x", "\\ud800"]}', 400, "InvalidParameter"),
        ("POST", "/builds", b'{"archive_url": "gs://bucket", "files": ["x"]}', 400, "InvalidArchiveUrl"),
        ("PUT", "/builds", b"{}", 405, "MethodNotAllowed"),
        ("GET", "/nothing", None, 404, "NotFound"),
    ],
)
def test_what_is_wrong_is_a_problem_of_a_stable_type(
    server: DevServer, method: str, path: str, body: bytes | None, status: int, kind: str
) -> None:
    answer = requests.request(method, f"{server.url}/api/v1{path}", data=body, timeout=10)
    assert problem(answer, status, kind)


def test_the_catalogue_the_health_and_the_version_are_told(server: DevServer) -> None:
    names = [one["name"] for one in server.get("/api/v1/artifacts").json()["artifacts"]]
    assert {"full_payload", "quick_provision", "paygen_au_stable_suite"} <= set(names)
    assert server.get("/api/v1/health").json().keys() == server.get("/check_health").json().keys()
    assert server.get("/api/v1/version").json()["name"] == "devserver"


def test_the_document_describes_every_operation(server: DevServer) -> None:
    document = server.get("/api/v1/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]["/builds/{build}"]) == {"get", "delete"}
    for path in document["paths"].values():
        for operation in path.values():
            assert operation["operationId"]
            assert operation["summary"]


def stream(server: DevServer, build: Build, last_id: str = "") -> Generator[tuple[str, str, dict[str, Any]]]:
    """The events of a build: id, kind, data."""
    headers = {"Last-Event-ID": last_id} if last_id else {}
    with requests.get(address(server, build, "/events"), headers=headers, stream=True, timeout=30) as answer:
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "data" in fields:
                yield fields.get("id", ""), fields["event"], json.loads(fields["data"])
                fields = {}


def test_every_artifact_counts_from_the_moment_that_the_archive_was_listed(
    server: DevServer, archive: FakeArchive, build: Build
) -> None:
    with archive.holding("stateful.tgz") as reached:
        post(server, {"archive_url": build.url})
        assert reached.wait(10)
        view = eventually(lambda: _with_totals(server, build))
        pending = {one["name"] for one in view["artifacts"] if one["state"] == "pending"}
        assert {"autotest", "nton_payload", "mton_payload"} <= pending
        objects = [content for name, content in build.objects.items() if name != "image.zip"]
        assert view["bytes_total"] == sum(map(len, objects))


def _with_totals(server: DevServer, build: Build) -> dict[str, Any]:
    view: dict[str, Any] = requests.get(address(server, build), timeout=10).json()
    return view if all(one["bytes_total"] for one in view["artifacts"]) else {}


def test_time_left_is_that_of_all_that_is_to_come() -> None:
    began = time() - 10
    done = ArtifactView("stateful", State.STAGED, 50, 50, staged_at=began + 5)
    earlier = ArtifactView("symbols", State.STAGED, 1000, 1000, staged_at=began - 5)
    coming = [ArtifactView("autotest", State.DOWNLOADING, 50, 100), ArtifactView("nton", State.PENDING, 0, 150)]
    view = BuildView("a/b", "gs://x/a/b", [done, earlier, *coming], began_at=began)
    assert view.seconds_left == pytest.approx(20, abs=1)


def test_a_build_is_complete_where_all_that_download_stages_is_there(server: DevServer, build: Build) -> None:
    def told() -> tuple[str, bool, bool]:
        view = requests.get(address(server, build), timeout=10).json()
        return view["state"], view["complete"], view["in_part"]

    check_success(server.get("/stage", archive_url=build.url, files="image.zip"))
    assert told() == ("staged", False, False)
    check_success(server.get("/stage", archive_url=build.url, artifacts="stateful"))
    assert told() == ("staged", False, True)
    server.stage(build.url)
    assert told() == ("staged", True, False)
    assert server.get("/stage", archive_url=build.url, artifacts="quick_provision").status_code == 500
    assert told() == ("staged", True, False)
    *_, (_, kind, data) = stream(server, build)
    assert (kind, data["state"], data["cause"]) == ("outcome", "staged", None)


def test_a_stream_goes_forward_only_and_ends_with_the_outcome(start_server: StartServer) -> None:
    with FakeArchive(latency=0.02, bytes_per_second=2_000_000) as archive:
        server = start_server(STORAGE_EMULATOR_HOST=archive.url)
        build = make_build(scale=20).upload(archive)
        assert post(server, {"archive_url": build.url}).status_code == 202
        seen: dict[str, tuple[int, int]] = {}
        kinds = []
        for _, kind, data in stream(server, build):
            kinds.append(kind)
            if kind == "artifact":
                now = (ORDER.index(data["state"]), data["bytes_done"])
                assert now >= seen.get(data["artifact"], (0, 0))
                assert data["bytes_done"] <= max(data["bytes_total"], 0)
                seen[data["artifact"]] = now
        assert kinds[-1] == "outcome"
        assert "outcome" not in kinds[:-1]
        assert data == {"build": build.path, "state": "staged", "cause": None}
        assert {state for state, _ in seen.values()} == {ORDER.index("staged")}
        assert len(kinds) > 2 * len(seen)


def test_a_stream_that_was_cut_off_goes_on_behind_its_last_event(
    server: DevServer, archive: FakeArchive, build: Build
) -> None:
    with archive.holding("autotest.tar.bz2") as reached:
        check_success(server.download(build.url))
        assert reached.wait(10)
        first = stream(server, build)
        last_id = next(number for number, _, _ in first if number)
        first.close()
        rest = stream(server, build, last_id)
        events: list[tuple[str, str, dict[str, Any]]] = []
        reader = threading.Thread(target=lambda: events.extend(rest))
        reader.start()
    reader.join(20)
    assert events[-1][1:] == ("outcome", {"build": build.path, "state": "staged", "cause": None})
    told = {data["artifact"] for _, kind, data in events if kind == "artifact"}
    assert "autotest" in told
    assert not told & {"stateful", "full_payload", "test_suites"}
    old = list(stream(server, build, "0000-3"))
    assert {data["artifact"] for _, kind, data in old if kind == "artifact"} >= {"autotest", "stateful"}


def test_no_stream_ends_before_its_last_event() -> None:
    board, telling, told = StatusBoard(), threading.Event(), threading.Event()

    def listen_slowly(*_: object) -> None:
        telling.set()
        told.wait(10)

    board.subscribe(listen_slowly)
    view = BuildView("a/b", "gs://x/a/b", [ArtifactView("stateful", State.DOWNLOADING)])
    streams = EventStreams(lambda _: view, board.is_under_way, list)
    board.subscribe(streams.listen)
    status = BuildStatus("gs://x/a/b", "a/b", {"stateful": True})
    board.show(status)
    pieces: list[bytes] = []
    reader = threading.Thread(target=lambda: pieces.extend(streams.stream("a/b", "")))
    reporter = threading.Thread(target=board.report, args=(status, Event("a/b", "stateful", State.STAGED)))
    reporter.start()
    assert telling.wait(10)
    reader.start()
    reader.join(0.2)  # a stream that does not wait for the listeners ends here
    told.set()
    reporter.join(10)
    reader.join(10)
    assert b'"state": "staged"' in b"".join(pieces).partition(b"event: outcome")[0]


def test_builds_that_many_follow_are_in_nobodys_way() -> None:
    _, streams, _, _ = one_artifact(State.DOWNLOADING)
    followed = [streams.stream(f"a/b{number}", "") for number in range(101)]
    for stream in followed:
        next(stream)
    status = BuildStatus("gs://x/a/new", "a/new", {"stateful": True})
    event = Event("a/new", "stateful", State.STAGED)
    streams.listen(status, event, Change(status.artifacts["stateful"], True, True))  # which used to raise
    assert b'"a/new"' in next(streams.stream("a/new", ""))


def one_artifact(streams_follow: State) -> tuple[StatusBoard, EventStreams, BuildStatus, Callable[[int], None]]:
    """A board with one artifact of a/b in that state, its streams, and what reports that so many bytes of it came."""
    board = StatusBoard()
    status = BuildStatus("gs://x/a/b", "a/b", {"stateful": True})

    def view(build_path: str) -> BuildView:
        event = status.artifacts["stateful"]
        return BuildView(
            build_path, f"gs://x/{build_path}", [ArtifactView("stateful", event.state, event.bytes_done, 1000)]
        )

    streams = EventStreams(view, board.is_under_way, list)
    board.subscribe(streams.listen)
    board.show(status)

    def report(count: int) -> None:
        board.report(status, Event("a/b", "stateful", streams_follow, count, 1000))

    return board, streams, status, report


def test_a_stream_whose_client_is_slow_is_given_the_present_state() -> None:
    board, streams, status, report = one_artifact(State.DOWNLOADING)
    stream = streams.stream("a/b", "")
    assert b'"state": "pending"' in next(stream)
    for count in range(1, 700):
        report(count)
    board.report(status, Event("a/b", "stateful", State.STAGED, 1000, 1000))
    rest = b"".join(stream)
    assert rest.count(b"event: artifact") == 1
    assert b'"state": "staged"' in rest.partition(b"event: outcome")[0]


def test_the_stream_of_all_ends_where_its_client_is_too_slow_to_be_told_everything() -> None:
    _, streams, _, report = one_artifact(State.DOWNLOADING)
    stream = streams.stream_all("")
    next(stream)
    for count in range(1, 700):
        report(count)
    assert not list(stream)  # it comes back, and begins with the present state


def test_a_listener_that_fails_fails_no_download() -> None:
    board, _, status, report = one_artifact(State.STAGED)
    notes: list[str] = []
    board.subscribe_to_notes(lambda note: notes.append(note.text))

    def fail(*_: object) -> None:
        raise KeyError("of the listener's")

    board.subscribe(fail)
    report(1000)
    status.wait(timeout=1)
    assert any("of the listener's" in note for note in notes)


def test_a_stream_tells_the_cause_of_a_failure(server: DevServer, archive: FakeArchive, build: Build) -> None:
    archive.put(build.bucket, f"{build.path}/autotest.tar.bz2", b"this is no tarball")
    post(server, {"archive_url": build.url})
    *_, (_, kind, data) = stream(server, build)
    assert (kind, data["state"], data["cause"]["kind"]) == ("outcome", "failed", "BadTarball")


@pytest.mark.own_server
def test_a_build_that_failed_is_removed_with_all_that_was_fetched_of_it(server: DevServer, build: Build) -> None:
    nowhere = build.url.replace("b1346", "b9999")
    path = nowhere.removeprefix(f"gs://{build.bucket}/")
    assert server.download(nowhere).status_code == 500
    assert path in [one["build"] for one in server.get("/api/v1/builds").json()["builds"]]
    answer = requests.delete(f"{server.url}/api/v1/builds/{quote(path, safe='')}", timeout=10)
    assert answer.status_code == 204
    assert server.get("/api/v1/builds").json()["builds"] == []
    assert server.wait_for_status(nowhere).status_code == 500


def test_five_hundred_streams_slow_nobody(server: DevServer, archive: FakeArchive, build: Build) -> None:
    with archive.holding("autotest.tar.bz2") as reached:
        check_success(server.download(build.url))
        assert reached.wait(10)
        answers = [requests.get(address(server, build, "/events"), stream=True, timeout=60) for _ in range(500)]
        took = [server.get("/check_health").elapsed.total_seconds() for _ in range(20)]
        assert sorted(took)[10] < 0.1
    for answer in answers:
        with answer:
            assert b"event: outcome" in answer.content
