"""What was sent is what is counted: ledger, metrics and access log, beside what curl received."""

from __future__ import annotations

import itertools
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.builds import Build
from tests.fake_archive import FakeArchive
from tests.nginx import in_front_of, spread_before
from tests.servers import DevServer, eventually
from tests.test_tls import make_certificate
from web.ledger.records import Row, rows_of

LARGE = 64 * 1024 * 1024
IN_FLIGHT = 24 * 1024 * 1024  # bytes that kernels hold between two programs, at most
WAYS = ("http", "tls", "nginx", "spread")
_NUMBERS = itertools.count()

pytestmark = [
    pytest.mark.not_behind("nginx", "which two of the ways here have themselves"),
    pytest.mark.not_behind("spread", "which one of them has"),
]


class Way(NamedTuple):
    """A devserver, and how it is asked.

    Attributes:
        sender: who the metrics say has sent the bytes.
        has_log: whether its access log has the requests for files.

    """

    server: DevServer
    address: str
    directory: Path
    sender: str
    has_log: bool

    def curl(self, name: str, *options: str) -> tuple[int, int]:
        """The status, and the bytes of the body that curl received."""
        told = ("--write-out", "%{http_code} %{size_download}", "--user-agent", f"reader/{next(_NUMBERS)}")
        url = f"{self.address}/static/{Build().path}/{name}"
        status, size = curl("--output", "/dev/null", *told, *options, url).split()
        return int(status), int(size)

    def row(self, before: int) -> Row:
        """The row behind the first so many, once it is there."""
        return eventually(lambda: self.rows()[before:])[0]

    def rows(self) -> list[Row]:
        """All rows of the ledger."""
        return list(rows_of(self.directory / "ledger.db"))

    def sent(self) -> int:
        """What the metrics have as sent."""
        scheme = "https" if "--tls-cert" in self.server.command else "http"
        text = curl(f"{scheme}://127.0.0.1:{self.server.own_port}/metrics")
        (found,) = re.findall(rf'devserver_static_sent_bytes_total\{{sender="{self.sender}"\}} (\S+)', text)
        return int(float(found))

    def logged(self) -> list[str]:
        """The lines of the access log about files, each with its status and bytes."""
        lines = (self.directory / "access.log").read_text().splitlines()
        return [match[1] for line in lines if (match := re.search(r'" (\d{3} \d+) "[^"]*" "reader/', line))]


def curl(*options: str) -> str:
    """What curl prints; that it may be cut off is for whoever asks."""
    command = ["curl", "--silent", "--insecure", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Way]]:
    """Each way to ask a devserver that has a build with a small file and a large one."""
    with ExitStack() as running:
        archive = running.enter_context(FakeArchive())
        build = Build(objects={"small.bin": b"0123456789", "large.bin": bytes(LARGE)}).upload(archive)
        variables = {"STORAGE_EMULATOR_HOST": archive.url}

        def started(name: str, *options: str) -> tuple[DevServer, Path]:
            directory = tmp_path_factory.mktemp(name)
            logs = ("--ledger", str(directory / "ledger.db"), "--log-dir", str(directory))
            server = DevServer(directory, *options, *logs, environment=variables)
            running.callback(server.close)
            return server, directory

        chain, key = make_certificate(tmp_path_factory.mktemp("certificate"))
        plain, plain_directory = started("plain", "--trusted-proxy", "127.0.0.1")
        tls, tls_directory = started("tls", "--tls-cert", str(chain), "--tls-key", str(key))
        run_dir = tmp_path_factory.mktemp("run")
        front, front_directory = started("front", "--front", "nginx", "--front-log", str(run_dir / "use.log"))
        spread_dir = tmp_path_factory.mktemp("spread")
        spread_port = running.enter_context(spread_before(plain.own_port, plain.static_dir, spread_dir))
        nginx = running.enter_context(in_front_of(front, run_dir))
        found = {
            "http": Way(plain, plain.url, plain_directory, "devserver", True),
            "tls": Way(tls, tls.url, tls_directory, "devserver", True),
            "nginx": Way(front, nginx, front_directory, "nginx", False),
            "spread": Way(plain, f"http://127.0.0.1:{spread_port}", plain_directory, "devserver", True),
        }
        for way in (found["http"], found["tls"], found["nginx"]):
            wanted = f"{way.address}/stage?archive_url={build.url}&files=small.bin,large.bin"
            assert curl(wanted) == "Success"
        yield found


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize(
    ("options", "size", "is_whole"),
    [
        (["large.bin"], LARGE, True),
        (["small.bin"], 10, True),
        (["large.bin", "--range", "1000-1999"], 1000, False),
        (["large.bin", "--range", "0-9,100-109"], None, False),
    ],
    ids=["large", "small", "range", "ranges"],
)
def test_a_complete_download_is_counted_once(
    ways: dict[str, Way], name: str, options: list[str], size: int | None, is_whole: bool
) -> None:
    way = ways[name]
    before, sent = len(way.rows()), way.sent()
    status, received = way.curl(*options)
    assert size in (received, None)
    row = way.row(before)
    assert (row.status, row.bytes, row.whole) == (status, received, is_whole)
    assert eventually(lambda: way.sent() > sent)
    assert way.sent() == sent + received
    if way.has_log:
        assert eventually(lambda: way.logged()[-1:] == [f"{status} {received}"])


@pytest.mark.parametrize("name", WAYS)
def test_a_download_that_is_cut_off_is_counted_as_far_as_it_came(ways: dict[str, Way], name: str) -> None:
    way = ways[name]
    before, sent = len(way.rows()), way.sent()
    _, received = way.curl("large.bin", "--limit-rate", "2M", "--max-time", "0.5")
    assert 0 < received < LARGE
    row = way.row(before)
    assert received <= row.bytes
    assert way.sent() - sent == row.bytes
    if name != "spread":  # where nginx takes more than its client does
        assert row.bytes < min(received + IN_FLIGHT, LARGE)
        assert not row.whole
    if way.has_log:
        assert eventually(lambda: way.logged()[-1:] == [f"200 {row.bytes}"])


@pytest.mark.parametrize("name", WAYS)
def test_an_answer_without_a_body_has_no_bytes(ways: dict[str, Way], name: str) -> None:
    way = ways[name]
    sent = way.sent()
    assert way.curl("large.bin", "--head")[0] == 200
    assert way.curl("large.bin", "--header", "If-None-Match: *")[0] == 304
    assert way.curl("small.bin") == (200, 10)
    assert eventually(lambda: way.sent() > sent)
    assert way.sent() == sent + 10
    if way.has_log:
        assert eventually(lambda: way.logged()[-3:] == ["200 0", "304 0", "200 10"])


@pytest.mark.parametrize("path", ["/check_health", "/api/v1/version", "/static/"])
def test_a_head_of_no_file_has_no_bytes_either(ways: dict[str, Way], path: str) -> None:
    way = ways["http"]
    log = way.directory / "access.log"
    curl("--head", f"{way.address}{path}")
    line = eventually(lambda: [one for one in log.read_text().splitlines() if f'"HEAD {path} ' in one])[-1]
    assert '" 200 0 "' in line
