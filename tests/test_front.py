"""An nginx in front of a devserver: clients see one server, and the devserver knows what was read."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import requests

from tests.builds import Build
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.nginx import free_port, in_front_of, running_nginx
from tests.servers import PROJECT, DevServer, cause_of, check_success, eventually
from web.client import Client, ServerUnreachable
from web.front.nginx import configuration


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
    eventually(lambda: 'requests_total{rpc="static",status="200"} 1.0' in server.get("/metrics").text)


def test_a_devserver_that_is_not_there_is_said_to_be_not_running(front: Front, build: Build) -> None:
    front.server.stage(build.url)
    front.server.stop()
    for path in ("/", "/check_health", f"/static/{build.path}/", "/static/nothing"):
        answer = front.get(path)
        assert (answer.status_code, answer.headers["Cache-Control"]) == (502, "no-store")
        assert "The devserver is not running" in answer.text
        assert cause_of(answer).startswith("NotRunning: ")
    assert front.get(f"/static/{build.path}/stateful.tgz").content == build.objects["stateful.tgz"]
    with pytest.raises(ServerUnreachable):
        Client(front.address, patience=0.0).version()


def test_nginx_asks_for_no_more_files_than_it_may_open(tmp_path: Path) -> None:
    command = [sys.executable, str(PROJECT / "devserver.py"), "--static-dir", str(tmp_path), "nginx-config"]
    limited = ["sh", "-c", 'ulimit -n 4000 && exec "$@"', "sh", *command, "--run-dir", str(tmp_path / "run")]
    text = subprocess.run(limited, check=True, capture_output=True, text=True).stdout
    assert "worker_rlimit_nofile 4000;" in text
    assert "worker_connections 1000;" in text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may say who the workers are to be")
def test_workers_are_root_only_where_nobody_else_may_look(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    assert "user root root;" in configuration(closed, "127.0.0.1:1", "127.0.0.1:2", tmp_path)
    with tempfile.TemporaryDirectory() as made:
        open_to_all = Path(made)
        open_to_all.chmod(0o755)
        assert "\nuser " not in configuration(open_to_all, "127.0.0.1:1", "127.0.0.1:2", tmp_path)
        os.chown(open_to_all, 65534, 65534)
        assert 'user "nobody" "nogroup";' in configuration(open_to_all, "127.0.0.1:1", "127.0.0.1:2", tmp_path)


ANY = """
{user}
pid {folder}/nginx.pid;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass {url}; }}
    }}
}}
"""


def test_events_come_when_they_happen_through_an_nginx_of_anybodys(
    start_server: StartServer, archive: FakeArchive, build: Build, tmp_path: Path
) -> None:
    server = start_server()
    port, user = free_port(), "user root;" if os.geteuid() == 0 else ""
    text = ANY.format(folder=tmp_path, user=user, port=port, url=server.url)
    with running_nginx(tmp_path / "any", text, port) as address, archive.holding("autotest.tar.bz2") as reached:
        check_success(server.download(build.url))
        assert reached.wait(10)
        events = f"/api/v1/builds/{build.path}/events"
        assert requests.get(server.url + events, stream=True, timeout=10).headers["X-Accel-Buffering"] == "no"
        with requests.get(address + events, stream=True, timeout=5) as answer:
            assert next(answer.iter_content(16))  # while the download is held


def test_a_waiter_waits_through_nginx(front: Front, archive: FakeArchive, build: Build) -> None:
    with archive.holding("autotest.tar.bz2") as reached:
        check_success(front.get("/download", archive_url=build.url))
        assert reached.wait(10)
        with pytest.raises(requests.Timeout):
            requests.get(f"{front.address}/wait_for_status", params={"archive_url": build.url}, timeout=1)
    check_success(front.get("/wait_for_status", archive_url=build.url))
