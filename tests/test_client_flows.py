"""The flows of three generations of clients, as they do them, in good and in bad times."""

from __future__ import annotations

import socket

import pytest
import requests

from tests.builds import Build
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive, Fault
from tests.lab_build import CONTROLS, make_lab_build
from tests.servers import DevServer, cause_of, check_success, eventually


@pytest.fixture
def build(archive: FakeArchive) -> Build:
    """A build with everything."""
    return make_lab_build("R17-1413.0.0-a1-b1346").upload(archive)


def async_stage(server: DevServer, build: Build, artifacts: str, **more: str) -> requests.Response:
    return server.get("/stage", **{"archive_url": build.url, "artifacts": artifacts, "async": "True", **more})


def is_staged(server: DevServer, build: Build, artifacts: str) -> requests.Response:
    return server.get("/is_staged", archive_url=build.url, artifacts=artifacts)


def test_2012_download_wait_and_read_the_control_files(server: DevServer, build: Build) -> None:
    check_success(server.download(build.url))
    check_success(server.wait_for_status(build.url))
    listed = server.get("/controlfiles", build=build.path).text.split("\n")
    assert set(CONTROLS) <= set(listed)
    for path, text in CONTROLS.items():
        assert server.get("/controlfiles", build=build.path, control_path=path).content == text


def test_2012_a_missing_object(server: DevServer, archive: FakeArchive, build: Build) -> None:
    archive.remove(build.bucket, f"{build.path}/stateful.tgz")
    answer = server.download(build.url)
    assert answer.status_code == 500
    assert f"Could not find {build.url}/stateful.tgz" in cause_of(answer)
    assert server.wait_for_status(build.url).status_code == 500


def test_2012_a_broken_object(server: DevServer, archive: FakeArchive, build: Build) -> None:
    archive.put(build.bucket, f"{build.path}/autotest.tar.bz2", b"this is no tarball")
    check_success(server.download(build.url))
    answer = server.wait_for_status(build.url)
    assert answer.status_code == 500
    assert cause_of(answer).startswith("BadTarball: autotest.tar.bz2")


def test_2012_an_archive_that_is_down(server: DevServer, archive: FakeArchive, build: Build) -> None:
    archive.fail_always("list", Fault(status=503))
    answer = server.download(build.url)
    assert answer.status_code == 500
    assert cause_of(answer).startswith("ArchiveUnavailable: Could not read")
    assert "Service Unavailable" not in answer.text
    archive.heal()
    server.stage(build.url)


def test_2023_stage_in_the_background_and_poll(server: DevServer, archive: FakeArchive, build: Build) -> None:
    wanted = "full_payload,stateful,quick_provision,autotest_packages"
    with archive.holding("full_dev_part_ROOT.bin.gz") as reached:
        check_success(async_stage(server, build, wanted))
        assert reached.wait(10)
        assert is_staged(server, build, wanted).text == "False"
    eventually(lambda: is_staged(server, build, wanted).text == "True")
    served = server.get(f"/static/{build.path}/full_dev_part_ROOT.bin.gz")
    assert served.content == build.objects["full_dev_part_ROOT.bin.gz"]


@pytest.mark.parametrize(
    ("trouble", "cause"),
    [
        ("missing", "ObjectNotFound: Could not find gs://"),
        ("broken", "BadTarball: debug.tgz"),
        ("down", "ArchiveUnavailable: Could not read gs://"),
    ],
)
def test_2023_a_failure_is_told_until_the_next_stage(
    server: DevServer, archive: FakeArchive, build: Build, trouble: str, cause: str
) -> None:
    name = f"{build.path}/debug.tgz"
    if trouble == "missing":
        archive.remove(build.bucket, name)
    elif trouble == "broken":
        archive.put(build.bucket, name, b"this is no tarball")
    else:
        archive.fail_always("debug.tgz", Fault(status=503))
    check_success(async_stage(server, build, "stateful,symbols"))
    eventually(lambda: is_staged(server, build, "symbols").status_code == 500)
    assert cause_of(is_staged(server, build, "symbols")).startswith(cause)
    eventually(lambda: is_staged(server, build, "stateful,symbols").status_code == 500)  # the other one was stopped
    archive.heal()
    archive.put(build.bucket, name, build.objects["debug.tgz"])
    check_success(async_stage(server, build, "stateful,symbols"))
    eventually(lambda: is_staged(server, build, "stateful,symbols").text == "True")


def test_2023_a_small_file_does_not_wait_for_a_large_build(
    server: DevServer, archive: FakeArchive, build: Build
) -> None:
    with archive.holding("autotest.tar.bz2") as reached:
        check_success(server.download(build.url))
        assert reached.wait(10)
        check_success(server.get("/stage", archive_url=build.url, artifacts="control_files", files="100%.txt"))
        assert server.get(f"/static/{build.path}/100%25.txt").content == b"percent"
    check_success(server.wait_for_status(build.url))


def test_2023_many_callers_stage_once(server: DevServer, archive: FakeArchive, build: Build) -> None:
    with archive.holding("stateful.tgz") as reached:
        callers = [
            server.ask("/stage", archive_url=build.url, artifacts=("stateful", "stateful,full_payload")[number % 2])
            for number in range(30)
        ]
        assert reached.wait(10)
    for caller in callers:
        check_success(caller.result(20))
    assert archive.bytes_sent("stateful.tgz") < 1.5 * len(build.objects["stateful.tgz"])


def test_tast_stages_with_retries_and_resumes_a_cut_read(start_server: StartServer, archive: FakeArchive) -> None:
    server = start_server()
    content = bytes(range(256)) * 40_000
    archive.put("assets", "data/file.bin", content)
    assert server.get("/check_health").status_code == 200
    query = {"archive_url": "gs://assets/data", "files": "file.bin"}
    assert server.get("/is_staged", **query).text == "False"
    archive.fail_always("file.bin", Fault(status=503))
    assert server.get("/stage", **query).status_code == 500
    archive.heal()
    check_success(server.get("/stage", **query))
    assert server.get("/is_staged", **query).text == "True"
    received = cut_off_after(server, "/static/data/file.bin", 1_000_000)
    assert content.startswith(received)
    rest = requests.get(f"{server.url}/static/data/file.bin", headers={"Range": f"bytes={len(received)}-"}, timeout=10)
    assert rest.status_code == 206
    assert received + rest.content == content


@pytest.mark.parametrize("fault", [Fault(status=404), Fault(after=1000, action="flip"), Fault(status=503)])
def test_tast_is_told_why_a_file_cannot_be_staged(server: DevServer, archive: FakeArchive, fault: Fault) -> None:
    archive.put("assets", "data/file.bin", bytes(100_000))
    archive.fail_always("file.bin", fault)
    answer = server.get("/stage", archive_url="gs://assets/data", files="file.bin")
    assert answer.status_code == 500
    assert "gs://assets/data/file.bin" in cause_of(answer)
    assert server.get("/static/data/file.bin").status_code == 404


def cut_off_after(server: DevServer, path: str, count: int) -> bytes:
    """What a client has of a file's bytes that loses its connection after about ``count`` of them."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        data = b""
        while len(data) < count:
            data += client.recv(65536)
    return data.partition(b"\r\n\r\n")[2]
