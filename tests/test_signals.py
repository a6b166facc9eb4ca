"""Signals: some end the server, some have it read anew what it was configured with, none leaves it half done."""

from __future__ import annotations

import os
import pty
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import requests

from tests.builds import make_build
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.servers import PROJECT, DevServer, check_success, eventually
from tests.test_tls import make_certificate
from tests.test_tokens import make_tokens
from wiring.signals import MEANINGLESS

ONE_ARTIFACT = '[[artifact]]\nname = "{0}"\npattern = "{0}.bin"\nsynchronous = true\n'


@pytest.fixture
def lab(start_server: StartServer, tmp_path: Path) -> DevServer:
    """A server with everything that is read off files."""
    chain, key = make_certificate(tmp_path, "served")
    make_tokens(tmp_path / "tokens")
    (tmp_path / "catalogue.toml").write_text(ONE_ARTIFACT.format("kernel"))
    files = {"tls-cert": chain, "tls-key": key, "tokens": tmp_path / "tokens", "catalog": tmp_path / "catalogue.toml"}
    options = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    logs = ("--log-dir", str(tmp_path / "logs"), "--ledger", str(tmp_path / "ledger"))
    server = start_server(*options, *logs)
    assert server.port
    eventually(lambda: "listening on" in server.log)
    return server


def reload(server: DevServer, number: signal.Signals = signal.SIGHUP) -> str:
    """Send the signal; the line that the log has of it."""
    before = len(server.log)
    server.process.send_signal(number)
    return eventually(lambda: [line for line in server.log[before:].splitlines() if "read anew" in line])[0]


def artifacts(server: DevServer) -> list[str]:
    answer = requests.get(f"{server.url}/api/v1/artifacts", verify=False, timeout=10)
    return [one["name"] for one in answer.json()["artifacts"]]


def served_certificate(server: DevServer) -> str:
    host, port = urlsplit(server.url).hostname, server.port
    return ssl.get_server_certificate((str(host), port))


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_sighup_reads_everything_anew_and_reopens_the_logs(lab: DevServer, tmp_path: Path) -> None:
    before = served_certificate(lab)
    make_certificate(tmp_path, "served")
    (tmp_path / "catalogue.toml").write_text(ONE_ARTIFACT.format("modules"))
    for name in ("access.log", "devserver.log"):
        (tmp_path / "logs" / name).rename(tmp_path / "logs" / f"{name}.1")
    assert artifacts(lab) == ["kernel"]

    assert reload(lab).endswith("read anew: the catalogue, the tokens, the certificate and the files of the logs")
    assert artifacts(lab) == ["modules"]
    assert served_certificate(lab) != before
    eventually(lambda: "/api/v1/artifacts" in (tmp_path / "logs" / "access.log").read_text())
    assert "read anew" in (tmp_path / "logs" / "devserver.log").read_text()
    assert (tmp_path / "logs" / "access.log.1").read_text().count("\n") == 1
    assert lab.process.poll() is None


@pytest.mark.parametrize("number", MEANINGLESS)
def test_a_signal_that_means_nothing_does_nothing(server: DevServer, number: signal.Signals) -> None:
    assert server.get("/check_health").status_code == 200
    server.process.send_signal(number)
    assert reload(server, signal.SIGUSR1).endswith("read anew: the files of the logs")
    assert server.process.poll() is None


def break_catalogue(folder: Path) -> None:
    (folder / "catalogue.toml").write_text("[[artifact]]\nname = 1\n")


def break_tokens(folder: Path) -> None:
    (folder / "tokens").write_text("nobody\n")


def break_certificate(folder: Path) -> None:
    (folder / "served.pem").write_text("nothing")


def break_logs(folder: Path) -> None:
    (folder / "logs" / "access.log").unlink()
    (folder / "logs" / "access.log").mkdir()


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (break_catalogue, "catalogue.toml, artifact 1: name should be a string, not 1"),
        (break_tokens, "tokens, line 1: it should be a name, scopes and a digest"),
        (break_certificate, "served.pem"),
        (break_logs, "access.log: cannot be written (Is a directory)"),
    ],
    ids=["catalogue", "tokens", "certificate", "logs"],
)
def test_where_one_thing_is_wrong_all_stays_as_it_was(
    lab: DevServer, tmp_path: Path, harm: Callable[[Path], None], reason: str
) -> None:
    (tmp_path / "catalogue.toml").write_text(ONE_ARTIFACT.format("modules"))
    harm(tmp_path)
    line = reload(lab)
    assert "nothing was read anew, and all stays as it was: " in line
    assert reason in line
    assert artifacts(lab) == ["kernel"]
    assert "Traceback" not in lab.log


def test_sigusr1_reopens_the_logs_alone(lab: DevServer, tmp_path: Path) -> None:
    (tmp_path / "catalogue.toml").write_text("nonsense")
    (tmp_path / "logs" / "devserver.log").unlink()
    assert reload(lab, signal.SIGUSR1).endswith("read anew: the files of the logs")
    assert "read anew" in (tmp_path / "logs" / "devserver.log").read_text()


def test_what_is_ordered_is_staged_as_it_was_ordered(
    start_server: StartServer, archive: FakeArchive, tmp_path: Path
) -> None:
    catalogue = tmp_path / "catalogue.toml"
    catalogue.write_text(ONE_ARTIFACT.format("kernel"))
    archive.put("builds", "a/1/kernel.bin", b"a kernel")
    server = start_server("--catalog", str(catalogue))
    with archive.holding("kernel.bin", after=1) as reached:
        answer = server.ask("/download", archive_url="gs://builds/a/1")
        assert reached.wait(10)
        catalogue.write_text(ONE_ARTIFACT.format("modules"))
        reload(server)
    check_success(answer.result(10))
    assert (server.static_dir / "a/1/kernel.bin").read_bytes() == b"a kernel"


def test_a_sighup_to_all_its_processes_costs_no_download(start_server: StartServer, archive: FakeArchive) -> None:
    server, build = start_server(), make_build().upload(archive)
    with archive.holding("autotest.tar.bz2") as reached:
        check_success(server.download(build.url))
        assert reached.wait(10)
        assert server.worker()
        for process in psutil.Process(server.process.pid).children(recursive=True):
            process.send_signal(signal.SIGHUP)
        reload(server)
    check_success(server.wait_for_status(build.url))


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGTERM, signal.SIGINT])
def test_signals_that_end_it_end_it_in_good_order(lab: DevServer, number: signal.Signals) -> None:
    lab.process.send_signal(number)
    assert lab.process.wait(10) == 0
    assert f"{number.name} was received" in lab.log
    assert lab.log.rstrip().endswith("stopped")


@pytest.mark.parametrize("number", [signal.SIGPIPE, signal.SIGCHLD, signal.SIGWINCH, signal.SIGXFSZ])
def test_other_signals_are_nothing_to_it(start_server: StartServer, number: signal.Signals) -> None:
    server = start_server()
    assert server.port
    server.process.send_signal(number)
    assert server.get("/check_health").status_code == HTTPStatus.OK


def test_a_signal_that_comes_before_it_listens_is_not_lost(start_server: StartServer) -> None:
    server = start_server()
    process = psutil.Process(server.process.pid)
    eventually(lambda: len(process.memory_maps()) > 60)  # it is importing
    server.process.send_signal(signal.SIGHUP)
    assert server.port
    assert server.get("/check_health").status_code == HTTPStatus.OK


def test_a_server_whose_terminal_is_closed_ends(tmp_path: Path) -> None:
    # The kernel tells that by SIGHUP, too.
    outside, inside = pty.openpty()
    portfile = tmp_path / "port"
    command = ["setsid", "--ctty", sys.executable, str(PROJECT / "devserver.py"), "--port", "0"]
    command += ["--portfile", str(portfile), "--static-dir", str(tmp_path / "static")]
    process = subprocess.Popen(command, stdin=inside, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        os.close(inside)
        eventually(portfile.exists)
        os.close(outside)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
