"""What is tried again is told while it is: by the page, the API, the events, the commands and their displays."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import requests

from commands.bars import _looks
from commands.display import Lines
from tests.builds import FULL_PAYLOAD, NTON_PAYLOAD, Build, make_build
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive, Fault
from tests.servers import PROJECT, DevServer, check_success, eventually

REFUSED = "the archive refused the connection"


def artifacts_of(server: DevServer, build: Build) -> dict[str, Any]:
    answer = server.get(f"/api/v1/builds/{build.path}")
    return {one["name"]: one for one in answer.json()["artifacts"]} if answer.status_code == 200 else {}


def why(trouble: str) -> str:
    return trouble.partition(" after: ")[2]


@pytest.fixture
def cut_off(start_server: StartServer, build: Build) -> DevServer:
    """A devserver whose archive is away, while a download waits for it."""
    with FakeArchive() as gone:
        address = gone.url
    server = start_server("--retry-deadline", "60", STORAGE_EMULATOR_HOST=address)
    server.ask("/download", archive_url=build.url)
    eventually(lambda: any(why(one["trouble"]) == REFUSED for one in artifacts_of(server, build).values()))
    return server


def test_what_waits_for_the_archives_listing_says_so_everywhere(cut_off: DevServer, build: Build) -> None:
    found = artifacts_of(cut_off, build)
    assert {(one["state"], why(one["trouble"])) for one in found.values()} == {("pending", REFUSED)}
    for path in (f"/builds/{build.path}", "/"):
        page = requests.get(f"{cut_off.url}{path}", headers={"Accept": "text/html"}, timeout=10).text
        assert f"after: {REFUSED}" in page
    events = requests.get(f"{cut_off.url}/api/v1/builds/{build.path}/events", stream=True, timeout=10)
    told = (line for line in events.iter_lines() if line.startswith(b"data: "))
    assert any(why(json.loads(line.removeprefix(b"data: "))["trouble"]) == REFUSED for line in told)
    command = [sys.executable, str(PROJECT / "devserver.py"), "status", build.path, "--server", cut_off.url]
    assert f"after: {REFUSED}" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_tries_are_counted_and_the_trouble_ends(
    start_server: StartServer, archive: FakeArchive, build: Build
) -> None:
    server = start_server("--retry-deadline", "60")
    archive.fail_always(FULL_PAYLOAD, Fault(503))
    download = server.ask("/download", archive_url=build.url)

    def trouble() -> str:
        return str(artifacts_of(server, build).get("full_payload", {}).get("trouble", ""))

    eventually(lambda: trouble().startswith("try 3 after: the archive answered 503"))
    archive.heal()
    check_success(download.result(30))
    assert trouble() == ""


def test_what_a_build_lacked_is_looked_for_again(start_server: StartServer, archive: FakeArchive) -> None:
    build = make_build()
    late = build.objects.pop(NTON_PAYLOAD)
    build.upload(archive)
    server = start_server()
    server.stage(build.url)
    assert artifacts_of(server, build)["nton_payload"]["state"] == "absent"
    archive.put(build.bucket, f"{build.path}/{NTON_PAYLOAD}", late)
    archive.forget()
    check_success(server.download(build.url))
    assert archive.listings == []  # somebody looked a moment ago
    server.stop()
    server.start_again()
    check_success(server.download(build.url))  # by what is here: nobody waits for the archive
    eventually(lambda: artifacts_of(server, build)["nton_payload"]["state"] == "staged")
    assert (server.static_dir / build.path / "au" / f"{build.version}_nton" / "update.gz").read_bytes() == late


def event(trouble: str, state: str = "pending") -> dict[str, Any]:
    return {"artifact": "x", "state": state, "bytes_done": 0, "bytes_total": 0, "cause": None, "trouble": trouble}


def test_a_line_tells_each_reason_once(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    for number in (2, 3, 4):
        lines.show(event(f"try {number} after: {REFUSED}"))
    lines.show(event("", "downloading"))
    lines.show(event("try 2 after: the archive answered 503", "downloading"))
    lines.show({key: value for key, value in event("").items() if key != "trouble"})  # of a version before
    told = capsys.readouterr().out.splitlines()
    assert told == [
        f"x: try 2 after: {REFUSED}",
        "x: downloading",
        "x: try 2 after: the archive answered 503",
        "x: pending",
    ]


def test_a_bar_shows_what_is_tried_again() -> None:
    assert _looks(event(f"try 2 after: {REFUSED}"))["state"] == f"try 2 after: {REFUSED}"
    assert _looks(event("try 2 after: x", "downloading"))["state"] == "try 2 after: x"
    assert _looks(event(""))["state"] == "waiting"
