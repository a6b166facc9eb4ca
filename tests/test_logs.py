"""The logs: whose request each line is for, and that programs can read them."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from artifacts.job import StageRequest, StagingOptions, run_stage_request
from staging import log_lines, request_ids
from tests.builds import Build, make_build
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.servers import DevServer, check_success, eventually
from web.client import Client

MINE = {"X-Request-ID": "task-42/a"}


def stage_as(server: DevServer, build: Build, headers: dict[str, str]) -> None:
    """Stage a build wholly, for a client that sends these headers."""
    query = {"archive_url": build.url}
    check_success(requests.get(f"{server.url}/download", params=query, headers=headers, timeout=60))
    check_success(server.wait_for_status(build.url))
    eventually(lambda: f"{build.path}: staged; " in server.log)  # right behind the answer


def lines_of(server: DevServer) -> list[dict[str, Any]]:
    """Every line of a log of JSON."""
    return [json.loads(line) for line in server.log.splitlines()]


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """One server for all that changes nothing which another test looks at."""
    server = DevServer(tmp_path_factory.mktemp("logs"))
    yield server
    server.close()


def test_every_line_of_the_work_has_the_clients_id(server: DevServer, archive: FakeArchive) -> None:
    for number, header in enumerate(("X-Request-ID", "X-SWARMING-TASK-ID", "X-BBID")):
        build = make_build(version=f"R{number}-1.0.0").upload(archive)
        stage_as(server, build, {header: f"task-{number}/a"})
        lines = [line for line in server.log.splitlines() if f"DOWNLOAD {build.path}" in line]
        assert [line for line in lines if "autotest staged" in line]  # which a worker did
        assert all(line.endswith(f"[request task-{number}/a]") for line in lines)
        (access,) = [line for line in server.log.splitlines() if '"GET /download?' in line and f"R{number}-" in line]
        assert access.endswith(f'"task-{number}/a"')


@pytest.mark.parametrize(
    "path", ["/api/v1/builds", "/api/v1/openapi.json", "/api/v1/nothing", "/api/v1/builds/no/build"]
)
def test_an_answer_of_the_api_is_logged_with_its_bytes(server: DevServer, path: str) -> None:
    mark = f"bytes-of-{path.replace('/', '-')}"
    answer = requests.get(server.url + path, headers={"X-Request-ID": mark}, timeout=10)
    line = eventually(lambda: [line for line in server.log.splitlines() if line.endswith(f'"{mark}"')])[0]
    assert f'" {answer.status_code} {len(answer.content)} "' in line
    assert int(answer.headers["Content-Length"]) == len(answer.content)


def test_of_a_stream_nobody_knows_the_bytes(server: DevServer, build: Build) -> None:
    server.stage(build.url)
    url = f"{server.url}/api/v1/builds/{build.path}/events"
    assert requests.get(url, headers={"X-Request-ID": "a-stream"}, timeout=10).content
    line = eventually(lambda: [line for line in server.log.splitlines() if line.endswith('"a-stream"')])[0]
    assert '" 200 - "' in line


def test_who_joins_is_logged_with_his_own_id(server: DevServer, archive: FakeArchive, build: Build) -> None:
    with archive.holding("autotest.tar.bz2"):
        for number in (1, 2):
            headers = {"X-Request-ID": f"harness-{number}"}
            query = {"archive_url": build.url}
            check_success(requests.get(f"{server.url}/download", params=query, headers=headers, timeout=60))
        joined = f"{build.path}: joined the download of request harness-1 [request harness-2]"
        eventually(lambda: joined in server.log)


@pytest.mark.parametrize("path", ["/index", "/nothing", "/static/", "/static/nothing", "/api/v1/health", "/metrics"])
def test_every_answer_names_its_request(standing: DevServer, path: str) -> None:
    assert requests.get(standing.url + path, headers=MINE, timeout=10).headers["X-Request-ID"] == "task-42/a"
    own = [standing.get(path).headers["X-Request-ID"] for _ in range(3)]
    assert len(set(own)) == 3
    assert all(re.fullmatch("[0-9a-f]{12}", identity) for identity in own)


@pytest.mark.parametrize(
    ("hostile", "harmless"),
    [
        (b'x" 200 7 "" "y', "x__200_7_____y"),
        (b"x] [request other", "x___request_other"),
        (b"[31mre\x85d", "_31mre_d"),
        (b"caf\xe9", "caf_"),
        (b"a" * 5000, "a" * 128),
    ],
)
def test_a_hostile_id_writes_no_line_of_the_log(standing: DevServer, hostile: bytes, harmless: str) -> None:
    page = f"/static/{harmless}"
    with socket.create_connection(("127.0.0.1", standing.port)) as client:
        client.sendall(b"GET " + page.encode() + b" HTTP/1.1\r\nHost: x\r\nX-Request-ID: " + hostile + b"\r\n\r\n")
        answer = client.recv(65536).decode()
    assert f"X-Request-ID: {harmless}\r\n" in answer
    (line,) = [line for line in standing.log.splitlines() if page in line]
    assert line.endswith(f'" "{harmless}"')


def test_an_id_folded_over_lines_is_one() -> None:
    assert request_ids.cleaned("a\r\n[25/Nov/2026:00:00:00] DEVSERVER b") == "a___25/Nov/2026:00:00:00__DEVSERVER_b"


def test_the_client_names_each_of_its_calls(server: DevServer, build: Build) -> None:
    Client(server.url, request_id="suite-7").download(build.url)
    Client(server.url).wait_for_status(build.url)
    eventually(lambda: '"GET /wait_for_status' in server.log)
    assert "begins [request suite-7]" in server.log
    (line,) = [line for line in server.log.splitlines() if '"GET /wait_for_status' in line]
    assert re.search(r'"[0-9a-f]{12}"$', line)


def test_lines_of_json_all_parse_and_say_what_they_are_about(start_server: StartServer, build: Build) -> None:
    server = start_server("--log-format", "json")
    stage_as(server, build, MINE)
    server.download("gs://nowhere/at/all")
    assert server.get(f"/static/{build.path}/update.gz").ok
    server.get('/static/"nothing\n')
    requests.get(f"{server.url}/index", headers={**MINE, "User-Agent": 'a "browser"', "Referer": "x"}, timeout=10)
    assert server.stop() == 0
    lines = lines_of(server)
    for line in lines:
        assert line["level"] in ("info", "error")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"])
        assert line["message"]
        assert line["tag"]
    (staged,) = [line for line in lines if line["message"].startswith(f"{build.path}: autotest staged")]
    assert (staged["build"], staged["artifact"], staged["request_id"]) == (build.path, "autotest", "task-42/a")
    (file,) = [line for line in lines if line["message"].endswith("/update.gz")]
    size = len(build.files["update.gz"])
    assert (file["tag"], file["client"], file["status"], file["bytes"]) == ("ACCESS", "127.0.0.1", 200, size)
    (page,) = [line for line in lines if line["message"] == "GET /index"]
    assert (page["user_agent"], page["referer"], page["request_id"]) == ('a "browser"', "x", "task-42/a")


def test_json_goes_to_files_too(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server("--log-dir", str(tmp_path), "--production", DEVSERVER_LOG_FORMAT="json")
    assert server.get("/static/").ok
    (line,) = (tmp_path / "access.log").read_text().splitlines()
    assert json.loads(line)["message"] == "GET /static/"
    lines = (tmp_path / "devserver.log").read_text().splitlines()
    assert any(json.loads(line)["message"].startswith("listening on http://") for line in lines)


def test_a_traceback_is_a_part_of_its_line(start_server: StartServer, build: Build) -> None:
    server = start_server("--log-format", "json")
    eventually(lambda: "listening on" in server.log)
    (server.static_dir / ".devserver").mkdir(exist_ok=True)
    (server.static_dir / ".devserver" / "staging").write_text("in the way")
    server.download(build.url)
    eventually(lambda: "Traceback" in server.log)
    told = [line for line in lines_of(server) if "Traceback" in line["message"] + line.get("traceback", "")]
    assert told
    assert all(line["request_id"] for line in told)


@pytest.mark.parametrize("line_format", ["text", "json"])
def test_what_a_worker_says_itself_has_the_id(tmp_path: Path, line_format: str) -> None:
    options = StagingOptions(tmp_path / "static", (tmp_path,), log_format=line_format)
    request = StageRequest(f"file://{tmp_path}/target/version", [], options, "task-42/a")
    assert StageRequest.from_json(json.loads(json.dumps(request.to_json()))) == request
    script = (
        "import json, logging, sys, threading\n"
        f"from {run_stage_request.__module__} import run_stage_request\n"
        "run_stage_request(json.load(sys.stdin), print, threading.Event())\n"
        "logging.getLogger('urllib3').warning('a library speaks')\n"
        "thread = threading.Thread(target=lambda: 1 / 0)\n"
        "thread.start()\n"
        "thread.join()\n"
    )
    given = json.dumps(request.to_json())
    said = subprocess.run([sys.executable, "-c", script], input=given, capture_output=True, text=True, timeout=60)
    assert said.returncode == 0, said.stderr
    if line_format == "json":
        lines = [json.loads(line) for line in said.stderr.splitlines()]
        assert [line["message"] for line in lines] == ["a library speaks", "a thread ended"]
        assert {line["request_id"] for line in lines} == {"task-42/a"}
        assert "ZeroDivisionError" in lines[1]["traceback"]
    else:
        assert "WORKER a library speaks [request task-42/a]\n" in said.stderr
        assert "WORKER a thread ended [request task-42/a]\nTraceback" in said.stderr


# Times


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/St_Johns", "UTC"])
def test_every_time_has_its_zone(tmp_path: Path, zone: str) -> None:
    server = DevServer(tmp_path, "--log-dir", str(tmp_path / "logs"), environment={"TZ": zone})
    try:
        server.get("/check_health")
        server.get("/static/")
    finally:
        server.close()
    offset = subprocess.run(
        ["date", "+%z"], env={"TZ": zone}, capture_output=True, text=True, check=True
    ).stdout.strip()
    stamp = re.compile(rf"\[\d\d/[A-Z][a-z][a-z]/\d{{4}}:\d\d:\d\d:\d\d {re.escape(offset)}\]")
    requests_logged = (tmp_path / "logs" / "access.log").read_text().splitlines()
    assert len(requests_logged) == 2
    for line in (*requests_logged, *(tmp_path / "logs" / "devserver.log").read_text().splitlines()):
        assert stamp.search(line), line
    combined = re.compile(rf'127\.0\.0\.1 - - {stamp.pattern} "GET /\S+ HTTP/1\.1" 200 \d+ "[^"]*" "[^"]*" "[^"]*"')
    assert all(combined.fullmatch(line) for line in requests_logged)


def test_the_hour_that_is_twice_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        assert log_lines.stamp(1792888200) == "[25/Oct/2026:02:30:00 +0200]"
        assert log_lines.stamp(1792888200 + 3600) == "[25/Oct/2026:02:30:00 +0100]"
    finally:
        monkeypatch.undo()
        time.tzset()
