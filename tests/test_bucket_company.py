"""Builds of two buckets that have one path, and who else is there: workers, peers, directories, versions before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from staging.archives import ArchiveUrl
from staging.build_removal import remove_build
from staging.layout import BuildPlaces
from staging.manifest import ArtifactRecord, Manifest
from staging.placing import Placing
from staging.publishing import StagingArea, make_build_directory
from tests.clusters import Worker
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.redis_server import RedisServer
from tests.servers import DevServer, cause_of, check_success, eventually
from tests.terminal import in_a_pipe
from tests.test_buckets import A, B, Pair, content_of, of_api
from web.client import Client, RequestRefused

pytestmark = pytest.mark.shared_server


def published(places: BuildPlaces, archive_url: str, **files: bytes) -> None:
    """Publish files as artifacts, as a devserver does that knows of one bucket alone."""
    make_build_directory(places)
    for name, content in files.items():
        area = StagingArea(places, f"file:{name}")
        area.prepare()
        (area.tree / name.replace("__", "/")).parent.mkdir(exist_ok=True)
        (area.tree / name.replace("__", "/")).write_bytes(content)
        area.publish(archive_url, ArtifactRecord("staged"), {})


@pytest.mark.own_server
def test_builds_that_lay_one_in_the_other_before_answer_each_for_its_bucket(
    start_server: StartServer, tmp_path: Path
) -> None:
    static_dir = tmp_path / "static"
    outer, inner = BuildPlaces(static_dir, "old/outer"), BuildPlaces(static_dir, "old/outer/inner")
    published(outer, f"gs://{A}/old/outer", top=b"a", inner__of_a=b"a", other__of_a=b"a")
    published(inner, f"gs://{B}/old/outer/inner", of_b=b"b", deeper__of_b=b"b")
    (inner.published / "by-hand").write_bytes(b"by hand")
    server = start_server()
    for path, bucket in {
        "top": A,
        "inner/of_a": A,
        "other/of_a": A,
        "inner/of_b": B,
        "inner/deeper/of_b": B,
        "inner/by-hand": B,
    }.items():
        assert server.get(f"/static/old/outer/{path}").status_code == 200
        answers = {one: server.get(f"/static/old/outer/{path}", gs_bucket=one).status_code for one in (A, B)}
        assert answers == {A: 404, B: 404, bucket: 200}, path


def test_a_pin_keeps_the_first_place_of_a_build_that_is_gone(tmp_path: Path) -> None:
    first, second = (ArchiveUrl.parse(f"gs://{bucket}/target/version") for bucket in (A, B))
    placing = Placing(tmp_path)
    claim = placing.claim(first)
    claim.places.holds.parent.mkdir(parents=True)
    claim.places.holds.write_text(json.dumps({"build": "target/version", "pinned": True, "leases": []}))
    claim.release()
    placing.sweep()
    assert placing.of(second).build_path == str(second)
    assert placing.of(first).build_path == "target/version"
    claim.places.holds.unlink()
    placing.sweep()
    assert placing.of(second).build_path == "target/version"


def test_what_is_left_of_a_removal_keeps_the_first_place(tmp_path: Path) -> None:
    first, second = (ArchiveUrl.parse(f"gs://{bucket}/target/version") for bucket in (A, B))
    places = BuildPlaces(tmp_path, "target/version")
    published(places, str(first), x=b"x")
    places.removing.parent.mkdir(parents=True)
    places.manifest.rename(places.removing)
    assert Placing(tmp_path).of(second).build_path == str(second)
    remove_build(places)
    assert Placing(tmp_path).of(second).build_path == "target/version"


def test_a_manifest_that_is_broken_still_says_whose_the_place_is(tmp_path: Path) -> None:
    first, second = (ArchiveUrl.parse(f"gs://{bucket}/target/version") for bucket in (A, B))
    places = BuildPlaces(tmp_path, "target/version")
    published(places, str(first), x=b"x")
    places.manifest.write_text(places.manifest.read_text()[:-30])
    assert Placing(tmp_path).of(second).build_path == str(second)
    assert Placing(tmp_path).of(first) == places


@pytest.mark.parametrize("order", ["outer", "inner"])
def test_builds_of_one_bucket_share_the_file_that_is_both_their_object(
    server: DevServer, archive: FakeArchive, order: str
) -> None:
    path = f"shared/{order}"
    archive.put(A, f"{path}/firmware/x.bin", b"one object")
    staged = {"outer": (f"gs://{A}/{path}", "firmware/x.bin"), "inner": (f"gs://{A}/{path}/firmware", "x.bin")}
    first, second = (order, "inner" if order == "outer" else "outer")
    check_success(server.get("/stage", archive_url=staged[first][0], files=staged[first][1]))
    before = server.get(f"/static/{path}/firmware/x.bin")
    check_success(server.get("/stage", archive_url=staged[second][0], files=staged[second][1]))
    after = server.get(f"/static/{path}/firmware/x.bin")
    for answer in (before, after):
        assert answer.content == b"one object"
        assert answer.headers["X-Goog-Hash"].startswith("crc32c=")
    assert before.headers["ETag"] == after.headers["ETag"]
    names = {"outer": path, "inner": f"{path}/firmware"}
    for name, is_left in ((names[first], True), (names[second], False)):
        assert requests.delete(of_api(server, name), timeout=10).status_code == 204
        answer = server.get(f"/static/{path}/firmware/x.bin")
        assert answer.status_code == (200 if is_left else 404)
    archive.put(A, f"{path}/firmware/x.bin", b"another object")


def test_an_empty_build_within_another_takes_nothing_from_it(server: DevServer, archive: FakeArchive) -> None:
    archive.put(A, "within/outer/firmware/x.bin", b"an object")
    check_success(server.get("/stage", archive_url=f"gs://{A}/within/outer", files="firmware/x.bin"))
    archive.put(A, "within/outer/firmware/x.bin", b"another generation")
    answer = server.get("/stage", archive_url=f"gs://{A}/within/outer/firmware", files="x.bin")
    assert cause_of(answer).startswith("SharedFileDiffers: ")
    served = server.get("/static/within/outer/firmware/x.bin")
    assert served.content == b"an object"
    assert served.headers["X-Goog-Hash"].startswith("crc32c=")


@pytest.mark.own_server
def test_directories_are_told_apart_as_buckets_are(
    start_server: StartServer, archive: FakeArchive, tmp_path: Path
) -> None:
    roots = [tmp_path / "one", tmp_path / "two"]
    for root in roots:
        (root / "t/v").mkdir(parents=True)
        (root / "t/v/x.bin").write_bytes(root.name.encode())
    archive.put(A, "t/v/x.bin", b"of a bucket")
    server = start_server(*(f"--archive-root={root}" for root in roots))
    urls = [f"file://{roots[0]}/t/v", f"gs://{A}/t/v", f"file://{roots[1]}/t/v"]
    for url in urls:
        check_success(server.get("/stage", archive_url=url, files="x.bin"))
    assert server.get("/static/t/v/x.bin").content == b"one"
    assert server.get("/static/t/v/x.bin", gs_bucket=A).content == b"of a bucket"
    for url in urls:
        assert server.get("/is_staged", archive_url=url, files="x.bin").text == "True"
        assert server.get("/list_image_dir", archive_url=url).text.startswith("x.bin ")
    page = server.get("/builds", archive_url=urls[2])
    assert urls[2] in page.text
    assert requests.delete(of_api(server, urls[2]), timeout=10).status_code == 204
    names = [one["build"] for one in server.get("/api/v1/builds").json()["builds"]]
    assert names == [urls[1], "t/v"]


def test_the_client_and_the_commands_name_both(server: DevServer, archive: FakeArchive) -> None:
    pair = Pair(archive, "tast/commands")
    pair.stage(server, A)
    pair.stage(server, B)
    client = Client(server.url)
    assert {build["archive_url"] for build in client.builds(f"gs://{B}/tast/commands")} == {pair.url(B)}
    assert client.pin(pair.url(B))["pinned"]
    assert not client.build(pair.path)["pinned"]
    client.unpin(pair.url(B))
    for name, url in ((pair.path, pair.url(A)), (pair.url(A), pair.url(A)), (pair.url(B), pair.url(B))):
        told = in_a_pipe("--server", server.url, "status", name, "--json")
        assert told.returncode == 0, told.stderr
        assert json.loads(told.stdout)["archive_url"] == url
    told = in_a_pipe("--server", server.url, "remove", pair.url(B), "--yes")
    assert told.returncode == 0, told.stderr
    pair.check(server, A)
    with pytest.raises(RequestRefused):
        client.build(pair.url(B))


@pytest.mark.own_server
def test_a_peer_gives_each_its_own_buckets_bytes(
    start_server: StartServer, archive: FakeArchive, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pair = Pair(archive, "tast/peers")
    environment = {"STORAGE_EMULATOR_HOST": archive.url}
    one = DevServer(tmp_path_factory.mktemp("peer"), environment=environment)
    try:
        pair.stage(one, A)
        pair.stage(one, B)
        two = start_server("--peer", one.url)
        archive.forget()
        pair.stage(two, B)
        pair.stage(two, A)
        for bucket in (A, B):
            pair.check(two, bucket)
        assert two.get(f"/static/{pair.path}/x.bin").content == content_of(B, f"{pair.path}/x.bin")
        assert not archive.fetches
    finally:
        one.close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as broker:
        yield broker


@pytest.mark.own_server
def test_a_worker_of_a_cluster_stages_both_and_both_devservers_tell(
    broker: RedisServer, start_server: StartServer, archive: FakeArchive, tmp_path: Path
) -> None:
    pair = Pair(archive, "tast/cluster")
    options = ("--executor", "celery", "--broker", broker.url, "--worker-silence", "20")
    one, two = start_server(*options, name="one"), start_server(*options, name="two")
    worker = Worker(tmp_path, broker.url, {"STORAGE_EMULATOR_HOST": archive.url}, name="worker")
    try:
        with archive.holding("x.bin") as reached:
            first = one.ask("/stage", archive_url=pair.url(A), files="x.bin")
            assert reached.wait(20)
            second = two.ask("/stage", archive_url=pair.url(B), files="x.bin")
            eventually(lambda: requests.get(of_api(one, pair.url(B)), timeout=10).status_code == 200)
        check_success(first.result(30))
        check_success(second.result(30))
        for server in (one, two):
            for bucket in (A, B):
                pair.check(server, bucket)
            assert pair.get(server).content == content_of(A, f"{pair.path}/x.bin")
        manifest = Manifest.read(BuildPlaces(one.static_dir, pair.url(B)))
        assert manifest is not None
        assert manifest.archive_url == pair.url(B)
    finally:
        worker.close()
