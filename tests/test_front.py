"""An nginx in front of a devserver: clients see one server, and the devserver knows what was read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import requests

from tests.builds import Build
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.nginx import in_front_of
from tests.servers import DevServer, cause_of, check_success, eventually


class Front(NamedTuple):
    """A devserver, and the address of the nginx in front of it."""

    server: DevServer
    address: str

    def get(self, path: str, **query: str) -> requests.Response:
        """The answer that comes through nginx."""
        return requests.get(self.address + path, params=query, timeout=60)


@pytest.fixture
def front(start_server: StartServer, tmp_path: Path) -> Iterator[Front]:
    """Both, as the command line sets them up."""
    run_dir = tmp_path / "run"
    server = start_server("--front", "nginx", "--front-log", str(run_dir / "use.log"))
    with in_front_of(server, run_dir) as address:
        yield Front(server, address)


def test_a_build_is_staged_and_read_through_nginx(front: Front, build: Build) -> None:
    check_success(front.get("/download", archive_url=build.url))
    check_success(front.get("/wait_for_status", archive_url=build.url))
    for path, content in build.files.items():
        assert front.get(f"/static/{build.path}/{path}").content == content
    assert "update.gz" in front.get(f"/static/{build.path}/").text
    assert front.get(f"/static/{build.path}").url.endswith("/")


def test_the_devservers_records_are_hidden(front: Front, build: Build) -> None:
    front.server.stage(build.url)
    assert front.get(f"/static/{build.path}/.devserver/manifest.json").status_code == 404
    assert front.get(f"/static/{build.path}/%2edevserver/manifest.json").status_code == 404


def test_errors_are_the_devservers(front: Front) -> None:
    assert cause_of(front.get("/static/nothing")) == "NotFound: there is nothing at this address"
    assert front.get("/download").status_code == 400


def test_a_link_is_followed_within_the_static_directory_only(front: Front, tmp_path: Path) -> None:
    (front.server.static_dir / "file").write_bytes(b"a file")
    (front.server.static_dir / "inside").symlink_to("file")
    (front.server.static_dir / "outside").symlink_to("/etc/passwd")
    assert front.get("/static/inside").content == b"a file"
    assert front.get("/static/outside").status_code == 404


def test_what_nginx_served_counts_as_use(front: Front, build: Build) -> None:
    front.server.stage(build.url)
    used = front.server.static_dir / build.path / ".devserver" / "last-use"
    before = time.time()
    assert front.get(f"/static/{build.path}/update.gz").ok
    eventually(lambda: used.stat().st_mtime > before - 0.001)  # as exact as a file's time is


def test_the_log_of_an_older_configuration_counts_as_use(
    start_server: StartServer, build: Build, tmp_path: Path
) -> None:
    log = tmp_path / "use.log"
    log.touch()
    server = start_server("--front", "nginx", "--front-log", str(log))
    server.stage(build.url)
    with log.open("a") as file:
        file.write(f"200 /static/{build.path}/update.gz\nnonsense\n\n")
    eventually((server.static_dir / build.path / ".devserver" / "last-use").exists)
    assert 'requests_total{rpc="static",status="200"} 1.0' in server.get("/metrics").text


def test_a_waiter_waits_through_nginx(front: Front, archive: FakeArchive, build: Build) -> None:
    with archive.holding("autotest.tar.bz2") as reached:
        check_success(front.get("/download", archive_url=build.url))
        assert reached.wait(10)
        with pytest.raises(requests.Timeout):
            requests.get(f"{front.address}/wait_for_status", params={"archive_url": build.url}, timeout=1)
    check_success(front.get("/wait_for_status", archive_url=build.url))
