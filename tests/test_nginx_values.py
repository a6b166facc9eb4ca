"""What `devserver nginx-config` is told stands in the configuration as it is, or is refused in a sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.conftest import StartServer
from tests.nginx import free_port, running_nginx
from tests.servers import PROJECT, DevServer
from tests.test_tls import make_certificate
from web.front.values import asked_address, user_of

ODD = (
    "a b",
    "a;b",
    "a#b",
    "a{b}",
    'a"b',
    "a'b",
    "a\\b",
    "a\\",
    "caf\u00e9",
    "a\\nb",
    "a\\$"[:2],
    "from=x",
    "a%2fb",
    "a*b",
)


def printed(
    static_dir: Path, run_dir: Path, *options: str, listen: str = "127.0.0.1:1"
) -> subprocess.CompletedProcess[str]:
    """What the command prints; ``options`` are the devserver's own."""
    command = [sys.executable, str(PROJECT / "devserver.py"), "--static-dir", str(static_dir), *options, "nginx-config"]
    command += ["--run-dir", str(run_dir), "--listen", listen]
    return subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> DevServer:
    """One devserver; the files are nginx' alone."""
    server = DevServer(tmp_path_factory.mktemp("values"))
    _ = server.port
    return server


@pytest.fixture(scope="module", autouse=True)
def _ended(server: DevServer) -> object:
    yield
    server.close()


@pytest.mark.parametrize("name", ODD)
def test_nginx_serves_from_a_directory_whatever_it_is_called(server: DevServer, tmp_path: Path, name: str) -> None:
    odd, run_dir, port = tmp_path / name, tmp_path / f"run {name}", free_port()
    odd.mkdir()
    (odd / "file").write_bytes(b"of the odd directory")
    (tmp_path / "secret").write_bytes(b"a secret")
    (odd / "link").symlink_to(tmp_path / "secret")
    chain, key = make_certificate(odd)
    options = ("--port", str(server.port), "--tls-cert", str(chain), "--tls-key", str(key))
    ended = printed(odd, run_dir, *options, listen=f"127.0.0.1:{port}")
    assert (ended.returncode, ended.stderr) == (0, "")
    with running_nginx(run_dir, ended.stdout, port):
        url = f"https://127.0.0.1:{port}/static"
        assert requests.get(f"{url}/file", verify=str(chain), timeout=10).content == b"of the odd directory"
        assert requests.get(f"{url}/link", verify=str(chain), timeout=10).status_code == 404


@pytest.mark.parametrize("name", [b"a$b", b"a\nb", b"a\x7fb", b"\xff", b"a\rworker_processes 9;"])
@pytest.mark.parametrize("option", ["--static-dir", "--run-dir", "--tls-cert"])
def test_what_nginx_cannot_be_told_is_refused_in_a_line(tmp_path: Path, name: bytes, option: str) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    odd.mkdir()
    plain = tmp_path / "plain"
    paths = {"--static-dir": plain, "--run-dir": plain, option: odd}
    tls = ("--tls-cert", str(odd / "x"), "--tls-key", str(plain)) if option == "--tls-cert" else ()
    ended = printed(paths["--static-dir"], paths["--run-dir"], *tls)
    if (option, name) == ("--run-dir", b"a$b"):  # it stands in a comment alone
        assert ended.returncode == 0
        return
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"devserver: {option}: ")
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "listen",
    ["80;", "::1:80", "[::1]", "127.0.0.1:0", "127.0.0.1:70000", "a b:80", "$x:80", "", ":", "127.0.0.1:80 ssl"],
)
def test_an_address_that_is_none_is_refused(tmp_path: Path, listen: str) -> None:
    ended = printed(tmp_path, tmp_path / "run", listen=listen)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"devserver: --listen: {listen!r} is no address; it should look like ")


@pytest.mark.parametrize("proxy", ["10.0.0.0/33", "devserver", "10.0.0.1;", "$x"])
def test_a_proxy_that_is_none_is_refused(tmp_path: Path, proxy: str) -> None:
    ended = printed(tmp_path, tmp_path / "run", "--trusted-proxy", proxy)
    assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1)
    assert ended.stderr.startswith("devserver: --trusted-proxy: ")


@pytest.mark.parametrize(
    ("host", "asked"),
    [
        ("127.0.0.1", "127.0.0.1:8080"),
        ("::1", "[::1]:8080"),
        ("0.0.0.0", "127.0.0.1:8080"),
        ("::", "[::1]:8080"),
        ("fd00::5", "[fd00::5]:8080"),
    ],
)
def test_a_devserver_is_asked_where_it_listens(host: str, asked: str) -> None:
    assert asked_address("--host", host, 8080) == asked


@pytest.mark.parametrize(("host", "port"), [("::1;", "8080"), ("no such host", "8080"), ("127.0.0.1", "0")])
def test_a_devserver_that_listens_nowhere_is_refused(tmp_path: Path, host: str, port: str) -> None:
    ended = printed(tmp_path, tmp_path / "run", "--host", host, "--port", port)
    assert (ended.returncode, ended.stdout, len(ended.stderr.splitlines())) == (2, "", 1)


def test_a_devserver_on_ipv6_is_served_through_nginx(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server("--host", "::1")
    port = free_port()
    options = ("--host", "::1", "--port", str(server.port))
    ended = printed(server.static_dir, tmp_path / "run", *options, listen=f"[::1]:{port}")
    with running_nginx(tmp_path / "run", ended.stdout.replace(f"[::1]:{port} b", f"127.0.0.1:{port} b"), port) as url:
        assert requests.get(f"{url}/check_health", timeout=10).ok


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may say who the workers are to be")
@pytest.mark.parametrize("more", [(), ("--upstream", "127.0.0.1:1")], ids=["nginx", "spread"])
def test_an_owner_without_a_name_is_left_out(tmp_path: Path, more: tuple[str, ...]) -> None:
    for folder in (tmp_path / "static", tmp_path / "run"):
        folder.mkdir()
        os.chown(folder, 54321, 54322)
    command = [sys.executable, str(PROJECT / "devserver.py"), "--static-dir", str(tmp_path / "static"), "nginx-config"]
    command += ["--run-dir", str(tmp_path / "run"), "--listen", "127.0.0.1:1", *more]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "\nuser " not in ended.stdout
    assert "54321:54322, has no name" in ended.stdout
    (tmp_path / "nginx.conf").write_text(ended.stdout)
    checked = [
        "nginx",
        "-t",
        "-q",
        "-e",
        str(tmp_path / "error.log"),
        "-p",
        str(tmp_path),
        "-c",
        str(tmp_path / "nginx.conf"),
    ]
    assert subprocess.run(checked, check=False).returncode == 0


def test_who_is_not_root_says_nothing_of_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert user_of(tmp_path) == ""
