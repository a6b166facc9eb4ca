"""Who asks, where proxies pass requests on: those that are trusted say it, and nobody else."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.builds import Build
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.nginx import before, free_port, is_listening, running_nginx, spread_before, written
from tests.servers import DevServer, eventually
from tests.test_tls import make_certificate
from web.http.forwarded import TrustedProxies, checked_network
from web.ledger.records import rows_of


def applied(trusted: list[str], peer: str, **headers: str) -> dict[str, Any]:
    """The environment of a request from ``peer``, once the headers were looked at."""
    environ = {"REMOTE_ADDR": peer, "wsgi.url_scheme": "http", "HTTP_HOST": "devserver:8080", **headers}
    TrustedProxies(trusted).apply(environ)
    assert not [name for name in environ if "FORWARDED" in name]
    return environ


@pytest.mark.parametrize(
    ("trusted", "peer", "hops", "client"),
    [
        ([], "10.0.0.5", "1.2.3.4", "10.0.0.5"),
        (["10.0.0.6"], "10.0.0.5", "1.2.3.4", "10.0.0.5"),
        (["10.0.0.5"], "10.0.0.5", "1.2.3.4", "1.2.3.4"),
        (["10.0.0.0/8"], "10.0.0.5", "9.9.9.9, 1.2.3.4", "1.2.3.4"),
        (["10.0.0.0/8"], "10.0.0.5", "9.9.9.9, 1.2.3.4, 10.0.0.6,10.0.0.7", "1.2.3.4"),
        (["10.0.0.0/8"], "10.0.0.5", "10.1.1.1, 10.0.0.6", "10.1.1.1"),
        (["10.0.0.0/8"], "10.0.0.5", "9.9.9.9, nonsense, 10.0.0.6", "10.0.0.6"),
        (["10.0.0.0/8"], "10.0.0.5", "unknown", "10.0.0.5"),
        (["10.0.0.0/8"], "10.0.0.5", "1.2.3.4:5678", "1.2.3.4"),
        (["10.0.0.0/8"], "10.0.0.5", "[2001:db8::1]:5678", "2001:db8::1"),
        (["10.0.0.0/8"], "10.0.0.5", "2001:db8::1", "2001:db8::1"),
        (["10.0.0.0/8"], "::ffff:10.0.0.5", "::ffff:1.2.3.4", "1.2.3.4"),
        (["fd00::/8"], "fd00::5", "9.9.9.9, fd00::6", "9.9.9.9"),
        (["::/0"], "::1", "9.9.9.9", "9.9.9.9"),
        (["10.0.0.0/8"], "10.0.0.5", "x" * 30_000, "10.0.0.5"),
        (["10.0.0.0/8"], "10.0.0.5", "9.9.9.9" + ", 10.0.0.6" * 3000, "10.0.0.6"),
    ],
)
def test_the_client_is_the_last_address_that_is_no_trusted_proxys(
    trusted: list[str], peer: str, hops: str, client: str
) -> None:
    assert applied(trusted, peer, HTTP_X_FORWARDED_FOR=hops)["REMOTE_ADDR"] == client


@pytest.mark.parametrize(
    "name", ["evil.example/", "a b", "a\r\nb", '"', "[::1", "x" * 300, "", ",", "a:b", "user@host"]
)
def test_what_is_no_name_is_not_taken_for_one(name: str) -> None:
    assert applied(["10.0.0.5"], "10.0.0.5", HTTP_X_FORWARDED_HOST=name)["HTTP_HOST"] == "devserver:8080"


@pytest.mark.parametrize(
    ("scheme", "taken"), [("https", "https"), ("http, HTTPS ", "https"), ("ftp", "http"), ("", "http")]
)
def test_a_scheme_is_one_of_two(scheme: str, taken: str) -> None:
    assert applied(["10.0.0.5"], "10.0.0.5", HTTP_X_FORWARDED_PROTO=scheme)["wsgi.url_scheme"] == taken


def test_of_a_stranger_nothing_is_believed() -> None:
    told = {
        "HTTP_X_FORWARDED_PROTO": "https",
        "HTTP_X_FORWARDED_HOST": "evil.example",
        "HTTP_X_FORWARDED_FOR": "1.2.3.4",
    }
    environ = applied(["10.0.0.5"], "10.0.0.6", **told)
    assert environ == {"REMOTE_ADDR": "10.0.0.6", "wsgi.url_scheme": "http", "HTTP_HOST": "devserver:8080"}


@pytest.mark.parametrize("text", ["10.0.0.0/33", "devserver", "10.0.0", "", "10.0.0.5;", "$x", "10.0.0.0/8 10.0.0.1"])
def test_what_is_no_address_is_no_proxy(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        checked_network(text)


# Real proxies


def logged(server: DevServer) -> list[dict[str, Any]]:
    """The lines of the access log."""
    path = server.static_dir.parent / "logs" / "access.log"
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_client_names_itself_to_nobody(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server("--log-dir", str(tmp_path / "logs"), "--log-format", "json")
    for path in ("/check_health", "/static/", "/static/nothing"):
        requests.get(server.url + path, headers={"X-Forwarded-For": "1.2.3.4", "Forwarded": "for=1.2.3.4"}, timeout=10)
    lines = eventually(lambda: found if len(found := logged(server)) == 3 else [])
    assert {line["client"] for line in lines} == {"127.0.0.1"}


HAPROXY = """
global
    maxconn 100
defaults
    mode http
    timeout client 10s
    timeout server 10s
    timeout connect 5s
    option forwardfor
frontend tls
    bind 127.0.0.1:{port} ssl crt {pem}
    http-request set-header X-Forwarded-Proto https
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    default_backend nginx
backend nginx
    source 127.0.0.2
    server one 127.0.0.1:{nginx}
"""


@contextmanager
def haproxy(folder: Path, nginx: int) -> Iterator[tuple[int, str]]:
    """The port of a HAProxy that speaks TLS, and passes requests on from 127.0.0.2; and the file of its certificate."""
    chain, key = make_certificate(folder)
    (folder / "both.pem").write_text(chain.read_text() + key.read_text())
    port = free_port()
    (folder / "haproxy.cfg").write_text(HAPROXY.format(port=port, pem=folder / "both.pem", nginx=nginx))
    process = subprocess.Popen(["haproxy", "-db", "-q", "-f", str(folder / "haproxy.cfg")])
    try:
        eventually(lambda: is_listening(port))
        yield port, str(chain)
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize("start", [before, spread_before], ids=["nginx", "spread"])
def test_behind_a_tls_front_and_an_nginx_scheme_name_and_client_are_right(
    start_server: StartServer, archive: FakeArchive, tmp_path: Path, start: Callable[..., Any]
) -> None:
    build = Build(objects={"small.bin": b"0123456789"}).upload(archive)
    run_dir, ledger = tmp_path / "run", tmp_path / "ledger.db"
    logs = ["--log-dir", str(tmp_path / "logs"), "--log-format", "json", "--ledger", str(ledger)]
    server = start_server("--front", "nginx", "--front-log", str(run_dir / "use.log"), *logs)
    assert server.get("/stage", archive_url=build.url, files="small.bin").ok
    trusted = ("--trusted-proxy", "127.0.0.2")
    with start(server.own_port, server.static_dir, run_dir, *trusted) as nginx, haproxy(tmp_path, nginx) as (port, ca):

        def get(path: str) -> requests.Response:
            told = {
                "X-Forwarded-For": "9.9.9.9, 127.0.0.2",
                "X-Forwarded-Proto": "http",
                "X-Forwarded-Host": "evil.example",
            }
            url = f"https://127.0.0.1:{port}{path}"
            return requests.get(url, headers=told, verify=ca, timeout=10, allow_redirects=False)

        assert get("/builds").headers["Location"] == "/"
        assert f"https://127.0.0.1:{port}/" in get(f"/builds/{build.path}").text
        assert get(f"/static/{build.path}/small.bin").content == b"0123456789"
        # What nginx is told by somebody else than the front counts for nothing.
        direct = f"http://127.0.0.1:{nginx}/builds/{build.path}"
        page = requests.get(direct, headers={"X-Forwarded-Proto": "https", "X-Forwarded-For": "8.8.8.8"}, timeout=10)
        assert f"http://127.0.0.1:{nginx}/" in page.text
    assert {line["client"] for line in logged(server)} == {"127.0.0.1"}
    row = eventually(lambda: list(rows_of(ledger)))[0]
    assert (row.client, row.file) == ("127.0.0.1", "small.bin")


def test_an_nginx_may_be_asked_through_a_socket(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server("--front", "nginx", "--log-dir", str(tmp_path / "logs"), "--log-format", "json")
    options = ["--port", str(server.port), "--static-dir", str(server.static_dir), "--trusted-proxy", "unix:"]
    text = written(options, f"unix:{tmp_path}/a b.sock", tmp_path / "run")
    with running_nginx(tmp_path / "run", text, server.own_port):
        command = ["curl", "-sS", "--unix-socket", str(tmp_path / "a b.sock"), "http://x/check_health"]
        eventually(lambda: (tmp_path / "a b.sock").exists())
        asked = subprocess.run(
            [*command, "-H", "X-Forwarded-For: 10.9.8.7"], capture_output=True, text=True, check=True
        )
        assert "free_disk" in asked.stdout
    assert eventually(lambda: logged(server))[0]["client"] == "10.9.8.7"
