"""Builds of two buckets that have one path, through the nginx configurations: never another bucket's bytes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
import requests

from tests.fake_archive import FakeArchive
from tests.nginx import free_port, in_front_of, running_nginx, written
from tests.servers import DevServer, eventually
from tests.test_buckets import SPELLINGS, TWO_OR_NONE, A, B, content_of
from web.access.tokens import SCOPES, make_token
from web.ledger.records import rows_of

PATH = "tast/cros/firmware"


class Front(NamedTuple):
    """The address of an nginx, and the devservers behind it."""

    address: str
    servers: list[DevServer]

    def get(self, query: str = "", name: str = "x.bin", **headers: str) -> requests.Response:
        """A file of the path; ``query`` as it stands in the URL."""
        return requests.get(f"{self.address}/static/{PATH}/{name}{query}", headers=headers, timeout=30)

    def stage(self, bucket: str, path: str = PATH, files: str = "x.bin") -> None:
        """Have a file staged of one bucket, through nginx."""
        query = {"archive_url": f"gs://{bucket}/{path}", "files": files}
        answer = requests.get(f"{self.address}/stage", params=query, timeout=30)
        assert answer.text == "Success", answer.text


@pytest.fixture(scope="module")
def archive() -> Iterator[FakeArchive]:
    with FakeArchive() as archive:
        for bucket in (A, B):
            archive.put(bucket, f"{PATH}/x.bin", content_of(bucket, "x.bin"))
        archive.put(B, f"{PATH}/only-b.html", b"only b")
        yield archive


def started(directory: Path, archive: FakeArchive, *options: str) -> DevServer:
    directory.mkdir(exist_ok=True)
    return DevServer(directory, *options, environment={"STORAGE_EMULATOR_HOST": archive.url})


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, archive: FakeArchive) -> Iterator[Front]:
    """An nginx in front of one devserver, whose first is A."""
    directory = tmp_path_factory.mktemp("one")
    options = (
        "--front",
        "nginx",
        "--front-log",
        str(directory / "run/use.log"),
        "--ledger",
        str(directory / "ledger.db"),
    )
    server = started(directory, archive, *options)
    try:
        with in_front_of(server, directory / "run") as address:
            front = Front(address, [server])
            front.stage(A)
            front.stage(B, files="x.bin,only-b.html")
            yield front
    finally:
        server.close()


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory, archive: FakeArchive) -> Iterator[Front]:
    """An nginx in front of three devservers, each with a disk of its own; the first is B."""
    directory = tmp_path_factory.mktemp("several")
    servers = [started(directory / name, archive) for name in ("a", "b", "c")]
    try:
        port, run_dir = free_port(), directory / "run"
        upstreams = [f"--upstream=127.0.0.1:{server.own_port}" for server in servers]
        with running_nginx(run_dir, written((), f"127.0.0.1:{port}", run_dir, *upstreams), port) as address:
            front = Front(address, servers)
            front.stage(B)
            front.stage(A)
            yield front
    finally:
        for server in servers:
            server.close()


@pytest.fixture(params=["one", "several"])
def front(request: pytest.FixtureRequest) -> Front:
    front: Front = request.getfixturevalue(request.param)
    return front


def test_eight_clients_read_both_through_nginx(front: Front) -> None:
    def read(number: int) -> None:
        bucket = (A, B)[number % 2]
        for _ in range(20):
            answer = front.get(f"?gs_bucket={bucket}")
            assert (answer.status_code, answer.content) == (200, content_of(bucket, "x.bin"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, range(8)))
    assert front.get("?gs_bucket=nobodys").status_code == 404


def test_without_a_bucket_nginx_serves_the_first(one: Front, several: Front) -> None:
    for query in ("", "?x=1", "?gs_bucket="):
        assert one.get(query).content == content_of(A, "x.bin")
        assert several.get(query).content == content_of(B, "x.bin")
    assert one.get(name="only-b.html").status_code == 404


@pytest.mark.parametrize("query", SPELLINGS)
def test_nginx_and_the_devserver_agree_on_every_spelling(front: Front, query: str) -> None:
    answer = front.get(f"?{query.format(B=B)}")
    assert (answer.status_code, answer.content) == (200, content_of(B, "x.bin"))


@pytest.mark.parametrize("query", TWO_OR_NONE)
def test_what_names_two_buckets_or_none_is_refused_through_nginx(front: Front, query: str) -> None:
    assert front.get(f"?{query}").status_code == 400


@pytest.mark.parametrize("bucket", [A, B])
def test_ranges_and_conditions_are_right_through_nginx(front: Front, bucket: str) -> None:
    content, query = content_of(bucket, "x.bin"), f"?gs_bucket={bucket}"
    whole = front.get(query)
    head = requests.head(f"{front.address}/static/{PATH}/x.bin{query}", timeout=10)
    for answer in (whole, head):
        assert int(answer.headers["Content-Length"]) == len(content)
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["X-Goog-Hash"].startswith("crc32c=")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "X-Accel-Redirect" not in answer.headers
    etag = whole.headers["ETag"]
    part = front.get(query, Range="bytes=5-")
    assert (part.status_code, part.content) == (206, content[5:])
    assert part.headers["ETag"] == etag
    assert front.get(query, Range="bytes=99999999-").status_code == 416
    assert front.get(query, **{"If-None-Match": etag}).status_code == 304
    assert front.get(query, **{"If-Match": '"another"'}).status_code == 412
    resumed = front.get(query, Range="bytes=5-", **{"If-Range": etag})
    assert (resumed.status_code, resumed.content) == (206, content[5:])
    other = front.get(f"?gs_bucket={A if bucket == B else B}", Range="bytes=5-", **{"If-Range": etag})
    assert (other.status_code, other.content) == (200, content_of(A if bucket == B else B, "x.bin"))


def test_a_list_through_nginx_is_of_the_bucket(one: Front) -> None:
    names = {
        bucket: [entry["name"] for entry in one.get(f"?gs_bucket={bucket}", "", Accept="application/json").json()]
        for bucket in (A, B)
    }
    assert names == {A: ["x.bin"], B: ["only-b.html", "x.bin"]}
    page = one.get(f"?gs_bucket={B}", name="only-b.html")
    assert (page.content, page.headers["Content-Type"]) == (b"only b", "text/html;charset=utf-8")
    assert page.headers["Content-Security-Policy"] == "sandbox"


@pytest.mark.parametrize(
    "address",
    [
        f"/static/.devserver/place/{PATH}/x.bin",
        f"/static/.devserver/place/{PATH}/x.bin?gs_bucket={B}",
        f"/static/.devserver/buckets/{B}/{PATH}/x.bin",
        f"/static/%2edevserver/place/.devserver/buckets/{B}/{PATH}/x.bin",
        "/static/.devserver/place/.devserver/clock",
    ],
)
def test_the_place_is_no_address(front: Front, address: str) -> None:
    assert requests.get(f"{front.address}{address}", timeout=10).status_code == 404


def test_a_cache_that_goes_by_the_path_alone_is_told_not_to_keep_what_lies_beside(front: Front) -> None:
    is_beside: Callable[[str], bool] = lambda bucket: (  # noqa: E731
        front.get(f"?gs_bucket={bucket}").headers.get("Cache-Control") == "no-store"
    )
    first = A if front.get().content == content_of(A, "x.bin") else B
    assert (is_beside(first), is_beside(A if first == B else B)) == (False, True)


def test_the_ledger_and_the_last_use_are_of_the_build_that_was_read(one: Front) -> None:
    ledger = one.servers[0].static_dir.parent / "ledger.db"
    name, size = f"gs://{B}/{PATH}", len(content_of(B, "x.bin"))

    def rows(build: str) -> list[tuple[int, int, bool]]:
        try:
            return [(row.status, row.bytes, row.whole) for row in rows_of(ledger) if row.build == build]
        except sqlite3.OperationalError:
            return []

    one.get(f"?gs_bucket={A}")
    one.get(f"?gs_bucket={B}")
    one.get(f"?gs_bucket={B}", Range="bytes=0-9")
    eventually(lambda: rows(PATH) and {(200, size, True), (206, 10, False)} <= set(rows(name)))
    used = requests.get(f"{one.address}/api/v1/builds/gs%3A%2F%2F{B}%2F{PATH.replace('/', '%2F')}", timeout=10).json()
    assert used["last_used"]


def test_a_bucket_opens_nothing_without_a_token(archive: FakeArchive, tmp_path: Path) -> None:
    secret, token = make_token("lab", SCOPES)
    (tmp_path / "tokens").write_text(f"{token.line}\n")
    (tmp_path / "tokens").chmod(0o600)
    guarded = ("--tokens", str(tmp_path / "tokens"), "--require-token-to-read")
    server = started(tmp_path, archive, *guarded, "--front", "nginx")
    known = {"Authorization": f"Bearer {secret}"}
    try:
        with in_front_of(server, tmp_path / "run", *guarded) as address:
            for bucket in (A, B):
                query = {"archive_url": f"gs://{bucket}/{PATH}", "files": "x.bin"}
                assert requests.get(f"{address}/stage", params=query, headers=known, timeout=30).text == "Success"
            url = f"{address}/static/{PATH}/x.bin?gs_bucket={B}"
            assert requests.get(url, timeout=10).status_code == 401
            assert requests.get(url, headers=known, timeout=10).content == content_of(B, "x.bin")
    finally:
        server.close()
