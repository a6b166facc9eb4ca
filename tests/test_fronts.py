"""The devserver, alone and behind each nginx that it configures: who asks cannot tell which it is."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest
import requests
from playwright.sync_api import Browser

from tests.browsing import chromium
from tests.fake_archive import FakeArchive
from tests.nginx import before, spread_before
from tests.servers import DevServer
from tests.test_bounds import ROWS, ask
from tests.test_contract import ROWS as CONTRACT
from tests.test_contract import Row
from tests.test_hostile import ATTACKS, Attack, answered_at, behind
from tests.test_static_boundary import SPELLINGS
from web.http.request import LARGEST_BODY, LARGEST_HEAD, LONGEST_LINE

WAYS = ("devserver", "nginx", "spread")
# What might be taken for a page, a style or a picture with scripts in it.
NAMES = (
    *(
        "a.html",
        "a.HTML",
        "a.Html",
        "a.htm",
        "a.HTM",
        "a.shtml",
        "a.SHTML",
        "a.xhtml",
        "a.xht",
        "a.xml",
        "a.Xml",
        "a.XML",
    ),
    *("a.svg", "a.SVG", "a.svgz", "a.mht", "a.mhtml", "a.xsl", "a.rdf", "a.js", "a.mjs", "a.css", "a.pdf", "a.swf"),
    *("a.php", "a.txt", "a.log", "a.LOG", "a.json", "a.json.html", "a.html.", "a.html~", "a.html;.bin", "a.html%00"),
    *("page", ".html", "..html", "a", "a.", "index.html", "a b.html", "a?.html", "a#.html", "ä.HTML", "a.html.gz"),
)
SCRIPT = (
    "<!DOCTYPE html><html xmlns='http://www.w3.org/1999/xhtml'><body><p id='said'>nothing</p><script>"
    "document.getElementById('said').textContent = 'ran';"
    "fetch('/', {credentials: 'include'}).then(a => a.text()).then(t => {"
    "document.title = t.match(/token/) + 'read' });"
    "</script></body></html>"
)


class Way(NamedTuple):
    """A way to ask the devserver."""

    name: str
    server: DevServer
    port: int

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, **headers: str) -> requests.Response:
        """The answer to a GET; redirects are not followed."""
        return requests.get(self.url + path, headers=headers, timeout=30, allow_redirects=False)

    def raw(self, request: bytes) -> tuple[int, str, str]:
        """The status, head and body of the answer to a request that goes out as it stands."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as client:
            client.sendall(request)
            answer = b"".join(iter(lambda: client.recv(65536), b"")).decode("utf-8", "replace")
        head, _, body = answer.partition("\r\n\r\n")
        return int(answer.split()[1]), head, body


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """A devserver with pages of somebody else's among its files."""
    folder = tmp_path_factory.mktemp("fronts")
    with FakeArchive() as archive:
        options = (
            "--front",
            "nginx",
            "--front-log",
            str(folder / "nginx" / "use.log"),
            "--log-dir",
            str(folder / "logs"),
        )
        server = DevServer(folder, *options, environment={"STORAGE_EMULATOR_HOST": archive.url})
        _ = server.port
        (server.static_dir / "pages").mkdir(parents=True)
        for name in NAMES:
            (server.static_dir / "pages" / name).write_text(SCRIPT)
        (server.static_dir / "file").write_bytes(b"what everybody may")
        yield server
        server.close()


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest, server: DevServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    """The devserver itself, and each nginx in front of it."""
    run_dir = server.static_dir.parent / "nginx"
    if request.param == "devserver":
        yield Way(request.param, server, server.own_port)
    elif request.param == "nginx":
        with before(server.own_port, server.static_dir, run_dir) as port:
            yield Way(request.param, server, port)
    else:
        with spread_before(server.own_port, server.static_dir, tmp_path_factory.mktemp("spread")) as port:
            yield Way(request.param, server, port)


# Pages of somebody else's


def test_whatever_a_file_is_called_it_is_in_a_sandbox(way: Way) -> None:
    for name in NAMES:
        for headers in ({}, {"Range": "bytes=0-9"}, {"If-Modified-Since": "Thu, 01 Jan 2009 00:00:00 GMT"}):
            answer = way.get(f"/static/pages/{quote(name)}", **headers)
            assert answer.status_code in (200, 206), name
            assert answer.headers["Content-Security-Policy"] == "sandbox", name
            assert answer.headers["X-Content-Type-Options"] == "nosniff", name


def test_a_file_has_one_type_whoever_sends_it(way: Way) -> None:
    types = {"html": "text/html;charset=utf-8", "xml": "application/xml", "json": "application/json"}
    types |= dict.fromkeys(("txt", "log"), "text/plain;charset=utf-8")
    for name in NAMES:
        stem, _, ending = name.rpartition(".")
        expected = (
            types.get(ending.lower(), "application/octet-stream") if stem.strip(".") else "application/octet-stream"
        )
        assert way.get(f"/static/pages/{quote(name)}").headers["Content-Type"] == expected, name


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def test_no_page_among_the_files_runs_a_script_or_learns_a_token(way: Way, browser: Browser) -> None:
    shown = [name for name in NAMES if way.get(f"/static/pages/{quote(name)}").headers["Content-Type"][:4] == "text"]
    assert {"a.HTML", "a.Html", "index.html"} <= set(shown)
    with browser.new_context(base_url=way.url) as context:
        page = context.new_page()
        page.goto("/")
        for name in [*shown, "a.Xml"]:
            page.goto(f"/static/pages/{quote(name)}")
            page.wait_for_timeout(30)
            assert "nothing" in page.content(), name
            assert "ran" not in (page.text_content("#said") or "" if page.query_selector("#said") else ""), name
            assert "read" not in page.title(), name


def test_a_file_that_a_browser_saves_is_saved_all_the_same(way: Way, browser: Browser) -> None:
    with browser.new_context(base_url=way.url, accept_downloads=True) as context:
        page = context.new_page()
        page.goto("/static/")
        with page.expect_download() as download:
            page.get_by_role("link", name="file", exact=True).click()
        assert Path(download.value.path()).read_bytes() == b"what everybody may"


# Who asks, and where a redirect leads


def test_a_health_check_of_http_1_0_needs_no_host(way: Way) -> None:
    for request in (
        b"GET /check_health HTTP/1.0\r\n\r\n",
        b"HEAD / HTTP/1.0\r\n\r\n",
        b"GET /static/file HTTP/1.0\r\n\r\n",
    ):
        assert way.raw(request)[0] == 200
    assert way.raw(b"GET /check_health HTTP/1.1\r\nConnection: close\r\n\r\n")[0] == 400


REDIRECTS = {"/builds": "/", "/builds/": "/", "/static": "/static/", "/static/pages": "/static/pages/"}
NO_HOSTS = ("evil.example", "evil.example:80", '"><script>', "[::1", "127.0.0.1@evil.example", "a/b", "a?b", "a#b", "[")


@pytest.mark.parametrize("path", REDIRECTS)
def test_a_redirect_names_no_host_whoever_asks_for_one(way: Way, path: str) -> None:
    for host in NO_HOSTS:
        for name in ("X-Forwarded-Host", "X-Forwarded-Server", "X-Host", "Forwarded", "X-Original-URL"):
            value = f"host={host};proto=https" if name == "Forwarded" else host
            answer = way.get(path, **{name: value, "X-Forwarded-Proto": "https"})
            assert answer.status_code in (301, 303)
            assert answer.headers["Location"] == REDIRECTS[path]
            assert "evil.example" not in answer.text
        status, head, _ = way.raw(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        assert status == 400 or f"\r\nLocation: {REDIRECTS[path]}\r\n" in f"{head}\r\n"


@pytest.mark.parametrize("path", ["//evil.example", "//evil.example/..", "/\\evil.example", "//evil.example/builds"])
def test_no_path_leads_to_another_host(way: Way, path: str) -> None:
    _, head, _ = way.raw(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    location = re.search(r"\nLocation: (.*)\r", f"{head}\r")
    assert location is None or re.match(r"/(?![/\\])", location[1])


# Bounds


def test_a_line_of_32_kib_is_taken_and_a_longer_one_is_not(way: Way) -> None:
    for target in (b"/check_health?", b"/static/file?"):
        line = ask(target + b"x" * (LONGEST_LINE - len(target) - len("GET  HTTP/1.1\r\n")))
        assert line.index(b"\n") + 1 == LONGEST_LINE
        assert way.raw(line)[0] == 200
        for more in (1, 5000, 2_000_000):
            status, head, body = way.raw(line.replace(b"x HTTP", b"x" * (more + 1) + b" HTTP", 1))
            assert status == 414
            assert f"<pre>\nUrlTooLong: the request line is longer than {LONGEST_LINE} bytes\n</pre>" in body
            assert "\r\nContent-Type: text/html;charset=utf-8\r\n" in head


@pytest.mark.parametrize("row", ROWS)
def test_what_is_beyond_a_bound_has_its_status(way: Way, row: str) -> None:
    request, status, kind = ROWS[row]
    # nginx says so without a look at what follows, or in words of its own.
    of_nginx = {"chunks twice": 501, "a header that ends too early": 200}
    other = of_nginx.get(row, status) if way.name != "devserver" else status
    found, _, body = way.raw(request)
    assert found in (status, other), body
    if found >= 400:
        assert kind in body or found != status
        assert re.search(r'<pre>\n[A-Za-z]+: [^\n]+\n</pre>|{"type": "urn:devserver:error:[A-Za-z]+", ', body)


REFUSALS = {
    "no request": (b"nonsense\r\n\r\n", 400, "BadRequest"),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400, "BadRequest"),
    "a record": (b"GET /static/.devserver/x HTTP/1.0\r\n\r\n", 404, "NotFound"),
    "a refusal": (b"GET /.devserver-refusal/page HTTP/1.0\r\n\r\n", 404, "NotFound"),
    "nothing": (b"GET /static/nothing HTTP/1.0\r\n\r\n", 404, "NotFound"),
    "a method": (b"DELETE /static/file HTTP/1.0\r\n\r\n", 405, "MethodNotAllowed"),
    "a post": (b"POST /static/file HTTP/1.0\r\nContent-Length: 1\r\n\r\nx", 405, "MethodNotAllowed"),
    "trace": (b"TRACE / HTTP/1.0\r\n\r\n", 405, "MethodNotAllowed"),
    "a body": (b"POST /download HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % (LARGEST_BODY + 1), 413, "BodyTooLarge"),
    "a line": (b"GET /" + b"x" * 70_000 + b" HTTP/1.0\r\n\r\n", 414, "UrlTooLong"),
    "a range": (b"GET /static/file HTTP/1.0\r\nRange: bytes=99-\r\n\r\n", 416, "RangeNotSatisfiable"),
    "a header": (b"GET / HTTP/1.0\r\nX: " + b"x" * LARGEST_HEAD + b"\r\n\r\n", 431, "HeadersTooLarge"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_every_no_is_in_the_devservers_shape(way: Way, case: str) -> None:
    request, expected, kind = REFUSALS[case]
    status, head, body = way.raw(request)
    assert status == expected
    assert re.search(rf"<pre>\n{kind}: [^\n]+\n</pre>", body)
    assert "nginx/" not in head + body
    if case in ("no request", "a line"):  # which is before anything is known of what the client takes
        return
    status, head, body = way.raw(request.replace(b"\r\n", b"\r\nAccept: application/json\r\n", 1))
    assert status == expected
    assert "\r\nContent-Type: application/problem+json\r\n" in head
    details = json.loads(body)
    assert (details["type"], details["status"]) == (f"urn:devserver:error:{kind}", expected)
    status, head, body = way.raw(request.replace(b"\r\n", b"\r\nAccept: text/html, application/json\r\n", 1))
    assert "<pre>" in body


# One case of each kind from the suites that `make test-fronts` runs whole


def one_of_each(attacks: list[Attack]) -> list[Attack]:
    """An attack for each address, method, status and kind of header; none that needs the attacked server's tokens."""
    found: dict[tuple[object, ...], Attack] = {}
    for attack in attacks:
        if not any("Authorization" in line for line in attack.headers) and "{" not in attack.target:
            header = attack.headers[0].partition(":")[0][:8] if attack.headers else ""
            found.setdefault((attack.target.partition("?")[0][:12], attack.method[:8], attack.status, header), attack)
    return [attack for attack in found.values() if attack.status not in (401, 403)]


@pytest.mark.parametrize("attack", one_of_each(ATTACKS), ids=lambda attack: attack.name)
def test_an_attack_has_its_status(way: Way, attack: Attack) -> None:
    if "target" in attack.target or "x86-mario" in attack.target:
        pytest.skip("it is about a build that is there")
    status, answer = answered_at(way.port, attack)
    assert status in behind(way.name, attack), answer


def test_a_backslash_is_a_sign_of_a_name_like_any_other(way: Way) -> None:
    (way.server.static_dir / "pages" / "a\\b").write_bytes(b"by hand")
    assert way.raw(b"GET /static/pages/a%5Cb HTTP/1.0\r\n\r\n")[0] == 200


@pytest.mark.parametrize("spelling", SPELLINGS[::5])
def test_no_spelling_leads_out(way: Way, spelling: str) -> None:
    target = spelling.format(root=str(way.server.static_dir).lstrip("/"))
    assert way.raw(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())[0] in (400, 403, 404)


@pytest.mark.parametrize(
    "row",
    [row for row in CONTRACT if re.match(r"/(doc|index|check_health|stage|download|nothing)?$", row.request)],
    ids=str,
)
def test_the_contract_is_kept(way: Way, row: Row) -> None:
    answer = requests.request(row.method, way.url + row.request, headers=dict(row.headers), timeout=30)
    assert (answer.status_code, answer.headers.get("Content-Type")) == (row.status, row.content_type)
    assert isinstance(row.body, str) or row.body.search(answer.text)
