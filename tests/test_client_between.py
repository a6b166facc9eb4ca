"""The Python client where something stands between: a proxy, a portal, a redirect; and what it makes of arguments."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.servers import PROJECT, DevServer
from tests.stub_server import Answer, stub
from tests.terminal import in_a_pipe
from web.client import Client, ClientError, RequestRefused, ServerUnreachable, StillStaging
from web.client.connection import _OPTIONS, Access
from web.client.proxies import proxy_for

pytestmark = pytest.mark.shared_server

URL = "gs://bucket/target/R17-1.0.0"
PATH = "target/R17-1.0.0"
ELSEWHERE = "http://10.255.255.9:8080"  # nothing of this machine, which is asked by the proxy alone
SIGN_IN = Answer(200, "<html><form>log in</form></html>")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that names no proxy and no certificates."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            monkeypatch.delenv(name)


def error_of(ask: Callable[[], Any], kind: type[ClientError] = ClientError) -> str:
    """What is told where asking fails, as one line."""
    with pytest.raises(kind) as told:
        ask()
    assert "\n" not in str(told.value)
    return str(told.value)


# Redirects


CHANGES: list[Callable[[Client], Any]] = [
    lambda client: client.remove(PATH),
    lambda client: client.start(URL),
    lambda client: client.pin(PATH),
    lambda client: client.unpin(PATH),
    lambda client: client.lease(PATH, 60),
    lambda client: client.release(PATH, "x"),
    lambda client: client.cancel(PATH),
]


@pytest.mark.parametrize("status", [301, 302, 303])
@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_something_never_becomes_a_get(change: Callable[[Client], Any], status: int) -> None:
    with stub(lambda _, path: Answer(status, "", {"Location": f"https://user:secret@lab.example{path}"})) as front:
        told = error_of(lambda: change(Client(front.url)), RequestRefused)
        assert f"answers {status} and leads to https://lab.example" in told
        assert "secret" not in told
        assert len(front.asked) == 1


def test_the_command_line_does_not_say_that_what_is_there_was_removed() -> None:
    def script(method: str, path: str) -> Answer:
        if method == "DELETE":
            return Answer(302, "", {"Location": path})
        return Answer(200, '{"build": "t/v", "in_part": false, "state": "staged", "seconds_left": null}')

    with stub(script) as front:
        ended = in_a_pipe("pin", "t/v", "--server", front.url)
        assert ended.returncode == 0
        # What is asked first is a GET; and what it removes is nothing.
        script_of_builds = Answer(200, BUILD, {"Content-Type": "application/json"})
        front.script = lambda method, path: script(method, path) if method == "DELETE" else script_of_builds
        ended = in_a_pipe("remove", "--yes", "t/v", "--server", front.url)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.count("\n") == 1
    assert "302" in ended.stderr


BUILD = """{"build": "t/v", "archive_url": "gs://b/t/v", "state": "staged", "under_way": false, "complete": true,
"in_part": false, "size": 1, "bytes_done": 1, "bytes_total": 1, "seconds_left": null, "last_used": null,
"pinned": false, "leases": [], "artifacts": []}"""


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_that_keeps_the_method_is_followed(server: DevServer, status: int) -> None:
    with stub(lambda _, path: Answer(status, "", {"Location": f"{server.url}{path}"})) as front:
        assert "NotStaged" in error_of(lambda: Client(front.url).pin(PATH), RequestRefused)
        assert "NotStaged" in error_of(lambda: Client(front.url).remove(PATH), RequestRefused)


def test_redirects_without_end_are_told_at_once() -> None:
    with stub(lambda _, path: Answer(302, "", {"Location": path})) as front:
        assert "without end" in error_of(lambda: Client(front.url).version(), ServerUnreachable)


# What is no answer


ASKED: list[Callable[[Client], Any]] = [
    lambda client: client.download(URL),
    lambda client: client.wait_for_status(URL),
    lambda client: client.stage(URL, ["stateful"]),
    lambda client: client.is_staged(URL, ["stateful"]),
    lambda client: client.version(),
    lambda client: client.remove(PATH),
    lambda client: list(client.events(PATH)),
    lambda client: list(client.builds()),
]


@pytest.mark.parametrize("ask", ASKED)
def test_a_page_to_sign_in_on_is_no_success(ask: Callable[[Client], Any]) -> None:
    with stub(SIGN_IN) as portal:
        told = error_of(lambda: ask(Client(portal.url)), ServerUnreachable)
        assert told == f"{portal.url} does not answer as a devserver does"
        assert len(portal.asked) == 1


SQUID = Answer(503, "<html><p>Unable to forward</p></html>", {"X-Squid-Error": "ERR_CONNECT_FAIL 111"})
HAPROXY = Answer(408, "<html><body><h1>408 Request Time-out</h1>\nYour browser didn't send a request.\n</body></html>")


@pytest.mark.parametrize(
    "answer",
    [
        SQUID,
        HAPROXY,
        Answer(429, "slower", {"Retry-After": "2"}),
        Answer(425),
        Answer(500, "<html>oops</html>"),
        Answer(502, "<html>bad gateway</html>"),
        Answer(504, "<html>gateway time-out</html>"),
        Answer(520, "?"),
        Answer(524, "error code: 524"),
    ],
    ids=lambda answer: str(answer.status),
)
@pytest.mark.parametrize("ask", [ASKED[0], ASKED[1], ASKED[4], ASKED[6]])
def test_an_error_without_a_cause_is_not_the_devservers(answer: Answer, ask: Callable[[Client], Any]) -> None:
    with stub(answer) as between:
        told = error_of(lambda: ask(Client(between.url, patience=0)), ServerUnreachable)
    assert told.startswith(f"{between.url} answers {answer.status}")
    assert told.endswith("and not as a devserver does")


def test_an_error_of_something_between_is_tried_again() -> None:
    answers = iter([SQUID, HAPROXY, Answer(524), Answer(200, "Success", {"Content-Type": "text/plain"})])
    with stub(lambda *_: next(answers)) as between:
        Client(between.url).download(URL)
        assert len(between.asked) == 4


def test_who_wants_a_password_is_asked_once() -> None:
    with stub(Answer(407)) as between:
        assert "answers 407" in error_of(lambda: Client(between.url).download(URL), ServerUnreachable)
        assert len(between.asked) == 1


def test_a_caller_whose_own_time_is_over_is_told_so_and_nobody_else() -> None:
    page = "<pre>\n\n{}: {}\n</pre>"
    with stub(Answer(504, page.format("WaitTimedOut", "not staged yet"))) as server:
        error_of(lambda: Client(server.url).wait_for_status(URL, timeout=5), StillStaging)
    with stub(Answer(504, page.format("NotRunning", "Proxy Error: nginx is here"))) as front:
        error_of(lambda: Client(front.url, patience=0).download(URL), ServerUnreachable)


# Proxies


def test_the_proxy_is_named_and_its_password_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with stub(SQUID) as proxy:
        monkeypatch.setenv("http_proxy", f"http://user:secret@127.0.0.1:{proxy.server_port}")
        told = error_of(lambda: Client(ELSEWHERE, patience=0).download(URL), ServerUnreachable)
        assert told.startswith(f"{ELSEWHERE}, by the proxy {proxy.url}, answers 503")
        ended = in_a_pipe(
            "builds", "--server", ELSEWHERE, http_proxy=f"http://user:secret@127.0.0.1:{proxy.server_port}"
        )
        assert (ended.returncode, ended.stdout) == (3, "")
        assert f"the proxy {proxy.url}" in ended.stderr
        assert "secret" not in ended.stderr + told
    told = error_of(lambda: Client(ELSEWHERE, patience=0).download(URL), ServerUnreachable)
    assert told == f"{ELSEWHERE} cannot be reached by the proxy {proxy.url} (http_proxy): connection refused"


@pytest.mark.parametrize("status", [407, 403, 502])
def test_what_a_proxy_says_to_a_tunnel_is_told(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    with stub(Answer(status)) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        told = error_of(Client("https://10.255.255.9:8080", patience=0).version, ServerUnreachable)
        assert f"the proxy {proxy.url} (https_proxy) says {status}" in told
        if status < 500:
            error_of(Client("https://10.255.255.9:8080").version, ServerUnreachable)
            assert len(proxy.asked) == 2


def test_a_socks_proxy_takes_a_package_and_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://user:secret@127.0.0.1:1080")
    told = error_of(lambda: Client(ELSEWHERE).download(URL), ServerUnreachable)
    assert told.startswith("ALL_PROXY names a SOCKS proxy, socks5://127.0.0.1:1080, which takes PySocks")


@pytest.mark.parametrize(
    ("url", "no_proxy", "is_direct"),
    [
        ("http://127.0.0.1:8080", "", True),
        ("http://[::1]:8080", "", True),
        ("http://localhost", "", True),
        ("http://[fd00::5]:8080", "fd00::/8", True),
        ("http://[fd00::5]:8080", "[fd00::5]", True),
        ("http://[fd00::5]:8080", "fd00::5/128", True),
        ("http://[fd00::5]:8080", "[fd00::5]:8080", True),
        ("http://[fd00::5]:8080", "fd00::5", True),
        ("http://[fd00::5]:8080", "[fd00::5]:80, fe80::/10, 10.0.0.0/8", False),
        ("http://10.1.2.3:8080", "10.0.0.0/8", True),
        ("http://11.1.2.3:8080", "10.0.0.0/8", False),
        ("http://lab.example:8080", ".example", True),
        ("http://lab.example:8080", "LAB.example:8080", True),
        ("http://lab.example:8080", "lab.example:80", False),
        ("http://collab.example:8080", "lab.example", False),
        ("http://collab.example:8080", "*", True),
        ("http://lab.example:8080", "", False),
    ],
)
def test_no_proxy_is_understood_in_every_spelling(
    monkeypatch: pytest.MonkeyPatch, url: str, no_proxy: str, is_direct: bool
) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", no_proxy)
    assert (proxy_for(url) is None) == is_direct


def test_this_machine_is_asked_directly(server: DevServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert Client(server.url, patience=0).version()


def test_a_connection_by_a_proxy_notices_too_that_it_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    create = socket.socket.setsockopt

    def note(self: socket.socket, *option: Any) -> None:
        if option[:2] == (socket.SOL_SOCKET, socket.SO_KEEPALIVE):
            seen.append(self.fileno())
        create(self, *option)

    monkeypatch.setattr(socket.socket, "setsockopt", note)
    with stub(SQUID) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        error_of(Client(ELSEWHERE, patience=0).version)
    assert seen


def test_without_an_option_of_the_systems_the_rest_is_set() -> None:
    code = "import socket; del socket.TCP_KEEPIDLE, socket.TCP_KEEPCNT; from web.client import Client; "
    code += "from web.client.connection import _OPTIONS; print(len(_OPTIONS))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert int(ended.stdout) == len(_OPTIONS) - 2


# What it is given


@pytest.mark.parametrize("token", ["the_secret\r", "the_secret\n", " the_secret ", "the_secret"])
def test_white_space_around_a_token_is_taken_off(token: str) -> None:
    with stub(Answer(200, '{"version": "1"}')) as server:
        Client(server.url, token=token).version()
        assert server.headers[0]["Authorization"] == "Bearer the_secret"
        assert in_a_pipe("builds", "--server", server.url, DEVSERVER_TOKEN=token).returncode == 3
        assert server.headers[1]["Authorization"] == "Bearer the_secret"


@pytest.mark.parametrize("token", ["a\u2013secret", "a secret", "a\nsecret", "a\x7fsecret"])
def test_what_is_no_token_is_told_and_never_shown(token: str) -> None:
    told = error_of(lambda: Client("http://127.0.0.1:9", token=token), RequestRefused)
    ended = in_a_pipe("builds", "--server", "http://127.0.0.1:9", DEVSERVER_TOKEN=token)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "--token" in ended.stderr
    assert "secret" not in ended.stdout + ended.stderr + told


def test_a_request_id_is_cleaned_as_the_server_cleans_it() -> None:
    with stub(Answer(200, '{"version": "1"}')) as server:
        Client(server.url, request_id="suite\u20137\n").version()
        assert server.headers[0]["X-Request-ID"] == "suite_7_"


@pytest.mark.parametrize("content", [None, "this is no certificate"])
def test_certificates_that_cannot_be_used_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "ca.pem"
    if content:
        path.write_text(content)
    told = error_of(Client("https://127.0.0.1:9", ca=str(path)).version, ServerUnreachable)
    assert told.startswith(f"ca= names {path}, which has no certificates to trust")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    told = error_of(Client("https://127.0.0.1:9").version, ServerUnreachable)
    assert told.startswith(f"REQUESTS_CA_BUNDLE names {path}, which has no certificates to trust")
    ended = in_a_pipe("builds", "--server", "https://127.0.0.1:9", REQUESTS_CA_BUNDLE=str(path))
    assert (ended.returncode, ended.stderr) == (3, f"devserver: {told}\n")
    if content:
        ended = in_a_pipe("builds", "--server", "https://127.0.0.1:9", "--ca-file", str(path))
        assert ended.stderr.startswith(f"devserver: --ca-file names {path}, which has no certificates to trust")


@pytest.mark.parametrize("host", ["a..b", "x" * 64, "."])
def test_what_is_no_name_is_quoted_in_one_line(host: str) -> None:
    told = error_of(Client(f"http://{host}:8080").version)
    assert f"http://{host}:8080" in told
    ended = in_a_pipe("--host", host, "--port", "0")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert host in ended.stderr


def test_a_password_in_an_address_is_never_shown() -> None:
    url = "http://user:secret@127.0.0.1:9"
    told = error_of(Client(url, patience=0).version)
    assert told == "http://127.0.0.1:9 cannot be reached: connection refused"
    told += error_of(lambda: list(Client([url, "http://user:secret@127.0.0.1:10"], patience=0).builds()))
    for words in (["builds"], ["status"], ["status", "--json"], ["wait", "t/v"]):
        ended = in_a_pipe(*words, "--server", url)
        told += ended.stdout + ended.stderr
    assert "secret" not in told


def test_servers_below_one_host_are_told_apart() -> None:
    with stub(lambda _, path: Answer(200, f'{{"version": "{path[:4]}"}}')) as host:
        client = Client([f"{host.url}/ds1", f"{host.url}/ds2"])
        assert [one.first_url for one in client._asking.each()] == [f"{host.url}/ds1", f"{host.url}/ds2"]
        assert client.version() == "/ds1"


@pytest.mark.parametrize("zone", ["%25lo", "%lo"])
def test_an_address_with_a_zone_is_asked_on_its_interface(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    asked: list[str] = []
    find = socket.getaddrinfo

    def note(host: str, *rest: Any) -> Any:
        asked.append(host)
        return find("127.0.0.1", *rest)

    monkeypatch.setattr(socket, "getaddrinfo", note)
    with stub(Answer(200, '{"version": "1"}')) as server:
        assert Client(f"http://[fe80::1{zone}]:{server.server_port}").version() == "1"
    assert asked == ["fe80::1%lo"]


def test_plain_http_where_tls_is_spoken_to_is_told(server: DevServer) -> None:
    told = error_of(Client(server.url.replace("http:", "https:")).version, ServerUnreachable)
    assert told.endswith(f"speaks plain HTTP; its address is {server.url}")


def test_a_copy_of_the_directory_is_all_that_a_harness_needs(tmp_path: Path) -> None:
    shutil.copytree(PROJECT / "web" / "client", tmp_path / "third_party" / "devserver_client")
    (tmp_path / "third_party" / "__init__.py").touch()
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "__init__.py").touch()  # the harness's own
    code = "from third_party.devserver_client import Client; import web, sys; print(web.__file__, Client.__module__)"
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == [str(tmp_path / "web" / "__init__.py"), "third_party.devserver_client.client"]


def test_access_is_the_environments_only_where_nothing_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/theirs.pem")
    assert Access(None, "/mine.pem").route_to("https://lab").bundle == "/mine.pem"
    assert Access(None, None).route_to("https://lab").bundle == "/theirs.pem"
