"""What people see: the pages, in a real Chromium."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browsing import LOADING, THEMES, WIDTHS, Visitor, chromium
from tests.builds import Build, make_build
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.nginx import free_port, in_front_of
from tests.servers import DevServer, check_success, eventually

pytestmark = pytest.mark.shared_server

HOSTILE = [
    "<script>alert(1)<\u2215script>.txt",
    "\"quotes' & <b>bold.txt",
    "\u202etxt.exe",
    "\u05e9\u05dc\u05d5\u05dd.txt",
    f"{'long' * 50}.txt",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A browser for all tests of a worker."""
    expect.set_options(LOADING)
    with chromium() as browser:
        yield browser


@pytest.fixture
def visitor(browser: Browser, server: DevServer) -> Iterator[Visitor]:
    """Somebody who visits the server's pages."""
    with Visitor(browser, server.url) as visitor:
        yield visitor


def ask_for(page: Page, archive_url: str) -> None:
    page.get_by_label("Archive URL of a build").fill(archive_url)
    page.get_by_role("button", name="Download").click()


def artifact(page: Page, name: str) -> Any:
    """The part of a build's page that is about one artifact."""
    return page.locator(f'[data-artifact="{name}"]')


def test_a_build_is_asked_for_and_followed_to_its_files(
    visitor: Visitor, server: DevServer, archive: FakeArchive, build: Build
) -> None:
    page = visitor.open("/")
    expect(page.get_by_role("heading", name="Welcome to the Dev Server!")).to_be_visible()
    with archive.holding("autotest.tar.bz2") as reached:
        with archive.holding("stateful.tgz"):
            ask_for(page, build.url)
            page.wait_for_url(f"**/builds/{build.path}")
            page.evaluate("window.isTheSamePage = true")
            expect(page.locator("#answered")).to_contain_text("is answered once")
            expect(artifact(page, "full_payload")).to_contain_text("staged")
            expect(artifact(page, "stateful").locator(".state")).to_have_text("downloading")
        expect(page.locator("#answered")).to_contain_text("was answered")
        assert reached.wait(10)
        expect(artifact(page, "autotest").locator(".state")).to_have_text("downloading")
        expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    expect(artifact(page, "autotest").locator(".state")).to_have_text("staged")
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    assert page.evaluate("window.isTheSamePage")
    assert server.url in page.locator(".command").first.inner_text()
    with page.expect_download() as download:
        page.get_by_role("link", name="stateful.tgz", exact=True).click()
    assert download.value.path().read_bytes() == build.objects["stateful.tgz"]


def test_bars_move_with_the_bytes(browser: Browser, start_server: StartServer) -> None:
    with FakeArchive(bytes_per_second=2_000_000) as archive:
        build = make_build(scale=10).upload(archive)
        server = start_server(STORAGE_EMULATOR_HOST=archive.url)
        with Visitor(browser, server.url) as visitor:
            page = visitor.open("/")
            ask_for(page, build.url)
            bar = artifact(page, "full_payload").get_by_role("progressbar")
            first = eventually(lambda: bar.evaluate("bar => bar.value / bar.max"))
            expect(artifact(page, "full_payload").locator("[data-speed]")).to_contain_text(re.compile("/s, .* left"))
            eventually(lambda: bar.evaluate("bar => bar.value / bar.max") > first)
            expect(page.locator("[data-live] .state").first).to_have_text("staged")


def test_a_failure_shows_its_cause_and_is_tried_again(visitor: Visitor, archive: FakeArchive, build: Build) -> None:
    archive.put(build.bucket, f"{build.path}/autotest.tar.bz2", b"this is no tarball")
    page = visitor.open("/")
    ask_for(page, build.url)
    expect(artifact(page, "autotest").get_by_text("BadTarball")).to_be_visible()
    archive.put(build.bucket, f"{build.path}/autotest.tar.bz2", build.objects["autotest.tar.bz2"])
    page.get_by_role("button", name="Retry").click()
    expect(artifact(page, "autotest").locator(".state")).to_have_text("staged")
    expect(page.get_by_text("BadTarball")).to_have_count(0)
    expect(page.get_by_role("button", name="Retry")).to_have_count(0)


@pytest.mark.own_server
def test_two_tabs_show_the_same(visitor: Visitor, server: DevServer, archive: FakeArchive, build: Build) -> None:
    front = visitor.open("/")
    with archive.holding("autotest.tar.bz2") as reached:
        check_success(server.download(build.url))
        assert reached.wait(10)
        expect(front.locator(".work")).to_contain_text(build.path)
        tabs = [visitor.open(f"/builds/{build.path}") for _ in range(2)]
        for tab in tabs:
            expect(artifact(tab, "autotest").locator(".state")).to_have_text("downloading")
        tabs[0].get_by_role("button", name="Cancel").click()
        for tab in tabs:
            expect(artifact(tab, "autotest").locator(".state")).to_have_text("cancelled")
    tabs[1].get_by_role("button", name="Retry").click()
    for tab in tabs:
        expect(artifact(tab, "autotest").locator(".state")).to_have_text("staged")
    expect(front.locator(".work")).to_have_count(0)
    expect(front.locator(".build .state")).to_have_text("staged")


def test_a_page_outlives_a_restart_of_the_server(
    browser: Browser, start_server: StartServer, archive: FakeArchive, build: Build
) -> None:
    with FakeArchive() as another:  # any free port
        port = another.url.rpartition(":")[2]
    server = start_server("--port", port)
    check_success(server.get("/stage", archive_url=build.url, artifacts="stateful"))
    with Visitor(browser, server.url) as visitor:
        page = visitor.open(f"/builds/{build.path}")
        expect(artifact(page, "stateful")).to_contain_text("staged")
        server.stop()
        expect(page.get_by_role("status")).to_contain_text("does not answer")
        server.start_again()
        expect(page.get_by_role("status")).to_be_hidden()
        server.stage(build.url)
        expect(artifact(page, "autotest").locator(".state")).to_have_text("staged")
        assert all("ERR_CONNECTION_REFUSED" in text or "ERR_" in text for text in visitor.complaints)
        visitor.complaints.clear()


def test_a_page_behind_nginx_outlives_a_restart_too(
    browser: Browser, start_server: StartServer, tmp_path: Path, build: Build
) -> None:
    run_dir = tmp_path / "run"
    server = start_server("--port", str(free_port()), "--front", "nginx", "--front-log", str(run_dir / "use.log"))
    server.stage(build.url)
    with in_front_of(server, run_dir) as address, Visitor(browser, address) as visitor:
        page, front = visitor.open(f"/builds/{build.path}"), visitor.open("/")
        server.stop()
        for tab in (page, front):
            expect(tab.get_by_role("status").first).to_contain_text("does not answer")
        expect(artifact(page, "stateful")).to_contain_text("staged")
        late = visitor.open("/")
        expect(late.get_by_role("heading", name="The devserver is not running")).to_be_visible()
        server.start_again()
        expect(late.get_by_role("heading", name="Welcome to the Dev Server!")).to_be_visible()
        for tab in (page, front):
            expect(tab.locator("#notice")).to_be_hidden()
        visitor.complaints.clear()


def test_a_build_that_somebody_removes_is_said_to_be_gone(visitor: Visitor, server: DevServer, build: Build) -> None:
    server.stage(build.url)
    page = visitor.open(f"/builds/{build.path}")
    expect(artifact(page, "stateful")).to_contain_text("staged")
    requests.delete(f"{server.url}/api/v1/builds/{quote(build.path, safe='')}", timeout=10)
    expect(page.get_by_text("neither staged nor being staged")).to_be_visible()
    assert visitor.complaints.pop().endswith("404 (Not Found)")


def test_a_part_that_failed_beside_a_complete_build_is_its_own(
    visitor: Visitor, server: DevServer, build: Build
) -> None:
    server.stage(build.url)
    assert server.get("/stage", archive_url=build.url, artifacts="quick_provision").status_code == 500
    page = visitor.open(f"/builds/{build.path}")
    expect(page.locator("[data-live] .state").first).to_have_text("staged")
    expect(page.locator("#answered")).to_contain_text("was answered")
    failed = artifact(page, "quick_provision")
    expect(failed).to_contain_text("ObjectNotFound")
    failed.get_by_role("button", name="Retry").click()
    expect(failed).to_contain_text("ObjectNotFound")
    failed.get_by_role("button", name="Dismiss").click()
    expect(failed).to_have_count(0)
    expect(page.locator("[data-live] .state").first).to_have_text("staged")


@pytest.mark.own_server
def test_the_rest_of_a_build_of_which_a_part_is_here_is_one_click_away(
    visitor: Visitor, server: DevServer, build: Build
) -> None:
    check_success(server.get("/stage", archive_url=build.url, artifacts="stateful"))
    expect(visitor.open("/").locator(".build .state")).to_have_text("in part")
    page = visitor.open(f"/builds/{build.path}")
    expect(page.locator("[data-live] .state").first).to_have_text("in part")
    expect(page.locator("#answered")).to_contain_text("is answered once")
    page.get_by_role("button", name="Stage the rest").click()
    expect(artifact(page, "autotest").locator(".state")).to_have_text("staged")
    expect(page.locator("[data-live] .state").first).to_have_text("staged")


def test_a_cause_is_shown_once_and_what_was_not_tried_is_grey(
    visitor: Visitor, server: DevServer, archive: FakeArchive, build: Build
) -> None:
    server.download(f"{build.url}-nowhere")
    page = visitor.open(f"/builds/{build.path}-nowhere")
    expect(page.locator(".problem")).to_have_count(1)
    expect(page.get_by_role("link", name="/static/")).to_have_count(0)
    archive.remove(build.bucket, f"{build.path}/stateful.tgz")
    server.download(build.url)
    page = visitor.open(f"/builds/{build.path}")
    expect(page.locator(".problem")).to_have_count(1)
    expect(artifact(page, "stateful").locator(".problem")).to_be_visible()
    expect(artifact(page, "autotest").locator(".state")).to_have_text("not tried")


def test_a_build_of_another_bucket_has_a_page_of_its_own(visitor: Visitor, server: DevServer, build: Build) -> None:
    server.stage(build.url)
    page = visitor.open("/download")
    ask_for(page, f"gs://another-bucket/{build.path}")
    page.wait_for_url(f"**/builds/{build.path}?gs_bucket=another-bucket")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"gs://another-bucket/{build.path}")
    page.get_by_role("link", name="Remove…").click()
    page.wait_for_url(f"**/builds/{build.path}?gs_bucket=another-bucket&ask=remove")
    page.get_by_role("link", name="Keep").click()
    page.wait_for_url(f"**/builds/{build.path}?gs_bucket=another-bucket")


def test_the_list_of_builds_is_the_front_page(visitor: Visitor) -> None:
    page = visitor.open("/builds/")
    expect(page.get_by_role("heading", name="Welcome to the Dev Server!")).to_be_visible()


def test_any_number_of_tabs_is_alive(visitor: Visitor, archive: FakeArchive, build: Build) -> None:
    tabs = [visitor.open("/") for _ in range(8)]  # more than a browser opens connections to one server
    with archive.holding("autotest.tar.bz2") as reached:
        ask_for(tabs[0], build.url)
        assert reached.wait(10)
        late = visitor.open("/")
        for tab in (*tabs[1:], late):
            expect(tab.locator(".work")).to_contain_text(build.path)
    for tab in (*tabs[1:], late):
        expect(tab.locator(".work")).to_have_count(0)


def test_what_has_the_focus_keeps_it_while_the_page_moves_on(
    visitor: Visitor, server: DevServer, archive: FakeArchive, build: Build
) -> None:
    with archive.holding("autotest.tar.bz2") as reached:
        check_success(server.download(build.url))
        assert reached.wait(10)
        page = visitor.open(f"/builds/{build.path}")
        expect(artifact(page, "autotest").locator(".state")).to_have_text("downloading")
        page.get_by_role("link", name="update.gz", exact=True).first.focus()
    expect(artifact(page, "autotest").locator(".state")).to_have_text("staged")
    expect(page.get_by_role("link", name="update.gz", exact=True).first).to_be_focused()


@pytest.mark.own_server
def test_removing_asks_first(visitor: Visitor, server: DevServer, build: Build) -> None:
    server.stage(build.url)
    page = visitor.open(f"/builds/{build.path}")
    page.get_by_role("link", name="Remove…").click()
    page.get_by_role("link", name="Keep").click()
    page.get_by_role("link", name="Remove…").click()
    assert (server.static_dir / build.path).exists()
    page.get_by_role("button", name="Remove").click()
    page.wait_for_url("**/")
    expect(page.get_by_text("There is none yet.")).to_be_visible()
    assert not (server.static_dir / build.path).exists()


def test_a_build_is_pinned_and_unpinned(visitor: Visitor, server: DevServer, build: Build) -> None:
    check_success(server.get("/stage", archive_url=build.url, artifacts="stateful", lease="2h", holder="dut-7"))
    page = visitor.open(f"/builds/{build.path}")
    expect(page.locator("[data-held]")).to_contain_text("by dut-7")
    page.get_by_role("button", name="Pin", exact=True).click()
    expect(page.locator("[data-held]")).to_contain_text("pinned")
    page.get_by_role("link", name="Remove…").click()
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_text("BuildHeld")).to_be_visible()
    assert visitor.complaints.pop().endswith("409 (Conflict)")
    page = visitor.open(f"/builds/{build.path}")
    page.get_by_role("button", name="Unpin").click()
    expect(page.locator("[data-held]")).not_to_contain_text("pinned")
    assert (server.static_dir / build.path / "stateful.tgz").exists()


@pytest.mark.own_server
def test_builds_are_filtered_as_one_types(visitor: Visitor, server: DevServer, archive: FakeArchive) -> None:
    builds = [make_build(version=f"R17-{number}.0.0").upload(archive) for number in range(3)]
    for build in builds:
        check_success(server.get("/stage", archive_url=build.url, artifacts="stateful"))
    page = visitor.open("/")
    rows = page.locator(".build")
    expect(rows.first).to_contain_text(builds[-1].path)  # the newest comes first
    shown = page.locator("#shown")
    page.get_by_label("Show only builds whose name contains").fill("r99")
    expect(shown).to_have_text("No build's name contains “r99”.")
    page.get_by_label("Show only builds whose name contains").fill("r17 1.0.0")
    expect(rows.locator("visible=true")).to_have_count(1)
    expect(shown).to_have_text("1 of 3 shown")
    check_success(server.get("/stage", archive_url=builds[0].url, artifacts="full_payload"))
    expect(rows.first).to_contain_text(builds[0].path, use_inner_text=False)
    expect(rows.locator("visible=true")).to_have_count(1)


def test_a_wrong_url_is_explained_where_it_was_typed(visitor: Visitor) -> None:
    page = visitor.open("/download")
    ask_for(page, "chromeos-image-archive/x86-mario")
    expect(page.get_by_role("alert")).to_contain_text("gs://bucket/target/version")
    expect(page.get_by_label("Archive URL of a build")).to_have_value("chromeos-image-archive/x86-mario")
    assert visitor.complaints.pop().endswith("400 (Bad Request)")


def test_all_works_without_scripts_but_the_progress(browser: Browser, server: DevServer, build: Build) -> None:
    with Visitor(browser, server.url, java_script_enabled=False) as visitor:
        page = visitor.open("/")
        ask_for(page, build.url)
        page.wait_for_url(f"**/builds/{build.path}")
        check_success(server.wait_for_status(build.url))
        page.reload()
        expect(artifact(page, "autotest").locator(".state")).to_have_text("staged")
        page.get_by_role("link", name="Remove…").click()
        page.get_by_role("button", name="Remove").click()
        page.wait_for_url("**/")


def test_what_an_archive_names_stays_text(visitor: Visitor, server: DevServer, archive: FakeArchive) -> None:
    target = "<img src=x onerror=alert(1)>\u202e"
    for name in HOSTILE:
        archive.put("bucket", f"{target}/R1'\"&<i>/{name}", b"content")
    check_success(server.get("/stage", archive_url=f"gs://bucket/{target}/R1'\"&<i>", files="*"))
    failing = server.get("/stage", archive_url=f"gs://bucket/{target}/R2", files="<script>alert(2)</script>")
    assert failing.status_code == 500
    dialogs: list[Any] = []
    for address in ("/", "/static/"):
        page = visitor.open(address)
        page.on("dialog", lambda dialog: dialogs.append(dialog))
        page.get_by_role("link", name="<img src=x onerror=alert(1)>").last.click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("<img src=x onerror=alert(1)>")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("link", name="R1'\"&<i>").click()
    for name in HOSTILE:
        expect(page.get_by_role("link", name=name)).to_be_visible()
    page = visitor.open("/")
    page.get_by_role("link", name="R1'\"&<i>").click()
    for name in HOSTILE:
        expect(page.get_by_role("link", name=name)).to_be_visible()
    assert not dialogs
    assert page.locator("main img, main script, main i, main b").count() == 0


class _OtherSite(BaseHTTPRequestHandler):
    """A page that has its visitors' browsers ask a devserver for changes, in every way that there is."""

    devserver = ""

    def do_GET(self) -> None:
        """Answer with that page, or with its frame's."""
        url = f"{self.devserver}/download?archive_url=gs://bucket/target/version"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Set-Cookie", "devserver-form=0123456789abcdef; path=/")  # of all ports of this host
        self.end_headers()
        self.wfile.write(
            f"""<meta name="referrer" content="no-referrer"><title>working</title><body><img src="{url}">
            <script src="{url}"></script><iframe name="frame"></iframe>
            <form method="post" action="{url}" target="frame"><input name="token" value="0123456789abcdef"></form>
            <form method="post" action="{self.devserver}/builds/x86-mario-release/R17-1413.0.0-a1-b1346" target="other">
            <input name="token" value="0123456789abcdef"><input name="action" value="remove"></form>
            <iframe name="other"></iframe>
            <script>(async () => {{
              for (const form of document.forms) form.submit();
              const api = "{self.devserver}/api/v1/builds";
              const body = JSON.stringify({{archive_url: "gs://bucket/target/version"}});
              const ask = (address, options) => fetch(address, {{mode: "no-cors", ...options}}).catch(() => 0);
              await ask("{url}");
              await ask("{self.devserver}/stage?archive_url=gs://bucket/target/version&artifacts=stateful");
              await ask(api, {{method: "POST", body}});
              await ask(api + "/x86-mario-release%2FR17-1413.0.0-a1-b1346", {{method: "DELETE", mode: "cors"}});
              await ask("{self.devserver}/builds/x86-mario-release/R17-1413.0.0-a1-b1346", {{
                method: "POST", credentials: "include",
                body: new URLSearchParams({{action: "remove", token: "0123456789abcdef"}})}});
              document.title = "done";
            }})();</script>""".encode()
        )

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.mark.own_server
def test_the_page_of_another_site_can_change_nothing(browser: Browser, server: DevServer, build: Build) -> None:
    server.stage(build.url)
    handler = type("Handler", (_OtherSite,), {"devserver": server.url})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        context = browser.new_context()
        own = context.new_page()
        own.goto(server.url)  # so that there is a cookie to be misused
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{other.server_port}/")
        page.wait_for_function("document.title == 'done'", timeout=LOADING)
        answered = ('"POST /download', '"POST /builds/')
        eventually(lambda: [server.log.count(line) for line in answered] >= [1, 2])  # the forms', and the script's
        context.close()
        other.shutdown()
    assert [one["build"] for one in server.get("/api/v1/builds").json()["builds"]] == [build.path]
    assert (server.static_dir / build.path / "stateful.tgz").exists()
    assert server.log.count("begins") == 1


def test_a_file_that_an_archive_brings_is_no_page_of_the_devservers(server: DevServer) -> None:
    _ = server.port
    for name in ("x.html", "x.xml", "x.svg", "x.txt", "x.bin"):
        (server.static_dir / name).write_text(
            "<html xmlns='http://www.w3.org/1999/xhtml'><script>alert(1)</script></html>"
        )
        headers = server.get(f"/static/{name}").headers
        is_inert = headers["Content-Type"].startswith(("text/plain", "application/octet-stream"))
        assert is_inert or headers["Content-Security-Policy"] == "sandbox", name
        assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("address", ["/", "/download", "/doc", "/static/", "/nothing", "/builds/none/such"])
def test_no_page_lets_in_what_is_not_the_devservers(server: DevServer, address: str) -> None:
    policy = requests.get(server.url + address, headers={"Accept": "text/html"}, timeout=10).headers
    directives = dict(part.strip().partition(" ")[::2] for part in policy["Content-Security-Policy"].split(";"))
    assert directives["default-src"] == "'none'"
    assert not any("unsafe" in value or "*" in value or "http" in value for value in directives.values())
    assert directives["form-action"] == "'self'"
    assert directives["frame-ancestors"] == "'none'"
    assert directives["base-uri"] == "'none'"


@pytest.mark.own_server
def test_the_builds_that_were_asked_for_last_come_first(
    visitor: Visitor, server: DevServer, archive: FakeArchive, build: Build
) -> None:
    server.stage(build.url)
    failing = build.url.replace("R17", "R16")
    assert server.download(failing).status_code == 500
    under_way = make_build(version="R15-1.0.0").upload(archive)
    with archive.holding("autotest.tar.bz2"):
        check_success(server.download(under_way.url))
        names = visitor.open("/").locator(".build a").all_inner_texts()
    assert [re.findall("R..", name)[0] for name in names] == ["R15", "R16", "R17"]


@pytest.mark.parametrize("headers", [{"Origin": "http://elsewhere"}, {"Referer": "http://elsewhere/page"}, {}])
def test_a_browser_that_does_not_say_where_it_comes_from_changes_nothing(
    server: DevServer, build: Build, headers: dict[str, str]
) -> None:
    headers = {"User-Agent": "Mozilla/5.0", **headers}
    for address in ("/download", "/stage"):
        query = {"archive_url": build.url, "artifacts": "stateful"}
        answer = requests.get(server.url + address, params=query, headers=headers, timeout=10)
        assert answer.status_code == 403, address
        assert "own pages" in answer.text
    own = {"User-Agent": "Mozilla/5.0", "Referer": f"{server.url}/"}
    assert requests.get(f"{server.url}/stage", params=query, headers=own, timeout=10).text == "Success"


def test_how_many_read_a_build_is_shown(
    visitor: Visitor, server: DevServer, archive: FakeArchive, build: Build
) -> None:
    archive.put(build.bucket, f"{build.path}/large.bin", bytes(30_000_000))
    check_success(server.get("/stage", archive_url=build.url, files="large.bin"))
    with requests.get(f"{server.url}/static/{build.path}/large.bin", stream=True, timeout=20):
        page = visitor.open(f"/builds/{build.path}")
        expect(page.get_by_text("1 client", exact=True)).to_be_visible()
    eventually(lambda: "0 clients" in requests.get(f"{server.url}/builds/{build.path}", timeout=10).text)


def test_every_page_is_accessible_in_both_themes_and_at_both_widths(
    visitor: Visitor, server: DevServer, archive: FakeArchive, build: Build
) -> None:
    failing = make_build(version="R17-9.9.9-failing")
    failing.objects["autotest.tar.bz2"] = b"this is no tarball"
    failing.upload(archive)
    server.stage(build.url)
    check_success(server.download(failing.url))
    with archive.holding("stateful.tgz") as reached:
        held = make_build(version="R18-1.0.0-held").upload(archive)
        server.ask("/download", archive_url=held.url)
        assert reached.wait(10)
        for address in (
            *("/", "/download", f"/builds/{build.path}", f"/builds/{held.path}", f"/builds/{failing.path}"),
            *(f"/builds/{build.path}?ask=remove", f"/static/{build.path}/", "/doc", "/doc/stage", "/builds/no/build"),
        ):
            page = visitor.open(address)
            for theme, width in product(THEMES, WIDTHS):
                page.emulate_media(color_scheme=theme)
                page.set_viewport_size({"width": width, "height": 900})
                found = Axe().run(page)
                assert found.violations_count == 0, f"{address} {theme} {width}: {found.generate_report()}"
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{address} {width}"
            page.close()
        assert visitor.complaints.pop().endswith("404 (Not Found)")
