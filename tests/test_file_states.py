"""Two builds' bytes are never joined: what names a file's state is its content, whatever time its tarball says."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.builds import BUCKET, noise
from tests.fake_archive import FakeArchive, crc32c_of
from tests.nginx import in_front_of, spread_before
from tests.servers import DevServer, check_success

SIZE = 50_000
OLD, NEW = noise(SIZE, "old"), noise(SIZE, "new")
_NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, shared_archive: FakeArchive) -> Iterator[DevServer]:
    server = DevServer(tmp_path_factory.mktemp("states"), environment={"STORAGE_EMULATOR_HOST": shared_archive.url})
    yield server
    server.close()


@pytest.fixture(scope="module", params=["devserver", "nginx", "nginx of several"])
def address(
    request: pytest.FixtureRequest, server: DevServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Where clients ask: the devserver itself, and either nginx in front of it."""
    if request.param == "devserver":
        yield server.url
    elif request.param == "nginx":
        with in_front_of(server, tmp_path_factory.mktemp("nginx")) as front:
            yield front
    else:
        with spread_before(server.own_port, server.static_dir, tmp_path_factory.mktemp("spread")) as port:
            yield f"http://127.0.0.1:{port}"


class Build:
    """A build whose file ``image.bin`` comes out of a tarball of one time for all, or is an object as it is."""

    def __init__(self, server: DevServer, archive: FakeArchive, kind: str, folder: Path) -> None:
        self._server, self._archive, self._kind, self._folder = server, archive, kind, folder
        self.path = f"states/v{next(_NUMBERS)}"
        self._url = f"gs://{BUCKET}/{self.path}"

    def stage(self, content: bytes) -> None:
        """Put a build of that content into the archive, and stage it."""
        if self._kind == "object":
            self._archive.put(BUCKET, f"{self.path}/image.bin", content)
            check_success(self._server.get("/stage", archive_url=self._url, files="image.bin"))
            return
        (self._folder / "image.bin").write_bytes(content)
        for number in range(150 if self._kind == "one of many" else 0):
            (self._folder / f"{number}.txt").write_bytes(b"x")
        command = ["tar", "-C", str(self._folder), "--mtime=@0", "-cjf", "-", "."]
        packed = subprocess.run(command, check=True, capture_output=True).stdout
        self._archive.put(BUCKET, f"{self.path}/test_suites.tar.bz2", packed)
        check_success(self._server.get("/stage", archive_url=self._url, artifacts="test_suites"))

    def replace(self, content: bytes) -> None:
        """Remove the build, and stage another at its place, at once."""
        address = f"{self._server.url}/api/v1/builds/{self.path.replace('/', '%2F')}"
        assert requests.delete(address, timeout=20).status_code == 204
        self.stage(content)


@pytest.fixture(params=["one of few", "one of many", "object"])
def build(request: pytest.FixtureRequest, server: DevServer, shared_archive: FakeArchive, tmp_path: Path) -> Build:
    return Build(server, shared_archive, request.param, tmp_path)


def get(address: str, build: Build, **headers: str) -> requests.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.get(f"{address}/static/{build.path}/image.bin", headers=named, timeout=20)


def test_a_download_that_broke_off_never_goes_on_with_another_builds_bytes(address: str, build: Build) -> None:
    build.stage(OLD)
    answers = [get(address, build, Range=f"bytes=0-{SIZE // 2 - 1}"), get(address, build)]
    answers.append(get(address, build, If_Range='"none"', Range="bytes=0-9"))
    assert [answer.status_code for answer in answers] == [206, 200, 200]
    build.replace(NEW)
    for told in (answer.headers for answer in answers):
        rest = f"bytes={SIZE // 2}-"
        for state in (told["ETag"], told["Last-Modified"]):
            resumed = get(address, build, Range=rest, If_Range=state)
            assert (resumed.status_code, resumed.content) == (200, NEW), state
        assert get(address, build, If_None_Match=told["ETag"]).content == NEW
        assert get(address, build, If_Modified_Since=told["Last-Modified"]).content == NEW
        assert get(address, build, If_Match=told["ETag"], Range=rest).status_code == 412


def test_a_download_of_the_same_build_goes_on(address: str, build: Build) -> None:
    build.stage(OLD)
    told = get(address, build, If_None_Match='"none"').headers  # which nginx does not answer by itself
    resumed = get(address, build, Range=f"bytes={SIZE // 2}-", If_Range=told["ETag"])
    assert (resumed.status_code, resumed.content) == (206, OLD[SIZE // 2 :])
    assert get(address, build, If_None_Match=told["ETag"]).status_code == 304
    assert get(address, build, If_Match=told["ETag"]).content == OLD
    assert get(address, build, If_Match='"none"').status_code == 412


def test_what_was_unpacked_tells_its_checksum(server: DevServer, shared_archive: FakeArchive, tmp_path: Path) -> None:
    build = Build(server, shared_archive, "one of few", tmp_path)
    build.stage(OLD)
    told = get(server.url, build).headers
    assert told["X-Goog-Hash"] == f"crc32c={crc32c_of(OLD)}"
    build.replace(OLD)
    assert get(server.url, build).headers["ETag"] == told["ETag"]  # the very bytes, staged anew


def test_a_download_of_one_bucket_never_goes_on_with_anothers_bytes(
    server: DevServer, shared_archive: FakeArchive, address: str
) -> None:
    path = f"states/v{next(_NUMBERS)}"
    for bucket, content in (("first", OLD), ("second", NEW)):
        shared_archive.put(bucket, f"{path}/image.bin", content)
        check_success(server.get("/stage", archive_url=f"gs://{bucket}/{path}", files="image.bin"))
    half = {"Range": f"bytes=0-{SIZE // 2 - 1}"}
    file = f"{address}/static/{path}/image.bin?gs_bucket="
    first = requests.get(f"{file}first", headers=half, timeout=20)
    assert first.content == OLD[: SIZE // 2]
    rest = {"Range": f"bytes={SIZE // 2}-", "If-Range": first.headers["ETag"]}
    assert requests.get(f"{file}second", headers=rest, timeout=20).content == NEW
    assert requests.get(f"{file}first", headers=rest, timeout=20).content == OLD[SIZE // 2 :]
