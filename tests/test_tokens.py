"""Where there are tokens, nobody changes anything without one; and where it is asked for, nobody reads."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
import requests

from staging.errors import ConfigurationError
from tests.builds import Build, make_build
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.nginx import in_front_of
from tests.servers import PROJECT, DevServer, cause_of, check_success, eventually
from web.access.tokens import SCOPES, TokenFile, make_token, parse_tokens
from web.api.operations import OPERATIONS
from web.client import Client, RequestRefused

BROWSER = {"User-Agent": "Mozilla/5.0", "Accept": "text/html"}


class Tokens(NamedTuple):
    """A file of tokens: one for each scope, and one for all."""

    file: Path
    secrets: Mapping[str, str]

    def of(self, name: str) -> dict[str, str]:
        """The header that sends one."""
        return {"Authorization": f"Bearer {self.secrets[name]}"}


def make_tokens(file: Path) -> Tokens:
    made = {name: make_token(name, [name]) for name in SCOPES} | {"all": make_token("all", SCOPES)}
    file.write_text("# the lab's\n\n" + "".join(f"{token.line}\n" for _, token in made.values()))
    file.chmod(0o600)
    return Tokens(file, {name: secret for name, (secret, _) in made.items()})


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    return make_tokens(tmp_path / "tokens")


# One server for the questions that change nothing of it.


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DevServer, Tokens, Build]]:
    """A server whose readers need a token too, with a build staged."""
    folder = tmp_path_factory.mktemp("guarded")
    tokens = make_tokens(folder / "tokens")
    with FakeArchive() as archive:
        build = make_build().upload(archive)
        options = ("--tokens", str(tokens.file), "--require-token-to-read")
        server = DevServer(folder, *options, environment={"STORAGE_EMULATOR_HOST": archive.url})
        client = Client(server.url, token=tokens.secrets["all"])
        client.download(build.url)
        client.wait_for_status(build.url)
        yield server, tokens, build
        server.close()


READS = (
    "/static/",
    f"/static/{Build().path}/update.gz",
    "/static/nothing",
    "/doc",
    "/doc/stage",
    f"/builds/{Build().path}",
    "/builds/",
    f"/wait_for_status?archive_url={Build().url}",
    f"/is_staged?archive_url={Build().url}&artifacts=stateful",
    f"/list_image_dir?archive_url={Build().url}",
    "/latestbuild?target=x",
    "/controlfiles?build=a/b",
    "/list_suite_controls?build=a/b",
    "/locate_file?archive_url=gs://a/b/c&file_name=x",
    "/xbuddy_translate/remote/x/latest-official",
    "/api/v1/builds",
    f"/api/v1/builds/{Build().path}",
    f"/api/v1/builds/{Build().path}/events",
    "/api/v1/events",
    "/api/v1/artifacts",
    "/api/v1/health",
    "/api/v1/version",
    "/api/v1/openapi.json",
    "/api/v1/nothing",
    "/nothing",
    "/check_health/",
    "/check_health/more",
    "/assets/",
    "/assets/../builds/",
    "/assets/%2e%2e/static/",
    "/index/",
    "/static/..%2fcheck_health",
)


@pytest.mark.parametrize("path", READS)
def test_reading_takes_a_token(guarded: tuple[DevServer, Tokens, Build], path: str) -> None:
    server, tokens, _ = guarded
    without = requests.get(server.url + path, timeout=10)
    assert without.status_code == 401
    assert without.headers["WWW-Authenticate"] == 'Bearer realm="devserver", scope="read"'
    assert "TokenNeeded" in without.text
    unknown = requests.get(server.url + path, headers={"Authorization": "Bearer devserver_x"}, timeout=10)
    assert (unknown.status_code, "not known" in unknown.text) == (401, True)
    lacking = requests.get(server.url + path, headers=tokens.of("stage"), timeout=10)
    assert lacking.status_code == 403
    assert 'error="insufficient_scope"' in lacking.headers["WWW-Authenticate"]
    if not path.endswith("/events"):
        allowed = requests.get(server.url + path, headers=tokens.of("read"), timeout=10)
        assert "Token" not in allowed.text, allowed.text
        assert "ScopeMissing" not in allowed.text


@pytest.mark.parametrize("path", ["/", "/index", "/check_health", "/login", "/assets/devserver.css"])
def test_whether_it_lives_is_told_to_everybody(guarded: tuple[DevServer, Tokens, Build], path: str) -> None:
    server, _, build = guarded
    answer = requests.get(server.url + path, timeout=10)
    assert answer.status_code == 200
    assert build.target not in answer.text
    assert path not in ("/", "/index") or "Welcome to the Dev Server!" in answer.text


@pytest.mark.parametrize("accept", ["*/*", "application/json"])
def test_who_sends_no_token_is_told_so_as_harnesses_read_it(
    guarded: tuple[DevServer, Tokens, Build], accept: str
) -> None:
    server, _, build = guarded
    query = {"archive_url": build.url}
    answer = requests.get(f"{server.url}/download", params=query, headers={"Accept": accept}, timeout=10)
    cause = answer.json()["detail"] if accept == "application/json" else cause_of(answer).removeprefix("TokenNeeded: ")
    assert cause.startswith("this takes a token with the scope 'read', and no token came; send it as in Authorization:")


def test_a_browser_is_led_to_the_login_and_back(guarded: tuple[DevServer, Tokens, Build]) -> None:
    server, tokens, build = guarded
    with requests.Session() as browser:
        browser.headers.update(BROWSER)
        page = browser.get(f"{server.url}/builds/{build.path}", timeout=10)
        assert page.url == f"{server.url}/login?to=%2Fbuilds%2F{build.path.replace('/', '%2F')}"
        browser.headers["Origin"] = server.url
        form = {"token": browser.cookies["devserver-form"], "to": f"/builds/{build.path}"}
        wrong = browser.post(f"{server.url}/login", data={**form, "secret": "devserver_wrong"}, timeout=10)
        assert (wrong.status_code, "knows no such token" in wrong.text) == (403, True)
        page = browser.post(f"{server.url}/login", data={**form, "secret": tokens.secrets["all"]}, timeout=10)
        assert page.url == f"{server.url}/builds/{build.path}"
        assert "Remove…" in page.text
        (cookie,) = [cookie for cookie in browser.cookies if cookie.name == "devserver-token"]
        assert "HttpOnly" in cookie.__dict__["_rest"]
        assert cookie.__dict__["_rest"]["SameSite"] == "Strict"
        assert browser.get(f"{server.url}/api/v1/version", timeout=10).status_code == 200
        browser.post(f"{server.url}/login", data={**form, "action": "logout"}, timeout=10)
        assert browser.get(f"{server.url}/api/v1/version", timeout=10).status_code == 401


@pytest.mark.parametrize(
    "odd", ["a[b]=c", "path=/x", "{}={}", "a b=c", 'a="', "=", ";;", "$Version=1", "a=\xff", "x=" + "y;" * 50]
)
def test_a_login_holds_beside_cookies_that_nobody_can_read(guarded: tuple[DevServer, Tokens, Build], odd: str) -> None:
    server, tokens, _ = guarded
    ours = f"devserver-token={tokens.secrets['read']}"
    for line in (f"{odd}; {ours}", f"{ours}; {odd}", f"{odd}; {ours}; {odd}"):
        answer = requests.get(f"{server.url}/api/v1/version", headers={"Cookie": line.encode("latin-1")}, timeout=10)
        assert answer.status_code == 200, line


@pytest.mark.parametrize("to", ["https://elsewhere/", "//elsewhere", "/\\elsewhere", "elsewhere", "/a\r\nX: y", "/ü"])
def test_a_login_leads_to_no_other_server(guarded: tuple[DevServer, Tokens, Build], to: str) -> None:
    server, tokens, _ = guarded
    with requests.Session() as browser:
        browser.headers.update({**BROWSER, "Origin": server.url})
        browser.get(f"{server.url}/login", timeout=10)
        form = {"token": browser.cookies["devserver-form"], "secret": tokens.secrets["read"], "to": to}
        answer = browser.post(f"{server.url}/login", data=form, timeout=10, allow_redirects=False)
        assert answer.headers["Location"] in ("/", f"{server.url}/")


def test_the_page_of_another_site_cannot_log_anybody_in(guarded: tuple[DevServer, Tokens, Build]) -> None:
    server, tokens, _ = guarded
    headers = {**BROWSER, "Origin": "http://elsewhere"}
    answer = requests.post(f"{server.url}/login", data={"secret": tokens.secrets["all"]}, headers=headers, timeout=10)
    assert (answer.status_code, "Set-Cookie" in answer.headers) == (403, False)


# What changes something.


def changes(build: Build) -> list[tuple[str, str, str, dict[str, object] | None]]:
    """Method, path, scope, and body."""
    query = f"archive_url={build.url}"
    new: dict[str, object] = {"archive_url": build.url, "artifacts": ["stateful"]}
    return [
        ("GET", f"/download?{query}", "stage", None),
        ("POST", f"/download?{query}", "stage", None),
        ("GET", f"/stage?{query}&artifacts=stateful", "stage", None),
        ("GET", f"/stage?{query}&artifacts=stateful&clean=True", "remove", None),
        ("POST", "/api/v1/builds", "stage", new),
        ("POST", "/api/v1/builds", "remove", {**new, "clean": True}),
        ("POST", f"/api/v1/builds/{build.path}/cancel", "stage", None),
        ("DELETE", f"/api/v1/builds/{build.path}", "remove", None),
    ]


def test_changing_something_takes_a_token_with_its_scope(
    start_server: StartServer, archive: FakeArchive, tokens: Tokens
) -> None:
    build = make_build().upload(archive)
    server = start_server("--tokens", str(tokens.file))
    for method, path, scope, body in changes(build):
        data = None if body is None else json.dumps(body)

        def ask(headers: Mapping[str, str]) -> requests.Response:
            return requests.request(method, server.url + path, data=data, headers=headers, timeout=10)  # noqa: B023

        assert ask({}).status_code == 401, path
        assert "WWW-Authenticate" in ask({}).headers
        assert ask({"Authorization": "Bearer "}).status_code == 401
        assert ask({"Authorization": "Basic dXNlcjpwYXNz"}).status_code == 401
        for other in SCOPES:
            wanted = (403,) if other != scope else (200, 202, 204, 403, 404, 409)
            answer = ask(tokens.of(other))
            assert answer.status_code in wanted, (path, other, answer.text)
            assert other != scope or answer.status_code != 403 or scope == "remove", (path, answer.text)
    assert requests.get(f"{server.url}/static/", timeout=10).status_code == 200
    assert requests.get(f"{server.url}/api/v1/builds", timeout=10).status_code == 200


def test_pages_offer_nothing_that_the_token_does_not_allow(
    start_server: StartServer, archive: FakeArchive, tokens: Tokens
) -> None:
    build = make_build().upload(archive)
    server = start_server("--tokens", str(tokens.file))
    client = Client(server.url, token=tokens.secrets["stage"])
    client.download(build.url)
    client.wait_for_status(build.url)
    page = f"{server.url}/builds/{build.path}"
    forms = ('action="/download"', 'value="remove"', "Remove…")
    for address in (server.url, page, f"{page}?ask=remove", f"{server.url}/download"):
        text = requests.get(address, headers=BROWSER, timeout=10).text
        assert not [form for form in forms if form in text], address
        assert 'href="/login"' in text
    with requests.Session() as browser:
        browser.headers.update({**BROWSER, "Origin": server.url})
        browser.get(page, timeout=10)
        form = {"token": browser.cookies["devserver-form"], "action": "remove"}
        assert browser.post(page, data=form, timeout=10).status_code == 401
        browser.cookies.set("devserver-token", tokens.secrets["remove"])
        assert "Remove…" in browser.get(page, timeout=10).text
        eventually(lambda: browser.post(page, data=form, timeout=10).status_code == 200)
    assert not (server.static_dir / build.path).exists()


# The file


def test_a_token_is_taken_back_by_taking_out_its_line(start_server: StartServer, tokens: Tokens) -> None:
    server = start_server("--tokens", str(tokens.file), "--require-token-to-read")

    def status() -> int:
        return requests.get(f"{server.url}/doc", headers=tokens.of("read"), timeout=10).status_code

    assert status() == 200
    lines = tokens.file.read_text()
    tokens.file.write_text("nonsense\n")
    assert status() == 200
    assert "the tokens stay as they were" in server.log
    tokens.file.write_text("".join(line for line in lines.splitlines(keepends=True) if not line.startswith("read")))
    assert status() == 401
    new = tokens.file.with_name("new")
    new.write_text(lines)
    new.replace(tokens.file)
    assert status() == 200


def test_a_token_is_nowhere_but_with_who_was_given_it(start_server: StartServer, tokens: Tokens) -> None:
    server = start_server("--tokens", str(tokens.file))
    requests.get(f"{server.url}/download?archive_url=gs://a/b/c", headers=tokens.of("all"), timeout=30)
    assert '"GET /download' in server.log
    for secret in tokens.secrets.values():
        assert secret not in server.log
        assert secret not in tokens.file.read_text()


def test_the_command_makes_a_line_that_the_file_takes() -> None:
    command = [sys.executable, str(PROJECT / "devserver.py"), "token", "lab-1", "--scope", "read, stage"]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    (token,) = parse_tokens(made.stdout, "file")
    assert (token.name, set(token.scopes)) == ("lab-1", {"stage", "read"})
    assert made.stderr.partition("kept nowhere: ")[2].strip().startswith("devserver_")


DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("lab", "it should be a name"),
        (f"lab stage read {DIGEST}", "it should be a name"),
        (f"lab stage {DIGEST}0", "it should be a name"),
        (f"lab stage md5:{'0' * 64}", "it should be a name"),
        (f"lab all {DIGEST}", "'all' is no scope; there are stage, remove, read"),
        (f"lab stage, {DIGEST}", "'' is no scope"),
        (f"-lab stage {DIGEST}", "a name is letters"),
        (f"{'x' * 65} stage {DIGEST}", "a name is letters"),
        (f"a stage {DIGEST}\na read {DIGEST}", "there is a token 'a' already"),
    ],
)
def test_what_is_wrong_with_a_line_is_told(line: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        parse_tokens(line, "file")


@pytest.mark.parametrize("mode", [0o622, 0o662])
def test_a_file_that_others_may_write_to_is_refused(tokens: Tokens, mode: int) -> None:
    tokens.file.chmod(mode)
    with pytest.raises(ConfigurationError, match="others may write to it"):
        TokenFile(tokens.file, print)


def test_reading_takes_a_token_only_where_there_are_some(tmp_path: Path) -> None:
    for options in (["--require-token-to-read"], ["--tokens", str(tmp_path / "nowhere")]):
        command = [sys.executable, str(PROJECT / "devserver.py"), "--static-dir", str(tmp_path / "static"), *options]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), ended.stderr


# Clients and nginx


def test_commands_send_the_token_of_their_environment(guarded: tuple[DevServer, Tokens, Build]) -> None:
    server, tokens, build = guarded
    command = [sys.executable, str(PROJECT / "devserver.py"), "builds", "--server", server.url]
    for secret, status in ((tokens.secrets["read"], 0), ("devserver_x", 1)):
        ran = subprocess.run(command, capture_output=True, text=True, check=False, env={"DEVSERVER_TOKEN": secret})
        assert (ran.returncode, build.path in ran.stdout) == (status, status == 0), ran.stderr


def test_the_client_says_what_a_token_lacks(guarded: tuple[DevServer, Tokens, Build]) -> None:
    server, tokens, build = guarded
    with pytest.raises(RequestRefused, match=r"^TokenNeeded"):
        Client(server.url).download(build.url)
    with pytest.raises(RequestRefused, match=r"^ScopeMissing.*'stage'.*'read'"):
        Client(server.url, token=tokens.secrets["read"]).download(build.url)
    assert list(Client(server.url, token=tokens.secrets["read"]).events(build.path))[-1].data["state"] == "staged"


def test_nginx_in_front_asks_for_the_token_too(guarded: tuple[DevServer, Tokens, Build], tmp_path: Path) -> None:
    server, tokens, build = guarded
    options = ("--tokens", str(tokens.file), "--require-token-to-read")
    with in_front_of(server, tmp_path / "nginx", *options) as address:
        url = f"{address}/static/{build.path}/update.gz"
        without = requests.get(url, timeout=10)
        assert (without.status_code, cause_of(without).partition(":")[0]) == (401, "TokenNeeded")
        assert requests.get(url, headers=tokens.of("stage"), timeout=10).status_code == 403
        answer = requests.get(url, headers=tokens.of("read"), timeout=10)
        assert answer.content == build.files["update.gz"]
        assert answer.headers["Server"] == "nginx"


def test_nginx_in_front_says_that_the_devserver_is_away_where_reading_takes_a_token(
    start_server: StartServer, tokens: Tokens, tmp_path: Path
) -> None:
    options = ("--tokens", str(tokens.file), "--require-token-to-read")
    server = start_server(*options)
    with in_front_of(server, tmp_path / "nginx", *options) as address:
        (server.static_dir / "file").write_bytes(b"content")
        assert requests.get(f"{address}/static/file", headers=tokens.of("read"), timeout=10).content == b"content"
        server.kill()
        away = requests.get(f"{address}/static/file", headers=tokens.of("read"), timeout=10)
        assert (away.status_code, cause_of(away).partition(":")[0]) == (502, "NotRunning")


def test_without_tokens_nothing_takes_one(server: DevServer, build: Build) -> None:
    check_success(server.download(build.url))
    assert server.get("/login").status_code == 404
    assert "/login" not in server.get("/").text


def test_every_operation_of_the_api_has_a_scope() -> None:
    scopes = {(one.method, one.path): one.scope for one in OPERATIONS}
    assert scopes["DELETE", "/builds/{build}"] == "remove"
    assert all(scope == "" for (method, _), scope in scopes.items() if method == "GET")
    assert all(scope in ("stage", "remove") for (method, _), scope in scopes.items() if method != "GET")
