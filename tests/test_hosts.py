"""Under which names browsers are served: a page of another site, whose name was pointed here, gets nowhere."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, Page

from tests.browsing import chromium
from tests.builds import FULL_PAYLOAD, Build, make_build
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.nginx import in_front_of
from tests.servers import PROJECT, DevServer, cause_of, check_success
from web.access.hosts import KnownHosts, checked_name
from web.access.refused_names import RefusedNames

BROWSER = {"User-Agent": "Mozilla/5.0", "Accept": "text/html"}
SIGNS = [
    {"User-Agent": "Mozilla/5.0"},
    {"Accept-Language": "en"},
    {"Accept-Language": ""},
    {"Origin": "http://evil.example"},
    {"Referer": "http://evil.example/"},
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Mode": "cors"},
    {"Sec-Fetch-Dest": "empty"},
]


@pytest.fixture(scope="module")
def archive() -> Iterator[FakeArchive]:
    with FakeArchive() as archive:
        yield archive


@pytest.fixture(scope="module")
def build(archive: FakeArchive) -> Build:
    return make_build().upload(archive)


@pytest.fixture(scope="module")
def server(archive: FakeArchive, build: Build, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """A devserver without tokens, with a build staged, and two names more."""
    environment = {"STORAGE_EMULATOR_HOST": archive.url}
    options = ("--allow-host", "builds.lab.example", "--allow-host", "*.Lab.Example.")
    server = DevServer(tmp_path_factory.mktemp("hosts"), *options, environment=environment)
    server.stage(build.url)
    yield server
    server.close()


def ask(server: DevServer, host: str, path: str = "/", headers: dict[str, str] | None = None) -> requests.Response:
    return requests.get(server.url + path, headers={"Host": host, **(headers or {})}, timeout=20)


OURS = (
    "127.0.0.1",
    "127.0.0.1:1",
    "10.1.2.3:8080",
    "[::1]",
    "[::1]:8080",
    "[FE80::1%25eth0]:80",
    "[::ffff:127.0.0.1]",
    "localhost",
    "LOCALHOST",
    "LocalHost:8080",
    "localhost.",
    "localhost.:8080",
    "localhost:",
    socket.gethostname(),
    socket.gethostname().upper() + ":80",
    socket.gethostname().partition(".")[0] + ".",
    "builds.lab.example",
    "BUILDS.lab.example.:8080",
    "x.lab.example",
    "a.b.lab.example:1",
)
OTHERS = (
    "evil.example",
    "evil.example:8080",
    "evil.example.",
    "lab.example",
    "xlab.example",
    "builds.lab.example.evil",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "1.2.3",
    "0x7f.1",
    "127.0.0.1x",
    "[::1",
    "::1",
    "[::1]evil",
    "[evil]",
    "localhost:80:80",
    "localhost:80x",
    "localhost,evil",
    "evil@localhost",
    "localhost..",
    "x.lab.example.evil",
    "",
    "<script>",
    "x" * 5000,
)


@pytest.mark.parametrize("host", OURS)
def test_a_browser_is_served_under_the_servers_names(server: DevServer, host: str) -> None:
    assert ask(server, host, headers=BROWSER).status_code == 200


@pytest.mark.parametrize("host", OTHERS)
def test_a_browser_is_refused_under_any_other_name(server: DevServer, host: str) -> None:
    answer = ask(server, host, headers=BROWSER)
    assert answer.status_code == 421
    assert cause_of(answer).startswith("UnknownHost: this devserver is not known to browsers ")
    assert "--allow-host" in cause_of(answer)
    assert "Welcome" not in answer.text


@pytest.mark.parametrize("sign", SIGNS, ids=str)
def test_a_browser_is_known_by_any_of_its_signs(server: DevServer, build: Build, sign: dict[str, str]) -> None:
    for path in ("/check_health", "/api/v1/builds", f"/static/{build.path}/{FULL_PAYLOAD}", "/assets/devserver.js"):
        assert ask(server, "evil.example", path, sign).status_code == 421
    program = ask(server, "evil.example", "/api/v1/builds", {**sign, "Accept": "*/*"})
    assert (program.json()["title"], "--allow-host evil.example" in program.json()["detail"]) == ("UnknownHost", True)


def test_programs_are_served_under_any_name(server: DevServer, build: Build) -> None:
    for host in (*OURS, *OTHERS):
        assert ask(server, host, "/check_health").status_code == 200
        assert ask(server, host, "/wait_for_status?archive_url=" + build.url).text == "Success"


@pytest.mark.parametrize(
    ("status", "lines"),
    [
        (421, ["GET http://evil.example/ HTTP/1.1", "Host: localhost"]),
        (421, ["GET http://evil.example HTTP/1.1", "Host: localhost"]),
        (200, ["GET http://localhost:80/ HTTP/1.1", "Host: evil.example"]),
        (421, ["GET / HTTP/1.0"]),
        (400, ["GET / HTTP/1.1"]),
        (421, ["GET / HTTP/1.1", "Host: evil.example", "X-Forwarded-Host: localhost"]),
        (400, ["GET / HTTP/1.1", "Host: localhost", "Host: evil.example"]),
        (421, ["GET / HTTP/1.1", "Host: evil.example localhost"]),
    ],
)
def test_the_name_is_that_which_counts_in_http(server: DevServer, status: int, lines: list[str]) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        head = [*lines, "User-Agent: Mozilla/5.0", "Connection: close", "", ""]
        client.sendall("\r\n".join(head).encode())
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    match = re.match(rb"HTTP/1\.1 (\d+)", answer)
    assert match
    assert int(match[1]) == status


@pytest.fixture(scope="module")
def rebound() -> Iterator[Browser]:
    """A browser for which names of another site lead here."""
    # Chromium's own protection is off: other browsers have none.
    features = "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests"
    with chromium("--host-resolver-rules=MAP evil.example 127.0.0.1, MAP *.lab.example 127.0.0.1", features) as browser:
        yield browser


# What a page has a browser ask for, with as little said of it as it can; the browser may say which page that is.
ATTACK = """async ([path, method, referrerPolicy]) => {
    const headers = {"Accept-Language": "", "Accept": "*/*"};
    const answer = await fetch(path, {method, headers, referrerPolicy, credentials: "omit"});
    return [answer.status, await answer.text()];
}"""


def attacking_page(browser: Browser, origin: str) -> Page:
    """The page of an attacker at ``origin``, whose name was pointed elsewhere when it was loaded."""
    page = browser.new_page()
    page.route("**/attack", lambda route: route.fulfill(content_type="text/html", body="<h1>A page</h1>"))
    page.goto(f"{origin}/attack")
    return page


@pytest.mark.parametrize("referrer", ["unsafe-url", "no-referrer"])
def test_a_page_whose_name_was_pointed_here_neither_stages_nor_removes_nor_reads(
    rebound: Browser, server: DevServer, build: Build, archive: FakeArchive, referrer: str
) -> None:
    other = make_build(version="R99-1.0.0").upload(archive)
    page = attacking_page(rebound, f"http://evil.example:{server.port}")
    for path, method in (
        (f"/download?archive_url={other.url}", "GET"),
        (f"/stage?archive_url={build.url}&artifacts=stateful&clean=true", "GET"),
        (f"/api/v1/builds/{build.path}", "DELETE"),
        (f"/static/{build.path}/{FULL_PAYLOAD}", "GET"),
        ("/api/v1/builds", "GET"),
        ("/", "GET"),
    ):
        status, text = page.evaluate(ATTACK, [path, method, referrer])
        assert (status, "UnknownHost" in text, build.path in text) == (421, True, False), path
    page.close()
    assert not (server.static_dir / other.path).exists()
    build.check_staged(server.static_dir)


def test_a_browser_sees_the_pages_under_an_allowed_name_and_which_names_were_refused(
    rebound: Browser, server: DevServer
) -> None:
    ask(server, "ci-42.lab.other", headers=BROWSER)
    ask(server, "<b>&.evil", headers=BROWSER)
    page = rebound.new_page()
    answer = page.goto(f"http://builds.lab.example:{server.port}/")
    assert answer is not None
    assert answer.status == 200
    assert page.get_by_text("--allow-host ci-42.lab.other").is_visible()
    page.close()
    assert server.log.count("'ci-42.lab.other'; to allow that name, start it with --allow-host ci-42.lab.other") == 1
    assert "<b>" not in server.log


def test_names_without_end_take_no_room_and_few_lines_of_the_log() -> None:
    lines: list[str] = []
    names = RefusedNames(lines.append)
    for number in range(10_000):
        names.note(f"{number}.evil.example")
        names.note("the.same")
    assert 20 <= len(lines) <= 22
    assert len(names.latest()) <= 20
    assert max(len(names.note("x" * 10_000)) for _ in range(2)) < 500
    assert names.latest()[1].times == 10_000


def test_where_everything_takes_a_token_every_name_is_served(start_server: StartServer, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.touch(0o600)
    server = start_server("--tokens", str(tokens), "--require-token-to-read")
    assert ask(server, "evil.example", "/login", BROWSER).status_code == 200


def test_where_reading_takes_no_token_it_takes_a_name(start_server: StartServer, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.touch(0o600)
    server = start_server("--tokens", str(tokens))
    assert ask(server, "evil.example", "/", BROWSER).status_code == 421


def test_an_nginx_in_front_passes_the_name_on(start_server: StartServer, tmp_path: Path, archive: FakeArchive) -> None:
    server = start_server("--front", "nginx", "--front-log", str(tmp_path / "run" / "use.log"))
    with in_front_of(server, tmp_path / "run") as address:
        for host, status in (("localhost", 200), ("127.0.0.1:1", 200), ("evil.example", 421)):
            for more in ({}, {"X-Forwarded-Host": "localhost"}):
                answer = requests.get(address + "/", headers={"Host": host, **BROWSER, **more}, timeout=20)
                assert answer.status_code == status, (host, more)
        assert requests.get(address + "/check_health", headers={"Host": "any.alias"}, timeout=20).ok


def test_a_trusted_proxy_names_the_host_and_a_page_that_says_so_of_itself_does_not(start_server: StartServer) -> None:
    server = start_server("--trusted-proxy", "127.0.0.0/8", "--allow-host", "builds.lab.example")
    for host, forwarded, status in (
        ("127.0.0.1:8080", "builds.lab.example", 200),
        ("127.0.0.1:8080", "evil.example", 421),
        ("localhost", "localhost, evil.example", 421),
        ("evil.example", "localhost", 421),  # of a browser on the proxy's machine
        ("evil.example", "", 421),
    ):
        answer = ask(server, host, headers={**BROWSER, "X-Forwarded-Host": forwarded})
        assert answer.status_code == status, (host, forwarded)
    untrusting = start_server(name="untrusting")
    assert ask(untrusting, "evil.example", headers={**BROWSER, "X-Forwarded-Host": "localhost"}).status_code == 421


def test_an_nginx_that_asks_whether_a_file_may_be_read_is_answered(start_server: StartServer, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.touch(0o600)
    options = ("--tokens", str(tokens), "--require-token-to-read")
    server = start_server(*options, "--front", "nginx", "--front-log", str(tmp_path / "run" / "use.log"))
    with in_front_of(server, tmp_path / "run", *options) as address:
        answer = requests.get(address + "/static/", headers={"Host": "alias", **BROWSER}, timeout=20)
        assert answer.status_code in (200, 401)  # the page where people log in, or that a token is needed
        assert "UnknownHost" not in answer.text


def test_a_peer_is_served_under_any_name(start_server: StartServer, build: Build, server: DevServer) -> None:
    other = start_server("--peer", f"http://localhost:{server.port}", name="other")
    check_success(other.download(build.url))


def test_a_machine_of_another_name_is_known_by_it_and_a_published_port_by_localhost(
    start_server: StartServer,
) -> None:
    """As in a container: it has a name of its own, and its port is another one outside."""
    server = start_server(wrapper=("unshare", "--uts", "sh", "-c", 'hostname "4f5e6d.pod.lab" && exec "$@"', "sh"))
    for host, status in (("4f5e6d.pod.lab", 200), ("4f5e6d:80", 200), ("localhost:32768", 200), ("dockerhost", 421)):
        assert ask(server, host, headers=BROWSER).status_code == status, host


@pytest.mark.parametrize("name", ["x:80", "http://x", "*", "*.", "a b", "-x", "x..y", "*.*.x", "[::1]", ""])
def test_a_name_that_is_none_is_told_at_the_start(name: str, tmp_path: Path) -> None:
    command = [sys.executable, str(PROJECT / "devserver.py"), "--static-dir", str(tmp_path), "--port", "0"]
    run = subprocess.run([*command, "--allow-host", name], capture_output=True, text=True, timeout=30)
    assert (run.returncode, "--allow-host: " in run.stderr, "Traceback" in run.stderr) == (2, True, False), run.stderr


def test_names_have_one_spelling() -> None:
    assert [checked_name(name) for name in ("X.Lab.", "*.X", "b\u00fccher.example")] == [
        "x.lab",
        "*.x",
        "xn--bcher-kva.example",
    ]
    assert not KnownHosts([]).have("xn--bcher-kva.example")
    assert KnownHosts(["xn--bcher-kva.example"]).have("XN--bcher-kva.example.:80")
