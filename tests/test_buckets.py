"""Builds of several buckets that have one path: each is staged, and each file answers for its own bucket."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote, urljoin

import pytest
import requests

from staging.archives import ArchiveUrl
from staging.build_names import directory_of, fault_of_name, name_of
from staging.errors import BuildConflict
from staging.layout import BuildPlaces
from staging.manifest import ArtifactRecord
from staging.placing import Placing
from staging.publishing import StagingArea, update_manifest
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.servers import DevServer, cause_of, check_success, eventually

pytestmark = pytest.mark.shared_server

A, B = "assets-public", "assets-private"
SPELLINGS = [
    "gs_bucket={B}",
    "gs%5Fbucket={B}",
    "%67s_bucket={B}",
    "GS_BUCKET={B}",
    "Gs_Bucket={B}",
    "gs_bucket=&gs_bucket={B}",
    "gs_bucket={B}&gs_bucket={B}",
    "x=1&gs_bucket=%61ssets-private",
    "gs_bucket=gs://{B}",
    "gs_bucket=gs%3A%2F%2F{B}/",
]
TWO_OR_NONE = [f"gs_bucket={A}&gs_bucket={B}", "gs_bucket=no/bucket", "gs_bucket=%00", "GS_BUCKET=.."]


def content_of(bucket: str, name: str) -> bytes:
    """What an object of a bucket holds: of one size in all buckets."""
    return f"{name} of {bucket:30}\n".encode() * 1000


class Pair:
    """One path in two buckets, each with a file of its own of each name."""

    def __init__(self, archive: FakeArchive, path: str, *names: str) -> None:
        self.path = path
        self.names = names or ("x.bin",)
        for bucket in (A, B):
            for name in self.names:
                archive.put(bucket, f"{path}/{name}", content_of(bucket, f"{path}/{name}"))

    def url(self, bucket: str) -> str:
        """The archive URL of its build in one bucket."""
        return f"gs://{bucket}/{self.path}"

    def stage(self, server: DevServer, bucket: str, **query: str) -> None:
        """Have its files staged of one bucket."""
        check_success(server.get("/stage", archive_url=self.url(bucket), files=",".join(self.names), **query))

    def get(self, server: DevServer, bucket: str = "", name: str = "x.bin") -> requests.Response:
        """A file of it, of one bucket or of whichever is the first."""
        return server.get(f"/static/{self.path}/{name}", **({"gs_bucket": bucket} if bucket else {}))

    def check(self, server: DevServer, bucket: str) -> None:
        """Assert that one bucket's file is served, and that it is the one."""
        answer = self.get(server, bucket)
        assert (answer.status_code, answer.content) == (200, content_of(bucket, f"{self.path}/x.bin"))


@pytest.fixture
def pair(request: pytest.FixtureRequest, archive: FakeArchive) -> Pair:
    """A path of the test's own in two buckets."""
    return Pair(archive, f"tast/{re.sub('[^a-z_]', '-', request.node.name)}")


def of_api(server: DevServer, build: str, rest: str = "") -> str:
    return f"{server.url}/api/v1/builds/{quote(build, safe='')}{rest}"


def test_both_are_staged_and_each_file_answers_for_its_bucket(server: DevServer, pair: Pair) -> None:
    pair.stage(server, A)
    pair.stage(server, B)
    for bucket in (A, B, A):
        pair.check(server, bucket)
        is_staged = server.get("/is_staged", archive_url=pair.url(bucket), files="x.bin")
        assert is_staged.text == "True"
    assert pair.get(server).content == content_of(A, f"{pair.path}/x.bin")
    assert pair.get(server, "assets-nobodys").status_code == 404
    ranged = requests.get(
        f"{server.url}/static/{pair.path}/x.bin", params={"gs_bucket": B}, headers={"Range": "bytes=3-20"}, timeout=10
    )
    assert (ranged.status_code, ranged.content) == (206, content_of(B, f"{pair.path}/x.bin")[3:21])
    head = requests.head(f"{server.url}/static/{pair.path}/x.bin", params={"gs_bucket": B}, timeout=10)
    assert int(head.headers["Content-Length"]) == len(content_of(B, f"{pair.path}/x.bin"))


def test_eight_clients_stage_and_read_both_at_once(server: DevServer, pair: Pair) -> None:
    def client(number: int) -> None:
        bucket = (A, B)[number % 2]
        pair.stage(server, bucket)
        for _ in range(10):
            pair.check(server, bucket)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(client, range(8)))
    first = pair.get(server).content
    assert first in {content_of(bucket, f"{pair.path}/x.bin") for bucket in (A, B)}


@pytest.mark.parametrize("query", SPELLINGS)
def test_a_bucket_is_understood_in_every_spelling(server: DevServer, archive: FakeArchive, query: str) -> None:
    pair = Pair(archive, "tast/spelled")
    pair.stage(server, A)
    pair.stage(server, B)
    answer = requests.get(f"{server.url}/static/{pair.path}/x.bin?{query.format(B=B)}", timeout=10)
    assert (answer.status_code, answer.content) == (200, content_of(B, f"{pair.path}/x.bin"))


@pytest.mark.parametrize("query", TWO_OR_NONE)
def test_a_query_that_names_two_buckets_or_none_is_refused(server: DevServer, archive: FakeArchive, query: str) -> None:
    pair = Pair(archive, "tast/spelled")
    pair.stage(server, A)
    answer = requests.get(f"{server.url}/static/{pair.path}/x.bin?{query}", timeout=10)
    assert answer.status_code == 400
    assert cause_of(answer).startswith("InvalidParameter: gs_bucket: ")


@pytest.mark.parametrize("order", [(A, B), (B, A)])
def test_files_that_meet_at_one_address_answer_for_their_buckets(
    server: DevServer, archive: FakeArchive, order: tuple[str, str]
) -> None:
    below = f"tast/meet-{order[0]}/firmware"
    pair = Pair(archive, below)
    urls = {A: (f"gs://{A}/tast/meet-{order[0]}", "firmware/x.bin"), B: (pair.url(B), "x.bin")}
    for bucket in order:
        url, file = urls[bucket]
        check_success(server.get("/stage", archive_url=url, files=file))
    for bucket in order:
        pair.check(server, bucket)
    assert pair.get(server).content == content_of(order[0], f"{below}/x.bin")


def test_what_was_staged_of_the_outer_build_later_meets_nothing(server: DevServer, archive: FakeArchive) -> None:
    pair = Pair(archive, "tast/later/firmware")
    archive.put(A, "tast/later/other.bin", b"other")
    check_success(server.get("/stage", archive_url=f"gs://{A}/tast/later", files="other.bin"))
    pair.stage(server, B)
    check_success(server.get("/stage", archive_url=f"gs://{A}/tast/later", files="firmware/x.bin"))
    for bucket in (A, B):
        pair.check(server, bucket)


def test_a_whole_bucket_does_not_take_the_address_of_every_build(server: DevServer, archive: FakeArchive) -> None:
    archive.put("whole-a", "perfetto-of-a/trace.bin", b"a trace")
    archive.put("whole-b", "target/perfetto.bin", b"b")
    check_success(server.get("/stage", archive_url="gs://whole-a", files="perfetto-of-a/trace.bin"))
    check_success(server.get("/stage", archive_url="gs://whole-b/target", files="perfetto.bin"))
    pair = Pair(archive, "perfetto-of-a", "trace.bin")
    pair.stage(server, B)
    assert server.get("/static/perfetto-of-a/trace.bin", gs_bucket="whole-a").content == b"a trace"
    assert server.get("/static/perfetto-of-a/trace.bin", gs_bucket=B).content == content_of(
        B, "perfetto-of-a/trace.bin"
    )
    remove = requests.delete(of_api(server, pair.url(B)), timeout=10)
    assert remove.status_code == 204, remove.text


def test_the_first_holds_until_it_is_gone_and_the_second_never_stands_in(server: DevServer, pair: Pair) -> None:
    pair.stage(server, A)
    pair.stage(server, B)
    assert requests.delete(of_api(server, pair.path), timeout=10).status_code == 204
    assert pair.get(server).status_code == 404
    assert pair.get(server, A).status_code == 404
    pair.check(server, B)
    pair.stage(server, B)  # it stays where it is
    assert pair.get(server).status_code == 404
    pair.stage(server, A)
    assert pair.get(server).content == content_of(A, f"{pair.path}/x.bin")
    pair.check(server, B)


def test_removing_and_cleaning_the_second_leaves_the_first(server: DevServer, archive: FakeArchive, pair: Pair) -> None:
    pair.stage(server, A)
    pair.stage(server, B)
    archive.fetches.clear()
    pair.stage(server, B, clean="true")
    assert len(archive.fetches) == 1
    pair.check(server, A)
    pair.check(server, B)
    assert requests.delete(of_api(server, pair.url(B)), timeout=10).status_code == 204
    assert pair.get(server, B).status_code == 404
    pair.check(server, A)
    assert not BuildPlaces(server.static_dir, pair.url(B)).records.exists()


def test_a_lease_of_one_does_not_hold_the_other(server: DevServer, pair: Pair) -> None:
    pair.stage(server, A)
    pair.stage(server, B, lease="1h")
    assert cause_of(
        server.get("/stage", archive_url=pair.url(B), files="x.bin", clean="true", holder="another")
    ).startswith("BuildHeld: ")
    assert requests.delete(of_api(server, pair.url(B)), timeout=10).status_code == 409
    assert requests.delete(of_api(server, pair.path), timeout=10).status_code == 204
    pair.check(server, B)
    leases = requests.get(of_api(server, pair.url(B), "/leases"), timeout=10).json()["leases"]
    assert len(leases) == 1


def test_every_way_to_name_a_build_names_the_second(server: DevServer, pair: Pair) -> None:
    pair.stage(server, A)
    pair.stage(server, B)
    for name, bucket in ((pair.path, A), (pair.url(A), A), (pair.url(B), B)):
        build = requests.get(of_api(server, name), timeout=10).json()
        assert build["archive_url"] == pair.url(bucket)
        assert build["build"] == (pair.path if bucket == A else pair.url(B))
    page = server.get(f"/builds/{pair.path}", gs_bucket=B)
    assert pair.url(B) in page.text
    links = re.findall(r'href="(/static/[^"]+)"', page.text)
    assert links
    files = [server.get(link.replace("&amp;", "&")) for link in links if "x.bin" in link]
    assert [file.content for file in files] == [content_of(B, f"{pair.path}/x.bin")]
    front = server.get("/", name=pair.path)
    assert f'href="/builds/{pair.path}"' in front.text
    assert f'href="/builds/{pair.path}?gs_bucket={B}"' in front.text
    listed = server.get("/list_image_dir", archive_url=pair.url(B)).text
    assert listed.startswith("x.bin ")
    located = server.get("/locate_file", archive_url=pair.url(B), file_name="x.bin")
    assert located.text == "x.bin"
    assert server.get("/wait_for_status", archive_url=pair.url(B)).status_code == 500  # no whole build is here
    names = [one["build"] for one in server.get("/api/v1/builds", limit="1000").json()["builds"]]
    assert {pair.path, pair.url(B)} <= set(names)


def test_a_list_is_of_one_bucket_and_its_links_lead_to_that_buckets_files(
    server: DevServer, archive: FakeArchive
) -> None:
    pair = Pair(archive, "listed/here/firmware", "x.bin", "sub/y.bin")
    archive.put(B, "listed/here/only-b.bin", b"only b")
    pair.stage(server, A)
    pair.stage(server, B)
    check_success(server.get("/stage", archive_url=f"gs://{B}/listed/here", files="only-b.bin"))

    def below(address: str) -> Iterator[str]:
        answer = requests.get(address, headers={"Accept": "application/json"}, timeout=10)
        for entry in answer.json():
            link = urljoin(address, entry["href"])
            yield from below(link) if entry["name"].endswith("/") else (link,)

    def files(query: str) -> dict[str, bytes]:
        links = below(f"{server.url}/static/listed/{query}")
        return {
            link.partition("/static/")[2].partition("?")[0]: requests.get(link, timeout=10).content for link in links
        }

    of_a, of_b = (
        {f"{pair.path}/{name}": content_of(bucket, f"{pair.path}/{name}") for name in pair.names} for bucket in (A, B)
    )
    assert files(f"?gs_bucket={A}") == of_a
    assert files("") == of_a
    assert files(f"?gs_bucket={B}") == {**of_b, "listed/here/only-b.bin": b"only b"}
    moved = requests.get(f"{server.url}/static/listed/here?gs_bucket={B}", allow_redirects=False, timeout=10)
    assert moved.headers["Location"] == f"/static/listed/here/?gs_bucket={B}"
    for bucket, version in (("", "firmware"), (A, "firmware"), (B, "firmware")):
        latest = server.get("/latestbuild", target="listed/here", **({"gs_bucket": bucket} if bucket else {}))
        assert latest.text == version
    assert server.get("/latestbuild", target="listed/here", gs_bucket="nobodys").status_code == 500


def test_an_operators_own_file_is_served_whatever_bucket_is_named(server: DevServer) -> None:
    (server.static_dir / "tools").mkdir(exist_ok=True)
    (server.static_dir / "tools/mine.txt").write_bytes(b"mine")
    assert server.get("/static/tools/mine.txt", gs_bucket=B).content == b"mine"


def test_buckets_whose_names_are_nearly_alike_are_told_apart(server: DevServer, archive: FakeArchive) -> None:
    buckets = ["a_b", "a.b", "a-b", "A_B", "file", "buckets"]
    for bucket in buckets:
        archive.put(bucket, "near/alike/x.bin", bucket.encode())
        check_success(server.get("/stage", archive_url=f"gs://{bucket}/near/alike", files="x.bin"))
    for bucket in buckets:
        assert server.get("/static/near/alike/x.bin", gs_bucket=bucket).content == bucket.encode()


@pytest.mark.parametrize(
    "name", ["a_b/c", "a-b/c", "gs://a_b/c", "gs://a.b/c/d", "gs://a-b", "file:///srv/a/b", "file:/x", ""]
)
def test_a_build_has_one_name_and_one_directory(name: str) -> None:
    assert name_of(directory_of(name)) == name
    assert not fault_of_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "gs://",
        "gs:///x",
        "gs://b/",
        "gs://b/../x",
        "gs://b/.devserver/x",
        "file://x/y",
        "file:///",
        "s3://b/x",
        "gs://b//x",
        "gs://b/x/",
        "a//b",
        ".devserver/buckets/b",
    ],
)
def test_what_leads_elsewhere_is_no_name_of_a_build(name: str) -> None:
    assert fault_of_name(name)


def test_a_worker_of_the_version_before_refuses_a_job_that_it_cannot_place(tmp_path: Path) -> None:
    from artifacts.job import StageRequest, StagingOptions

    request = StageRequest("gs://bucket/t/v", [], StagingOptions(tmp_path), is_of_its_own=True)
    with pytest.raises(Exception, match="should look like gs://"):
        ArchiveUrl.parse(request.to_json()["archive_url"], any_depth=True)
    again = StageRequest.from_json(json.loads(json.dumps(request.to_json())))
    assert (again.places.build_path, str(again.url)) == ("gs://bucket/t/v", "gs://bucket/t/v")


def test_nothing_is_published_into_the_build_of_another_archive_url(tmp_path: Path) -> None:
    places = BuildPlaces(tmp_path, "target/version")
    update_manifest(places, "gs://first/target/version", {})
    area = StagingArea(places, "file:x.bin")
    area.prepare()
    (area.tree / "x.bin").write_bytes(b"of the second")
    with pytest.raises(BuildConflict):
        area.publish("gs://second/target/version", ArtifactRecord("staged"), {})
    with pytest.raises(BuildConflict):
        update_manifest(places, "gs://second/target/version", {})
    assert not (places.published / "x.bin").exists()


def test_who_is_first_is_decided_once_however_many_ask(tmp_path: Path) -> None:
    urls = [ArchiveUrl.parse(f"gs://bucket-{number}/target/version") for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda url: Placing(tmp_path).claim(url), urls))
    names = sorted(claim.places.build_path for claim in claims)
    assert names.count("target/version") == 1
    assert len(set(names)) == 8
    for claim, url in zip(claims, urls, strict=True):
        assert Placing(tmp_path).of(url) == claim.places
        claim.release()
    assert Placing(tmp_path).of(urls[3]).build_path == "target/version"  # nothing of any is there
    assert not list((tmp_path / ".devserver/claims").iterdir())


@pytest.mark.own_server
def test_a_restart_and_a_crash_while_the_second_is_staged_change_nobodys_place(
    start_server: StartServer, archive: FakeArchive
) -> None:
    pair = Pair(archive, "tast/crash")
    server = start_server()
    pair.stage(server, A)
    with archive.holding("x.bin") as reached:
        server.ask("/stage", archive_url=pair.url(B), files="x.bin")
        assert reached.wait(10)
        assert pair.get(server, B).status_code == 404
        server.kill()
        server.start_again()
        pair.check(server, A)
    eventually(lambda: server.get("/is_staged", archive_url=pair.url(B), files="x.bin").text == "True")
    pair.check(server, B)
    assert server.stop() == 0
    server.start_again()
    for bucket in (A, B):
        pair.check(server, bucket)
    assert not list((server.static_dir / ".devserver/claims").iterdir())
    assert not list((server.static_dir / ".devserver/staging").iterdir())


@pytest.mark.not_behind("nginx", "nobody knows who reads, and what was used lately is not evicted")
@pytest.mark.own_server
def test_verification_and_eviction_know_both(start_server: StartServer, archive: FakeArchive) -> None:
    pair = Pair(archive, "tast/evicted")
    server = start_server("--max-bytes", "200K")
    pair.stage(server, A)
    pair.stage(server, B)
    from tests.terminal import in_a_pipe

    told = in_a_pipe("--static-dir", str(server.static_dir), "verify")
    assert told.returncode == 0, told
    damaged = BuildPlaces(server.static_dir, pair.url(B)).published / "x.bin"
    damaged.write_bytes(b"?" * damaged.stat().st_size)
    told = in_a_pipe("--static-dir", str(server.static_dir), "verify")
    assert pair.url(B) in told.stdout
    assert told.returncode != 0
    pair.check(server, A)
    archive.put(A, "tast/large/y.bin", b"y" * 120_000)
    check_success(server.get("/stage", archive_url=f"gs://{A}/tast/large", files="y.bin"))
    assert pair.get(server, B).status_code == 404
    pair.check(server, A)
