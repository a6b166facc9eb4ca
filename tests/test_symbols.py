"""Crash collection: symbols are staged, minidumps become stacks, and a stranger's costs no more than it may."""

from __future__ import annotations

import gzip
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from tests import nginx
from tests.builds import Build, tarball
from tests.fake_archive import FakeArchive
from tests.servers import DevServer, cause_of, eventually
from web.http.request import LARGEST_BODY, LARGEST_DUMP

DUMP = b"MDMP" + bytes(range(256)) * 4
SYMBOLS = {"debug/breakpad/chrome/AB12/chrome.sym": b"MODULE Linux x86_64 AB12 chrome\n"}
# A stackwalker that does as the dump says, with the arguments that the real one takes.
WALKER = r"""#!/bin/sh
dump=$1 symbols=$2
case $(tail -c +5 "$dump" | tr -d '\0') in
hang*) sleep 1000 & wait ;;
crash*) kill -SEGV $$ ;;
much*) while :; do echo 0123456789012345678901234567890123456789012345678901234567890123456789; done ;;
loud*) head -c 20000000 /dev/zero | tr '\0' 'x' >&2; echo >&2; echo "cannot open $dump" >&2; exit 3 ;;
steal*) cat /etc/shadow /proc/$PPID/environ ;;
write*) echo x > "$symbols/chrome/AB12/chrome.sym" ;;
*) echo "size $(wc -c < "$dump")"; cat "$symbols/chrome/AB12/chrome.sym" ;;
esac
"""

pytestmark = [
    pytest.mark.not_behind("nginx", "which is tried here where it matters"),
    pytest.mark.not_behind("spread", "which is tried here where it matters"),
]


@pytest.fixture(scope="module")
def build() -> Build:
    return Build(objects={"debug.tgz": tarball(SYMBOLS, "gz")})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, build: Build) -> Iterator[DevServer]:
    """A devserver with a stackwalker, and an archive with the build's symbols."""
    directory = tmp_path_factory.mktemp("symbols")
    walker = directory / "minidump_stackwalk"
    walker.write_text(WALKER)
    walker.chmod(walker.stat().st_mode | stat.S_IXUSR)
    with FakeArchive() as archive:
        build.upload(archive)
        server = DevServer(directory, "--stackwalk", str(walker), environment={"STORAGE_EMULATOR_HOST": archive.url})
        assert server.get("/stage_debug", archive_url=build.url).text == "Success"
        yield server
        server.close()


@pytest.fixture(autouse=True)
def nothing_is_left(server: DevServer) -> Iterator[None]:
    """No dump and no process outlives its request."""
    yield
    dumps = server.static_dir / ".devserver" / "dumps"
    eventually(lambda: not (dumps.exists() and list(dumps.iterdir())))
    me = psutil.Process(server.process.pid)
    eventually(lambda: not [one for one in me.children(recursive=True) if "sleep" in one.name() or one.name() == "sh"])


def post(server: DevServer, content: bytes, build: Build, **options: object) -> requests.Response:
    """The answer to a dump."""
    return requests.post(
        f"{server.url}/symbolicate_dump",
        params={"archive_url": build.url},
        files={"minidump": ("x.dmp", content)},
        timeout=60,
        **options,  # type: ignore[arg-type]
    )


def test_a_dump_becomes_a_stack_by_the_builds_symbols(server: DevServer, build: Build) -> None:
    answer = post(server, DUMP, build)
    assert answer.text == f"size {len(DUMP)}\n{SYMBOLS['debug/breakpad/chrome/AB12/chrome.sym'].decode()}"
    assert answer.headers["Content-Type"].startswith("text/plain")


def test_symbols_are_staged_where_they_are_not(server: DevServer, build: Build) -> None:
    requests.delete(f"{server.url}/api/v1/builds/{build.path.replace('/', '%2F')}", timeout=10).raise_for_status()
    assert post(server, DUMP, build).ok


def test_a_build_without_symbols_is_a_failure(server: DevServer) -> None:
    answer = post(server, DUMP, Build(version="R1-0.0.0"))
    assert answer.status_code == 500
    assert "Could not find gs://" in cause_of(answer)


@pytest.mark.parametrize(
    "spelled",
    [
        lambda path: ["--form", f"minidump=@{path}"],
        lambda path: ["--form", f"minidump=<{path}"],
        lambda path: ["--form", f"minidump=@{path};type=text/plain;charset=latin-1"],
        lambda path: ["--form", f"minidump=@{path}", "--header", "Transfer-Encoding: chunked"],
        lambda path: ["--form", f"minidump=@{path}.gz"],
    ],
    ids=["file", "field", "charset", "chunked", "packed"],
)
def test_curl_sends_a_dump_in_any_way(
    server: DevServer, build: Build, tmp_path: Path, spelled: Callable[[Path], list[str]]
) -> None:
    dump = tmp_path / "x.dmp"
    large = DUMP + bytes(range(256)) * 8192  # two megabytes
    dump.write_bytes(large)
    Path(f"{dump}.gz").write_bytes(gzip.compress(large))
    command = ["curl", "--silent", *spelled(dump), f"{server.url}/symbolicate_dump?archive_url={build.url}"]
    assert subprocess.run(command, capture_output=True, text=True, timeout=30).stdout.startswith(f"size {len(large)}\n")


def test_the_url_may_come_in_the_body_and_the_body_packed(server: DevServer, build: Build) -> None:
    fields = f'--b\r\nContent-Disposition: form-data; name="archive_url"\r\n\r\n{build.url}\r\n'
    body = fields.encode() + b'--b\r\nContent-Disposition: form-data; name="minidump"\r\n\r\n' + DUMP + b"\r\n--b--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    address = f"{server.url}/symbolicate_dump"
    assert requests.post(address, data=body, headers=headers, timeout=30).text.startswith(f"size {len(DUMP)}\n")
    packed = requests.post(
        address, data=gzip.compress(body), headers={**headers, "Content-Encoding": "gzip"}, timeout=30
    )
    assert packed.text.startswith(f"size {len(DUMP)}\n")


PART = b'--b\r\nContent-Disposition: form-data; name="minidump"; filename="x"\r\n\r\n'


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (PART + DUMP + b"\r\n--b--", 200),  # no line end behind the last boundary
        (PART + DUMP, 400),
        (PART + DUMP + b"\r\n--b", 400),
        (PART + DUMP + b"\r\n" + PART + DUMP + b"\r\n--b--\r\n", 400),
        (PART.replace(b"minidump", b"dump") + DUMP + b"\r\n--b--\r\n", 400),
        (PART + b"no dump\r\n--b--\r\n", 400),
        (PART + b"\x1f\x8bno gzip\r\n--b--\r\n", 400),
        (b"", 400),
    ],
    ids=["no-end-of-line", "cut", "cut-boundary", "twice", "none", "no-dump", "no-gzip", "empty"],
)
def test_what_is_no_dump_is_told(server: DevServer, build: Build, body: bytes, status: int) -> None:
    answer = requests.post(
        f"{server.url}/symbolicate_dump?archive_url={build.url}",
        data=body,
        headers={"Content-Type": "multipart/form-data; boundary=b"},
        timeout=30,
    )
    assert answer.status_code == status


def test_a_missing_url_is_told(server: DevServer) -> None:
    answer = requests.post(f"{server.url}/symbolicate_dump", files={"minidump": DUMP}, timeout=30)
    assert answer.status_code == 400
    assert "Error: archive_url= is required!" in cause_of(answer)


def test_bounds_are_of_this_address_alone(server: DevServer, build: Build) -> None:
    large = bytes(LARGEST_BODY + 1)
    assert requests.post(f"{server.url}/stage", data=large, timeout=30).status_code == 413
    bomb = gzip.compress(DUMP + bytes(LARGEST_DUMP))
    assert post(server, bomb, build).status_code == 413
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        head = f"POST /symbolicate_dump HTTP/1.1\r\nHost: x\r\nContent-Length: {LARGEST_DUMP + 1}\r\n\r\n"
        client.sendall(head.encode())
        assert client.recv(4096).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("order", "cause"),
    [
        (b"crash", "SymbolicationFailed: minidump_stackwalk made no stack of it: it was ended by SIGSEGV"),
        (b"much", "minidump_stackwalk made no stack of it: it wrote more than "),
        (b"loud", "it ended with status 3; it said: cannot open the dump"),
        (b"steal", "it ended with status 1; it said: cat: "),
        (b"write", "it ended with status "),
    ],
)
def test_a_stackwalker_that_fails_is_told_of(server: DevServer, build: Build, order: bytes, cause: str) -> None:
    answer = post(server, b"MDMP" + order, build)
    assert answer.status_code == 500
    assert cause in cause_of(answer)
    assert str(server.static_dir) not in answer.text


def test_a_stackwalker_that_hangs_ends_with_its_client(server: DevServer, build: Build) -> None:
    with pytest.raises(requests.ReadTimeout):
        requests.post(
            f"{server.url}/symbolicate_dump",
            params={"archive_url": build.url},
            files={"minidump": b"MDMPhang"},
            timeout=2,
        )


def test_more_stacks_at_once_than_may_be_are_told_to_come_back(server: DevServer, build: Build) -> None:
    clients = []
    body = PART + b"MDMPhang\r\n--b--\r\n"
    head = (
        f"POST /symbolicate_dump?archive_url={build.url} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    )
    for _ in range(8):
        client = socket.create_connection(("127.0.0.1", server.port), timeout=30)
        client.sendall(head.encode() + body)
        clients.append(client)
    dumps = server.static_dir / ".devserver" / "dumps"
    eventually(lambda: len(list(dumps.iterdir())) == 8)
    began = time.monotonic()
    answer = post(server, DUMP, build)
    assert (answer.status_code, "Overloaded" in answer.text) == (503, True)
    assert time.monotonic() - began < 5
    for client in clients:
        client.close()


def test_without_a_stackwalker_it_says_what_that_takes(tmp_path: Path, build: Build, server: DevServer) -> None:
    other = DevServer(tmp_path)
    try:
        answer = post(other, DUMP, build)
        assert answer.status_code == 501
        assert "--stackwalk PROGRAM" in cause_of(answer)
        assert other.get("/symbolicate_dump").status_code == 405
    finally:
        other.close()


@pytest.mark.parametrize("before", [nginx.before, nginx.spread_before], ids=["nginx", "spread"])
def test_a_large_dump_goes_through_nginx(server: DevServer, build: Build, tmp_path: Path, before: Any) -> None:
    large = DUMP + bytes(range(256)) * 8192
    with before(server.own_port, server.static_dir, tmp_path / "run") as port:
        answer = requests.post(
            f"http://127.0.0.1:{port}/symbolicate_dump",
            params={"archive_url": build.url},
            files={"minidump": ("x.dmp", large)},
            timeout=30,
        )
        assert answer.text.startswith(f"size {len(large)}\n")
        assert requests.post(f"http://127.0.0.1:{port}/stage", data=large, timeout=30).status_code == 413
