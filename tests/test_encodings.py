"""Objects with a Content-Encoding: kept as they are stored, and served so that each client gets what it understands."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from staging.encodings import is_one_layer_more
from tests import nginx
from tests.builds import Build, make_build, noise, tarball
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.servers import DevServer, check_success

pytestmark = pytest.mark.shared_server

PLAIN = b"a line of a report\n" * 50_000
PACKED = gzip.compress(PLAIN, mtime=0)
TAR = tarball({"a.txt": b"a file of a tarball\n"}, "")
TGZ = gzip.compress(TAR, mtime=0)


def staged(server: DevServer, archive: FakeArchive, build: Build, name: str, content: bytes, encoding: str) -> str:
    """The address of an object that was staged as it is."""
    archive.put(build.bucket, f"{build.path}/{name}", content, encoding=encoding)
    check_success(server.get("/stage", archive_url=build.url, files=name))
    return f"{server.url}/static/{build.path}/{name}"


def fetched(url: str, **headers: str) -> requests.Response:
    """The bytes as they come, in ``raw``."""
    answer = requests.get(url, headers=headers, stream=True, timeout=10)
    answer.raw.decode_content = False
    return answer


def test_what_is_stored_encoded_is_served_as_such_to_who_accepts_it(
    server: DevServer, archive: FakeArchive, build: Build
) -> None:
    url = staged(server, archive, build, "report.txt", PACKED, "gzip")
    assert (server.static_dir / build.path / "report.txt").read_bytes() == PACKED
    answer = fetched(url, **{"Accept-Encoding": "br, gzip;q=0.5"})
    assert (answer.headers["Content-Encoding"], answer.headers["Vary"]) == ("gzip", "Accept-Encoding")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert answer.headers["X-Goog-Hash"].startswith("crc32c=")
    assert answer.raw.read() == PACKED
    part = fetched(url, **{"Accept-Encoding": "gzip", "Range": "bytes=5-9"})
    assert (part.status_code, part.raw.read()) == (206, PACKED[5:10])


@pytest.mark.parametrize("accepted", ["identity", "", "gzip;q=0", "br", "gzip; q=0.0"])
def test_it_is_decoded_for_who_does_not(server: DevServer, archive: FakeArchive, build: Build, accepted: str) -> None:
    url = staged(server, archive, build, "report.txt", PACKED + PACKED, "GZIP")
    answer = fetched(url, **{"Accept-Encoding": accepted, "Range": "bytes=5-9"})
    assert answer.status_code == 200
    assert "Content-Encoding" not in answer.headers
    assert "X-Goog-Hash" not in answer.headers
    assert b"".join(answer.iter_content(1 << 20)) == PLAIN + PLAIN
    again = fetched(url, **{"Accept-Encoding": accepted, "If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304
    other = fetched(url, **{"Accept-Encoding": "gzip", "If-None-Match": answer.headers["ETag"]})
    assert other.status_code == 200


@pytest.mark.parametrize(
    ("name", "content", "encoding"),
    [
        ("stateful.tgz", TGZ, "gzip"),
        ("x.tar.bz2", b"BZh9" + noise(100, "x"), "bzip2"),
        ("note.txt", b"no gzip at all", "gzip"),
        ("note2.txt", PACKED, "br"),
    ],
)
def test_an_encoding_that_does_not_hold_or_is_not_known_is_left_out(
    server: DevServer, archive: FakeArchive, build: Build, name: str, content: bytes, encoding: str
) -> None:
    url = staged(server, archive, build, name, content, encoding)
    for accepted in ("gzip", "identity"):
        answer = fetched(url, **{"Accept-Encoding": accepted})
        assert "Content-Encoding" not in answer.headers
        assert answer.raw.read() == content


@pytest.mark.parametrize("content", [TGZ, gzip.compress(TGZ)], ids=["once", "twice"])
def test_a_tarball_is_unpacked_however_often_it_was_packed(
    server: DevServer, archive: FakeArchive, build: Build, content: bytes
) -> None:
    archive.put(build.bucket, f"{build.path}/control_files.tar", content, encoding="gzip")
    check_success(server.get("/stage", archive_url=build.url, artifacts="control_files"))
    assert (server.static_dir / build.path / "a.txt").read_bytes() == b"a file of a tarball\n"


def test_the_encoding_survives_a_restart_and_goes_with_its_object(
    start_server: StartServer, archive: FakeArchive
) -> None:
    server, build = start_server(), make_build(version="R18-1.0.0").upload(archive)
    url = staged(server, archive, build, "report.txt", PACKED, "gzip")
    server.stop()
    server.start_again()
    url = f"{server.url}/static/{build.path}/report.txt"
    assert fetched(url, **{"Accept-Encoding": "gzip"}).headers["Content-Encoding"] == "gzip"
    archive.put(build.bucket, f"{build.path}/report.txt", PLAIN)
    check_success(server.get("/stage", archive_url=build.url, files="report.txt", clean="true"))
    answer = fetched(url, **{"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in answer.headers
    assert answer.raw.read() == PLAIN
    assert requests.delete(f"{server.url}/api/v1/builds/{build.path}", timeout=10).status_code == 204
    assert not (server.static_dir / build.path).exists()


@pytest.fixture
def behind_nginx(start_server: StartServer, tmp_path: Path) -> Iterator[tuple[DevServer, str]]:
    server = start_server("--front", "nginx", "--front-log", str(tmp_path / "front" / "use.log"))
    with nginx.before(server.own_port, server.static_dir, tmp_path / "front") as port:
        yield server, f"http://127.0.0.1:{port}"


@pytest.mark.own_server
def test_nginx_in_front_serves_it_in_the_same_way(
    behind_nginx: tuple[DevServer, str], archive: FakeArchive, build: Build
) -> None:
    server, front = behind_nginx
    for name in ("report.txt", "deep/er/report.txt"):
        staged(server, archive, build, name, PACKED, "gzip")
        url = f"{front}/static/{build.path}/{name}"
        encoded = fetched(url, **{"Accept-Encoding": "gzip"})
        assert (encoded.headers["Content-Encoding"], encoded.raw.read()) == ("gzip", PACKED)
        decoded = fetched(url, **{"Accept-Encoding": "identity"})
        assert b"".join(decoded.iter_content(1 << 20)) == PLAIN
    assert requests.delete(f"{server.url}/api/v1/builds/{build.path}", timeout=10).status_code == 204
    assert not (server.static_dir / build.path).exists()


def test_a_layer_is_one_more_than_the_name_says() -> None:
    assert is_one_layer_more("x.tar", gzip.compress(TAR))
    assert is_one_layer_more("x.txt", PACKED[:4096])
    assert not is_one_layer_more("x.tgz", TGZ[:100])
    assert is_one_layer_more("x.tgz", gzip.compress(TGZ))
    assert not is_one_layer_more("x.txt", b"\x1f\x8bno gzip")
