"""A build that another devserver has crosses the lab's network, not the internet; and no peer is believed."""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.builds import FULL_PAYLOAD, Build, make_build, tarball
from tests.fake_archive import FakeArchive
from tests.nginx import free_port
from tests.servers import DevServer, check_success
from tests.terminal import in_a_pipe
from web.access.tokens import SCOPES, make_token
from web.client import Client

StartDevserver = Callable[..., DevServer]


# One archive, and one devserver that has a build of it, for all the tests that change nothing of theirs.


@pytest.fixture(scope="module")
def archive() -> Iterator[FakeArchive]:
    """A scripted archive."""
    with FakeArchive() as archive:
        yield archive


@pytest.fixture(scope="module")
def build(archive: FakeArchive) -> Build:
    """A small build in the scripted archive."""
    return make_build().upload(archive)


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory, archive: FakeArchive, build: Build) -> Iterator[DevServer]:
    directory = tmp_path_factory.mktemp("peer")
    peer = DevServer(directory, "--keep-objects", environment={"STORAGE_EMULATOR_HOST": archive.url})
    peer.stage(build.url)
    yield peer
    peer.close()


@pytest.fixture
def peer(staged: DevServer, archive: FakeArchive) -> DevServer:
    """A devserver that has the build, and keeps what that is made of."""
    archive.fetches.clear()
    return staged


@pytest.fixture
def devserver(tmp_path: Path, archive: FakeArchive) -> Iterator[StartDevserver]:
    """Starts devservers that read from the scripted archive, each with a disk of its own."""
    servers: list[DevServer] = []

    def start(name: str, *options: str) -> DevServer:
        directory = tmp_path / name
        directory.mkdir()
        servers.append(DevServer(directory, *options, environment={"STORAGE_EMULATOR_HOST": archive.url}))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


class Relay:
    """Stands before a devserver, and does to its answers below /objects what a test wants."""

    def __init__(self, target: str, change: Callable[[BaseHTTPRequestHandler, requests.Response], None]) -> None:
        self.asked = 0
        relay = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                relay.asked += 1
                headers = {"Range": self.headers.get("Range", "")}
                change(self, requests.get(f"{target}{self.path}", headers=headers, timeout=20))

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def relay() -> Iterator[Callable[..., Relay]]:
    """Makes relays, which end with the test."""
    relays: list[Relay] = []

    def make(*arguments: Any) -> Relay:
        relays.append(Relay(*arguments))
        return relays[-1]

    yield make
    for one in relays:
        one.close()


def metric(server: DevServer, name: str) -> float:
    lines = server.get("/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


def size_of(build: Build) -> int:
    """Bytes of the objects that staging the build takes."""
    return sum(len(content) for name, content in build.objects.items() if name != "image.zip")


def pass_on(handler: BaseHTTPRequestHandler, answer: requests.Response, body: bytes, sent: int) -> None:
    handler.send_response(answer.status_code)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[:sent])
    handler.close_connection = True


def test_not_one_byte_of_an_object_that_a_peer_has_comes_from_the_archive(
    devserver: StartDevserver, peer: DevServer, archive: FakeArchive, build: Build
) -> None:
    server = devserver("new", "--peer", peer.url)
    server.stage(build.url)
    build.check_staged(server.static_dir)
    assert archive.fetches == []
    assert metric(server, "devserver_archive_read_bytes_total") == 0
    assert metric(server, "devserver_peer_read_bytes_total") == size_of(build)


def test_who_filled_from_a_peer_is_a_peer(
    devserver: StartDevserver, peer: DevServer, archive: FakeArchive, build: Build
) -> None:
    second = devserver("second", "--peer", peer.url)
    second.stage(build.url)
    third = devserver("third", "--peer", second.url)
    third.stage(build.url)
    build.check_staged(third.static_dir)
    assert archive.fetches == []


def test_a_zip_file_comes_from_a_peer(devserver: StartDevserver, archive: FakeArchive, tmp_path: Path) -> None:
    packed = tmp_path / "image.zip"
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("chromiumos_base_image.bin", b"an image" * 1000)
    archive.put("lab", "board/R1-1.0.0/image.zip", packed.read_bytes())
    query = {"archive_url": "gs://lab/board/R1-1.0.0", "artifacts": "base_image"}
    peer = devserver("peer", "--keep-objects")
    check_success(peer.get("/stage", **query))
    archive.fetches.clear()
    server = devserver("new", "--peer", peer.url)
    check_success(server.get("/stage", **query))
    assert server.get("/static/board/R1-1.0.0/chromiumos_base_image.bin").content == b"an image" * 1000
    assert archive.fetches == []


@pytest.mark.parametrize("name", [FULL_PAYLOAD, "autotest.tar.bz2"])
def test_a_peer_that_lies_is_found_out(
    devserver: StartDevserver, peer: DevServer, build: Build, name: str, relay: Callable[..., Relay]
) -> None:
    def lie(handler: BaseHTTPRequestHandler, answer: requests.Response) -> None:
        body = answer.content
        if f"name={name}&" in handler.path and body:
            body = body[:-1] + bytes([body[-1] ^ 1])
        pass_on(handler, answer, body, len(body))

    liar = relay(peer.url, lie)
    server = devserver("new", "--peer", liar.url)
    server.stage(build.url)
    build.check_staged(server.static_dir)
    assert f"the peer {liar.url} is not asked any more" in server.log
    assert "ChecksumMismatch" in server.log or "crc32c" in server.log
    assert metric(server, "devserver_checksum_failures_total") == 1


DEEP = "/".join(["d" * 200] * 40)  # longer than any path may be


@pytest.mark.parametrize("name", ["../outside", DEEP], ids=["outside", "deep"])
def test_a_peer_that_sends_what_cannot_be_unpacked_is_found_out(
    devserver: StartDevserver, peer: DevServer, build: Build, relay: Callable[..., Relay], name: str
) -> None:
    bomb = tarball({name: b"x"})

    def lie(handler: BaseHTTPRequestHandler, answer: requests.Response) -> None:
        body = answer.content
        if "name=autotest.tar.bz2&" in handler.path:
            body = (bomb + bytes(len(body)))[: len(body)]
        pass_on(handler, answer, body, len(body))

    liar = relay(peer.url, lie)
    server = devserver("new", "--peer", liar.url)
    server.stage(build.url)
    build.check_staged(server.static_dir)
    assert (
        f"the peer {liar.url} is not asked any more: bytes of autotest that came from it were not right" in server.log
    )
    assert metric(server, "devserver_checksum_failures_total") == 1


def test_where_a_peer_dies_the_archive_goes_on(
    devserver: StartDevserver, peer: DevServer, archive: FakeArchive, build: Build, relay: Callable[..., Relay]
) -> None:
    def cut(handler: BaseHTTPRequestHandler, answer: requests.Response) -> None:
        pass_on(handler, answer, answer.content, len(answer.content) // 2)

    server = devserver("new", "--peer", relay(peer.url, cut).url, "--max-artifacts", "1")
    server.stage(build.url)
    build.check_staged(server.static_dir)
    assert any(fetch.start > 0 for fetch in archive.fetches), "what had come was fetched again"


@pytest.mark.parametrize("how", ["silent", "slow"])
def test_a_peer_that_hangs_is_given_up(
    devserver: StartDevserver, peer: DevServer, build: Build, relay: Callable[..., Relay], how: str
) -> None:
    over = threading.Event()

    def hang(handler: BaseHTTPRequestHandler, answer: requests.Response) -> None:
        handler.send_response(206)
        handler.send_header("Content-Length", str(len(answer.content)))
        handler.end_headers()
        position = 0
        while not over.wait(0.05):
            if how == "slow":
                handler.wfile.write(answer.content[position : position + 10])
                position += 10

    other = relay(peer.url, hang)
    server = devserver("new", "--peer", other.url, "--max-artifacts", "1")
    try:
        server.stage(build.url)
    finally:
        over.set()
    build.check_staged(server.static_dir)
    assert f"the peer {other.url} is not asked any more: reading " in server.log


def test_what_one_peer_does_not_bring_the_next_one_does(
    devserver: StartDevserver, peer: DevServer, archive: FakeArchive, build: Build, relay: Callable[..., Relay]
) -> None:
    def cut(handler: BaseHTTPRequestHandler, answer: requests.Response) -> None:
        pass_on(handler, answer, answer.content, len(answer.content) // 2)

    gone, breaks_off = f"http://127.0.0.1:{free_port()}", relay(peer.url, cut).url
    server = devserver("new", "--peer", gone, "--peer", breaks_off, "--peer", peer.url)
    server.stage(build.url)
    build.check_staged(server.static_dir)
    assert archive.fetches == []


def test_a_token_that_cannot_be_used_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("two lines\nof a file\n")
    for file, reason in (("tokens", "should hold a token and nothing else"), ("none", "cannot be read")):
        ended = in_a_pipe("--static-dir", str(tmp_path / "static"), "--port", "0", "--peer-token", str(tmp_path / file))
        assert ended.returncode == 2
        assert f"--peer-token: {tmp_path / file} {reason}" in ended.stderr


def test_names_may_be_long(devserver: StartDevserver, archive: FakeArchive, tmp_path: Path) -> None:
    name = f"{'n' * 150}/{'m' * 150}.tar"
    archive.put("lab", f"board/R1-1.0.0/{name}", tarball({"file": b"content"}, ""))
    catalogue = tmp_path / "catalogue.toml"
    catalogue.write_text(f'[[artifact]]\nname = "long"\npattern = "{name}"\nunpack = true\n')
    peer = devserver("peer", "--keep-objects", "--catalog", str(catalogue))
    check_success(peer.download("gs://lab/board/R1-1.0.0", background="false"))
    archive.fetches.clear()
    server = devserver("new", "--peer", peer.url, "--catalog", str(catalogue))
    check_success(server.download("gs://lab/board/R1-1.0.0", background="false"))
    assert server.get("/static/board/R1-1.0.0/file").content == b"content"
    assert archive.fetches == []


def test_the_build_of_a_whole_bucket_goes_alone(devserver: StartDevserver, archive: FakeArchive) -> None:
    archive.put("root", "autotest.tar.bz2", tarball({"autotest/file": b"content"}))
    server = devserver("peer", "--keep-objects")
    check_success(server.get("/stage", archive_url="gs://root", artifacts="autotest"))
    other = server.static_dir / ".devserver" / "staging" / "other" / "area" / "tree" / "empty"
    other.mkdir(parents=True)
    check_success(server.get("/stage", archive_url="gs://root", artifacts="autotest", clean="True"))
    assert other.is_dir()
    assert (server.static_dir / ".devserver" / "objects" / "autotest.tar.bz2").is_file()


@pytest.mark.parametrize("status", [302, 401, 500, 200])
def test_a_peer_that_answers_otherwise_is_left_alone(
    devserver: StartDevserver, peer: DevServer, build: Build, relay: Callable[..., Relay], status: int
) -> None:
    def answer_otherwise(handler: BaseHTTPRequestHandler, answer: requests.Response) -> None:
        handler.send_response(status)
        handler.send_header("Location", f"{peer.url}{handler.path}")
        handler.send_header("Content-Length", str(len(answer.content)))
        handler.end_headers()
        handler.wfile.write(answer.content)

    other = relay(peer.url, answer_otherwise)
    server = devserver("new", "--peer", other.url, "--max-artifacts", "1")
    server.stage(build.url)
    build.check_staged(server.static_dir)
    assert f"the peer {other.url} is not asked any more: it answered {status}" in server.log
    assert other.asked <= 6
    assert metric(server, "devserver_peer_read_bytes_total") == 0


def test_a_peer_that_is_not_there_is_no_harm(devserver: StartDevserver, build: Build) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    server = devserver("new", "--peer", url)
    server.stage(build.url)
    build.check_staged(server.static_dir)
    assert f"the peer {url} is not asked any more" in server.log


def test_two_devservers_may_be_each_others_peers(devserver: StartDevserver, archive: FakeArchive, build: Build) -> None:
    port = free_port()
    first = devserver("first", "--peer", f"http://127.0.0.1:{port}")
    second = devserver("second", "--peer", first.url, "--port", str(port))
    first.stage(build.url)
    archive.fetches.clear()
    second.stage(build.url)
    other = make_build(version="R18-2000.0.0-a1-b2").upload(archive)
    second.stage(other.url)
    first.stage(other.url)
    for one in (build, other):
        one.check_staged(first.static_dir)
        one.check_staged(second.static_dir)
    assert sum(fetch.sent for fetch in archive.fetches) == size_of(other), "each of its objects once"


def test_another_generation_of_an_object_is_another_object(
    devserver: StartDevserver, peer: DevServer, archive: FakeArchive
) -> None:
    build = make_build(version="R19-3000.0.0-a1-b3").upload(archive)
    peer.stage(build.url)
    archive.put(build.bucket, f"{build.path}/{FULL_PAYLOAD}", b"a newer payload")
    server = devserver("new", "--peer", peer.url)
    server.stage(build.url)
    assert server.get(f"/static/{build.path}/update.gz").content == b"a newer payload"


def test_a_token_goes_along_to_a_peer_that_wants_one(
    devserver: StartDevserver, archive: FakeArchive, build: Build, tmp_path: Path
) -> None:
    secret, token = make_token("lab", SCOPES)
    for name, text in (("tokens", token.line), ("right", secret), ("wrong", "another-token")):
        (tmp_path / name).write_text(f"{text}\n")
        (tmp_path / name).chmod(0o600)
    peer = devserver("peer", "--keep-objects", "--tokens", str(tmp_path / "tokens"), "--require-token-to-read")
    client = Client(peer.url, token=secret)
    client.download(build.url)
    client.wait_for_status(build.url)
    archive.fetches.clear()
    friend = devserver("friend", "--peer", peer.url, "--peer-token", str(tmp_path / "right"))
    friend.stage(build.url)
    assert archive.fetches == []
    stranger = devserver("stranger", "--peer", peer.url, "--peer-token", str(tmp_path / "wrong"))
    stranger.stage(build.url)
    assert f"the peer {peer.url} is not asked any more: it answered 401" in stranger.log


def test_what_is_kept_for_peers_is_nobody_elses(peer: DevServer, build: Build) -> None:
    kept = peer.static_dir / build.path / ".devserver" / "objects"
    assert {path.name for path in kept.iterdir()} == {"test_suites.tar.bz2", "autotest.tar.bz2"}
    assert peer.get(f"/static/{build.path}/.devserver/objects/autotest.tar.bz2").status_code == 404
    assert "objects" not in requests.get(f"{peer.url}/builds/{build.path}", timeout=20).text
    build.check_staged(peer.static_dir)


def test_without_peers_nothing_is_kept(devserver: StartDevserver, build: Build) -> None:
    server = devserver("alone")
    server.stage(build.url)
    assert not (server.static_dir / build.path / ".devserver" / "objects").exists()


def test_what_is_kept_goes_with_the_build(peer: DevServer, archive: FakeArchive) -> None:
    build = make_build(version="R20-4000.0.0-a1-b4").upload(archive)
    peer.stage(build.url)
    assert requests.delete(f"{peer.url}/api/v1/builds/{build.path}", timeout=20).ok
    assert not (peer.static_dir / build.path).exists()


def test_what_is_kept_counts_as_the_builds(devserver: StartDevserver, peer: DevServer, build: Build) -> None:
    alone = devserver("alone")
    alone.stage(build.url)
    sizes = [server.get(f"/api/v1/builds/{build.path}").json()["size"] for server in (peer, alone)]
    kept = len(build.objects["autotest.tar.bz2"]) + len(build.objects["test_suites.tar.bz2"])
    assert sizes[0] - sizes[1] == kept


def objects(peer: DevServer, **query: str) -> requests.Response:
    return peer.get("/objects", **query)


def generation_of(peer: DevServer, build: Build, file: str) -> str:
    return peer.get(f"/static/{build.path}/{file}").headers["ETag"].strip('"').rpartition("-")[2]


def test_an_object_is_served_by_its_name_and_generation(peer: DevServer, build: Build) -> None:
    generation = generation_of(peer, build, "update.gz")
    right = {"archive_url": build.url, "name": FULL_PAYLOAD, "generation": generation}
    assert objects(peer, **right).content == build.objects[FULL_PAYLOAD]
    part = requests.get(f"{peer.url}/objects", params=right, headers={"Range": "bytes=10-19"}, timeout=20)
    assert (part.status_code, part.content) == (206, build.objects[FULL_PAYLOAD][10:20])


@pytest.mark.parametrize(
    "wrong",
    [
        {"archive_url": "gs://another-bucket/x86-mario-release/R17-1413.0.0-a1-b1346"},
        {"archive_url": "file:///etc"},
        {"archive_url": ""},
        {"archive_url": "gs://chromeos-image-archive/../.."},
        {"name": "../update.gz"},
        {"name": "image.zip"},
        {"name": ".devserver/manifest.json"},
        {"name": "\0"},
        {"generation": "1"},
        {"generation": ""},
    ],
    ids=str,
)
def test_nothing_else_is_served(peer: DevServer, build: Build, wrong: dict[str, str]) -> None:
    generation = generation_of(peer, build, "update.gz")
    right = {"archive_url": build.url, "name": FULL_PAYLOAD, "generation": generation}
    assert objects(peer, **{**right, **wrong}).status_code == 404
