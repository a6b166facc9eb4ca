"""Thousands of builds: no page, list or scrape grows with their number, and every build is found."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event as Flag
from urllib.parse import urljoin

import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from staging import build_list
from staging.board import StatusBoard
from staging.build_list import BuildList
from staging.layout import BuildPlaces
from staging.overview import BuildView, staged_view
from tests.browsing import WIDTHS, Visitor, chromium
from tests.builds import Build
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.servers import DevServer, cause_of, check_success, eventually
from web.site.build_pages import Place, page_of

MANY = 3000
NEWEST = 1_700_000_000.0  # when the newest was staged, in seconds since the epoch; each is a minute older than the next
LARGEST_PAGE = 250_000  # bytes
SIZE = 7  # bytes of each


def path_of(number: int) -> str:
    return f"board{number % 7}-release/R{number:05}-1.0.0"


def write_build(static_dir: Path, number: int) -> None:
    """Have a build be there, as if it had been staged some time ago."""
    path = path_of(number)
    manifest = static_dir / path / ".devserver" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    record = {"state": "staged", "objects": [], "staged_at": NEWEST - 60 * number, "files": 1, "size": SIZE}
    content = {"format": 1, "archive_url": f"gs://bucket/{path}", "artifacts": {"stateful": record}}
    manifest.write_text(json.dumps(content))
    manifest.with_name("stateful.files.json").write_text(json.dumps({"stateful.tgz": SIZE}))
    (static_dir / path / "stateful.tgz").write_bytes(bytes(SIZE))


@pytest.fixture
def crowded(start_server: StartServer, tmp_path: Path) -> DevServer:
    """A devserver with thousands of builds."""
    for number in range(MANY):
        write_build(tmp_path / "static", number)
    server = start_server()
    assert server.get("/api/v1/builds", limit="1").status_code == 200  # which waits until all are read
    return server


def pages_from(server: DevServer, address: str, direction: str) -> Iterator[list[str]]:
    """The builds on each page, from one page on to the last in that direction."""
    while address:
        answer = requests.get(urljoin(server.url, address), timeout=20)
        assert answer.status_code == 200
        assert len(answer.content) < LARGEST_PAGE
        yield re.findall(r'role="row" class="build">.*?href="/builds/([^"]*)"', answer.text)
        link = re.search(rf'<a href="([^"]*)" rel="{direction}"', answer.text)
        address = link[1].replace("&amp;", "&") if link else ""


def test_the_front_page_is_bounded_and_its_links_lead_to_every_build(crowded: DevServer, build: Build) -> None:
    everything = [path_of(number) for number in range(MANY)]
    pages = list(pages_from(crowded, "/", "next"))
    assert {len(page) for page in pages} == {200}
    assert [path for page in pages for path in page] == everything
    last = f"/?after={60 * 199 - MANY * 60}"  # any moment is a place in the order
    assert requests.get(crowded.url + last, timeout=20).status_code == 200
    middle = f"/?after={NEWEST - 60 * 999} {path_of(999)}"
    backwards = list(pages_from(crowded, middle, "prev"))
    assert backwards[0] == everything[1000:1200]
    assert [page[0] for page in backwards] == [path_of(number) for number in range(1000, -1, -200)]
    # A build that comes moves no page that is older.
    crowded.stage(build.url)
    assert next(pages_from(crowded, "/", "next"))[0] == build.path
    assert next(pages_from(crowded, middle, "next")) == everything[1000:1200]
    assert cause_of(crowded.get("/", after="nowhere")).startswith("InvalidParameter")
    assert crowded.get("/", after="nan x").status_code == 400


def test_what_failed_and_what_is_under_way_is_on_the_first_page(
    crowded: DevServer, archive: FakeArchive, build: Build
) -> None:
    with archive.holding("stateful.tgz") as reached:
        build.upload(archive)
        answer = crowded.ask("/download", archive_url=build.url)
        assert reached.wait(10)
        assert f'data-build="{build.path}"' in crowded.get("/").text
    check_success(answer.result())
    assert crowded.download("gs://bucket/none/R1-1.0.0").status_code == 500
    assert "none/R1-1.0.0" in next(pages_from(crowded, "/", "next"))
    assert list(pages_from(crowded, "/?name=none+r1", "next")) == [["none/R1-1.0.0"]]


def test_lists_and_gauges_tell_of_every_build_and_of_changes_at_once(crowded: DevServer, build: Build) -> None:
    def figure(name: str) -> float:
        found = re.search(rf"^{re.escape(name)} (\S+)$", crowded.get("/metrics").text, re.MULTILINE)
        assert found
        return float(found[1])

    assert figure('devserver_builds{state="staged"}') == MANY
    assert figure("devserver_builds_bytes") == MANY * SIZE
    gone = path_of(5)
    assert requests.delete(f"{crowded.url}/api/v1/builds/{gone}", timeout=20).status_code == 204
    crowded.stage(build.url)
    assert figure('devserver_builds{state="staged"}') == MANY
    listed = crowded.get("/api/v1/builds", prefix="board5-release/", limit="1000").json()["builds"]
    assert gone not in [one["build"] for one in listed]
    assert len(listed) == len(range(5, MANY, 7)) - 1
    assert [one["build"] for one in crowded.get("/api/v1/builds", prefix=build.path).json()["builds"]] == [build.path]


def test_a_build_on_another_page_is_found_as_one_types(crowded: DevServer) -> None:
    with chromium() as browser, Visitor(browser, crowded.url) as visitor:
        page = visitor.open("/")
        field = page.get_by_label("Show only builds whose name contains")
        field.press_sequentially("board2 r02998")
        expect(page.locator(".build")).to_have_count(1)
        expect(page.locator(".build")).to_contain_text(path_of(2998))
        expect(page.locator("#shown")).to_have_text(f"1 of {MANY} found")
        expect(field).to_be_focused()
        expect(field).to_have_value("board2 r02998")
        page.reload()
        expect(page.locator(".build")).to_have_count(1)
        field.fill("")
        expect(page.locator(".build")).to_have_count(200)


def test_pages_of_builds_work_by_keyboard_without_scripts_and_are_accessible(crowded: DevServer) -> None:
    with chromium() as browser, Visitor(browser, crowded.url, java_script_enabled=False) as visitor:
        page = visitor.open("/")
        page.get_by_role("link", name="Older builds").press("Enter")
        expect(page.locator(".build").first).to_contain_text(path_of(200))
        page.get_by_label("Show only builds whose name contains").fill("r00001")
        page.get_by_label("Show only builds whose name contains").press("Enter")
        expect(page.locator(".build")).to_have_count(1)
    with chromium() as browser, Visitor(browser, crowded.url) as visitor:
        page = visitor.open("/")
        page.get_by_role("link", name="Older builds").click()
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            found = Axe().run(page)
            assert found.violations_count == 0, found.generate_report()
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_many_builds_are_read_behind_those_who_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_list, "_SHORTEST", 0.01)
    monkeypatch.setattr(build_list, "_REST", 0.0)
    for number in range(build_list._FEW + 1):
        write_build(tmp_path, number)

    def view(path: str) -> BuildView | None:
        return staged_view(BuildPlaces(tmp_path, path))

    builds = BuildList(tmp_path, StatusBoard(), view)
    assert len(builds.now()) == build_list._FEW + 1
    reached, gate, reads = Flag(), Flag(), []

    def slowly(static_dir: Path) -> Iterator[BuildPlaces]:
        reads.append(static_dir)
        reached.set()
        assert gate.wait(20)
        yield BuildPlaces(tmp_path, path_of(0))

    monkeypatch.setattr(build_list, "builds_below", slowly)
    eventually(lambda: builds.now() and reached.is_set())
    for _ in range(100):  # nobody waits, and nobody else reads
        assert len(builds.now()) == build_list._FEW + 1
    assert len(reads) == 1
    gate.set()
    eventually(lambda: len(builds.now()) == 1)


def test_before_all_builds_are_read_pages_and_scrapes_do_not_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_list, "_MOMENT", 0.05)
    for number in range(3):
        write_build(tmp_path, number)
    gate = Flag()

    def slowly(static_dir: Path) -> Iterator[BuildPlaces]:
        for number in range(3):
            assert number < 2 or gate.wait(20)
            yield BuildPlaces(static_dir, path_of(number))

    monkeypatch.setattr(build_list, "builds_below", slowly)
    board = StatusBoard()
    builds = BuildList(tmp_path, board, lambda path: staged_view(BuildPlaces(tmp_path, path)))
    builds.begin()
    eventually(lambda: len(builds.soon()) == 2)
    page = page_of(builds, Place())
    assert (page.total, page.is_read, page.is_whole) == (2, False, False)
    with ThreadPoolExecutor() as pool:
        all_of_them = pool.submit(builds.now)
        assert not all_of_them.done()
        (tmp_path / path_of(0) / ".devserver" / "manifest.json").unlink()
        board.removed(path_of(0))  # is not forgotten, though it was read before
        gate.set()
        assert len(all_of_them.result(20)) == 2
    assert page_of(builds, Place()).is_read
