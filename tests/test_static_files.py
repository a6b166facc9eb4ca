"""Files under /static: what nginx would answer, from the devserver itself."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.builds import FULL_PAYLOAD, Build, noise
from tests.fake_archive import FakeArchive, crc32c_of
from tests.nginx import nginx
from tests.servers import DevServer

pytestmark = pytest.mark.shared_server

SIZE = 100_000
CONTENT = noise(SIZE, "file")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """One devserver for all the tests here, with a few files."""
    server = DevServer(tmp_path_factory.mktemp("files"))
    _ = server.port
    server.static_dir.mkdir(parents=True, exist_ok=True)
    (server.static_dir / "file.bin").write_bytes(CONTENT)
    (server.static_dir / "empty.bin").write_bytes(b"")
    yield server
    server.close()


@pytest.fixture(scope="module")
def front(server: DevServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An nginx that serves the same files."""
    with nginx(tmp_path_factory.mktemp("nginx"), server.static_dir) as address:
        yield address


LAST = SIZE - 1
RANGES = (
    "bytes=0-",
    "bytes=0-0",
    "bytes=0-99",
    "bytes=99-100",
    f"bytes={LAST}-",
    f"bytes={LAST}-{LAST}",
    f"bytes=0-{LAST}",
    f"bytes=0-{SIZE}",
    f"bytes=50000-{10 * SIZE}",
    f"bytes={SIZE}-",
    f"bytes={SIZE}-{SIZE + 5}",
    "bytes=-1",
    "bytes=-500",
    f"bytes=-{SIZE}",
    f"bytes=-{SIZE + 1}",
    "bytes=-0",
    "bytes=-",
    "bytes=",
    "bytes=5-2",
    "bytes=abc",
    "bytes=1",
    "bytes=1-x",
    "bytes=x-1",
    "bytes=--1",
    "bytes=1--2",
    "bytes= 0 - 9 ",
    "bytes=0-9,",
    "bytes=,0-9",
    "bytes=0-9,20-29",
    "bytes=0-9, 20-29, -5",
    f"bytes=0-9,{SIZE}-",
    f"bytes={SIZE}-,{SIZE + 1}-",
    f"bytes=0-{LAST},0-0",
    "bytes=" + "9" * 5000 + "-",
    "bytes=0-9,5-2,20-29",
    "bytes=0-9,abc",
    "BYTES=0-9",
    "bytes =0-9",
    "lines=0-9",
    "0-9",
    "bytes=99999999999999999999-",
    "bytes=0-99999999999999999999",
    "bytes=9223372036854775807-",
)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("name", ["file.bin", "empty.bin"])
@pytest.mark.parametrize("asked", RANGES)
def test_ranges_are_answered_as_by_nginx(server: DevServer, front: str, method: str, name: str, asked: str) -> None:
    ours, theirs = (told(method, f"{address}/static/{name}", {"Range": asked}) for address in (server.url, front))
    assert ours == theirs


@pytest.mark.parametrize("asked", [None, "bytes=10-19"])
@pytest.mark.parametrize(
    "conditions",
    [
        {"If-Range": "{etag}"},
        {"If-Range": '"other"'},
        {"If-Range": "{date}"},
        {"If-Range": "Thu, 01 Jan 2009 00:00:00 GMT"},
        {"If-Range": "nonsense"},
        {"If-None-Match": "{etag}"},
        {"If-None-Match": '"other", {etag}'},
        {"If-None-Match": "W/{etag}"},
        {"If-None-Match": '"other"'},
        {"If-None-Match": "*"},
        {"If-Modified-Since": "{date}"},
        {"If-Modified-Since": "Thu, 01 Jan 2009 00:00:00 GMT"},
        {"If-Match": "{etag}"},
        {"If-Match": "W/{etag}"},
        {"If-Match": 'W/{etag}, "other"'},
        {"If-Match": '"other", {etag}'},
        {"If-Match": '"other"'},
        {"If-Match": "*"},
        {"If-Unmodified-Since": "{date}"},
        {"If-Unmodified-Since": "Thu, 01 Jan 2009 00:00:00 GMT"},
    ],
    ids=lambda value: "-".join(f"{name}={text}" for name, text in value.items()) if isinstance(value, dict) else None,
)
def test_conditions_are_answered_as_by_nginx(
    server: DevServer, front: str, conditions: dict[str, str], asked: str | None
) -> None:
    answers = []
    for address in (server.url, front):
        url = f"{address}/static/file.bin"
        now = requests.head(url, timeout=10).headers
        headers = {name: text.format(etag=now["ETag"], date=now["Last-Modified"]) for name, text in conditions.items()}
        answers.append(told("GET", url, {**headers, **({"Range": asked} if asked else {})}))
    assert answers[0] == answers[1]


def told(method: str, url: str, headers: dict[str, str]) -> tuple[object, ...]:
    """What of an answer has to agree: its status, what it says of its body, and that, unless it is an error."""
    answer = requests.request(method, url, headers={"Accept-Encoding": "identity", **headers}, timeout=10)
    boundary = answer.headers.get("Content-Type", "").partition("boundary=")[2]
    if answer.status_code >= 400:
        return answer.status_code, answer.headers.get("Content-Range")
    body = answer.content.replace(boundary.encode(), b"BOUNDARY") if boundary else answer.content
    length = None if boundary or answer.status_code == 304 else answer.headers["Content-Length"]
    kind = answer.headers.get("Content-Type", "").replace(boundary, "") if answer.status_code != 304 else ""
    return answer.status_code, answer.headers.get("Content-Range"), length, kind, body


@pytest.mark.not_behind("nginx", "which knows nothing of the archive's checksums")
def test_a_staged_object_carries_its_checksum(tmp_path: Path, archive: FakeArchive, build: Build) -> None:
    server = DevServer(tmp_path, environment={"STORAGE_EMULATOR_HOST": archive.url})
    try:
        server.stage(build.url)
        answer = requests.get(f"{server.url}/static/{build.path}/update.gz", timeout=10)
        crc32c = crc32c_of(build.objects[FULL_PAYLOAD])
        assert answer.headers["X-Goog-Hash"] == f"crc32c={crc32c}"
        assert crc32c in answer.headers["ETag"]
        assert not answer.headers["ETag"].startswith("W/")
        # What was changed by hand is not what the archive vouched for.
        (server.static_dir / build.path / "update.gz").write_bytes(b"changed")
        changed = requests.get(f"{server.url}/static/{build.path}/update.gz", timeout=10)
        assert "X-Goog-Hash" not in changed.headers
        assert changed.headers["ETag"] != answer.headers["ETag"]
        assert changed.content == b"changed"
    finally:
        server.close()


def test_a_file_ends_where_it_is_no_directory(server: DevServer) -> None:
    assert server.get("/static/file.bin/").status_code == 404
    assert server.get("/static/file.bin/more").status_code == 404


def test_a_slow_reader_is_served_to_the_end(server: DevServer) -> None:
    content = noise(12_000_000, "slow")
    (server.static_dir / "slow.bin").write_bytes(content)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        client.sendall(b"GET /static/slow.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = bytearray()
        began = time.monotonic()
        while piece := client.recv(65536):
            received += piece
            # Slower than the server's patience with a silent client, were it to look at the whole.
            time.sleep(max(0.0, began + len(received) / 1_000_000 - time.monotonic()))
        assert time.monotonic() - began > 11
    assert bytes(received).partition(b"\r\n\r\n")[2] == content


def test_a_connection_serves_one_file_after_another(server: DevServer) -> None:
    with requests.Session() as session:
        for _ in range(20):
            assert session.get(f"{server.url}/static/file.bin", timeout=10).content == CONTENT
            assert session.get(f"{server.url}/static/nothing", timeout=10).status_code == 404
            assert session.head(f"{server.url}/static/file.bin", timeout=10).headers["Content-Length"] == str(SIZE)


@pytest.mark.not_behind("nginx", "which has a log of its own")
def test_every_request_is_in_the_access_log(tmp_path: Path) -> None:
    server = DevServer(tmp_path, "--log-dir", str(tmp_path / "logs"))
    try:
        _ = server.port
        (server.static_dir / "a b").write_bytes(b"abc")
        requests.get(f"{server.url}/static/a%20b", headers={"User-Agent": 'x" 200 1 "y\\'}, timeout=10)
        server.get("/static/nothing")
    finally:
        server.close()
    lines = (tmp_path / "logs" / "access.log").read_text().splitlines()
    assert '"GET /static/a%20b HTTP/1.1" 200 3 "" "x\\" 200 1 \\"y\\\\"' in lines[0]
    assert '"GET /static/nothing HTTP/1.1" 404 ' in lines[1]


@pytest.mark.parametrize(
    "header",
    [
        "If-Modified-Since",
        pytest.param(
            "If-Unmodified-Since", marks=pytest.mark.not_behind("nginx", "which takes it for a date, long ago")
        ),
        "If-Range",
    ],
)
def test_a_date_beyond_all_time_is_no_date(server: DevServer, header: str) -> None:
    date = {header: "Thu, 01 Jan 99999999999 00:00:00 GMT", "Range": "bytes=0-0"}
    assert requests.get(f"{server.url}/static/file.bin", headers=date, timeout=10).status_code in (200, 206)


def test_hundreds_of_ranges_are_answered_with_the_file(server: DevServer) -> None:
    ranges = {"Range": "bytes=" + ",".join(f"{2 * number}-{2 * number}" for number in range(2000))}
    answer = requests.get(f"{server.url}/static/file.bin", headers=ranges, timeout=10)
    assert (answer.status_code, answer.content) == (200, CONTENT)
