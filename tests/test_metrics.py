"""What Prometheus is told: every figure moves with what it is named after, and nothing is named without bounds."""

from __future__ import annotations

import itertools
import re
import socket
import threading
from collections.abc import Callable

import pytest
import requests
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from tests.builds import Build, make_build
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive, Fault
from tests.promtool import promtool
from tests.servers import DevServer, check_success, eventually
from web.metrics.counters import EVICTION_REASONS, Metrics

pytestmark = pytest.mark.shared_server

Figures = dict[str, float]


def figures(server: DevServer) -> Figures:
    """Every sample of the page, by name and labels as they are written there."""
    samples: Figures = {}
    for family in text_string_to_metric_families(server.get("/metrics").text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            samples[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return samples


def moved(server: DevServer, before: Figures) -> Callable[[str], float]:
    """How far a figure has moved."""
    now = figures(server)
    return lambda name: now.get(name, 0.0) - before.get(name, 0.0)


def test_the_page_is_as_prometheus_wants_it_after_all_that_can_happen(
    server: DevServer, archive: FakeArchive, build: Build
) -> None:
    archive.fail_once("stateful.tgz", Fault(status=503))
    archive.fail_once("autotest.tar.bz2", Fault(after=100, action="flip"))
    server.stage(build.url)
    assert server.download(make_build(version="R1-1.0.0").url).status_code == 500
    assert server.get(f"/static/{build.path}/update.gz").ok
    assert "process_resident_memory_bytes" in figures(server)
    assert promtool("check", "metrics", given=server.get("/metrics").text) == ""


def test_the_page_is_openmetrics_for_who_takes_that(server: DevServer) -> None:
    accept = {"Accept": "application/openmetrics-text; version=1.0.0, text/plain;q=0.5"}
    answer = requests.get(f"{server.url}/metrics", headers=accept, timeout=10)
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.text.endswith("# EOF\n")
    families = openmetrics_families(answer.text)  # type: ignore[no-untyped-call]
    assert "devserver_downloads" in [family.name for family in families]
    assert server.get("/metrics").headers["Content-Type"].replace(" ", "").startswith("text/plain;version=0.0.4")


def test_a_download_moves_what_it_should(server: DevServer, archive: FakeArchive, build: Build) -> None:
    before = figures(server)
    server.stage(build.url)
    eventually(lambda: moved(server, before)('devserver_downloads_total{outcome="staged"}') == 1)
    by = moved(server, before)
    assert by("devserver_first_answer_seconds_count") == by("devserver_all_staged_seconds_count") == 1
    assert 0 < by("devserver_first_answer_seconds_sum") <= by("devserver_all_staged_seconds_sum") < 60
    fetched = sum(fetch.sent for fetch in archive.fetches)
    assert by("devserver_archive_read_bytes_total") == fetched > 800_000
    assert by('devserver_builds{state="staged"}') == 1
    assert by("devserver_builds_bytes") > 800_000
    assert figures(server)["devserver_disk_free_bytes"] < figures(server)["devserver_disk_size_bytes"]
    server.stage(build.url)  # which is staged already
    assert moved(server, before)("devserver_archive_read_bytes_total") == fetched
    assert moved(server, before)('devserver_downloads_total{outcome="staged"}') == 1


@pytest.mark.parametrize("name", ["stateful.tgz", "autotest.tar.bz2"])  # in the server, and in a worker
def test_what_is_tried_again_is_counted_by_its_cause(
    server: DevServer, archive: FakeArchive, build: Build, name: str
) -> None:
    before = figures(server)
    archive.fail_once(name, Fault(status=503), Fault(after=1000, action="cut"))
    server.stage(build.url)
    by = moved(server, before)
    assert by('devserver_retries_total{cause="ArchiveUnavailable"}') == 2
    assert by("devserver_checksum_failures_total") == 0


def test_wrong_bytes_are_counted_and_so_are_those_that_come_twice(
    server: DevServer, archive: FakeArchive, build: Build
) -> None:
    before = figures(server)
    archive.fail_once("autotest.tar.bz2", Fault(after=100, action="flip"))
    server.stage(build.url)
    by = moved(server, before)
    assert by("devserver_checksum_failures_total") == by('devserver_retries_total{cause="ChecksumMismatch"}') == 1
    assert by("devserver_archive_read_bytes_total") > sum(map(len, build.objects.values()))


def test_failures_are_counted_by_their_cause(server: DevServer, archive: FakeArchive, build: Build) -> None:
    before = figures(server)
    archive.remove(build.bucket, f"{build.path}/autotest.tar.bz2")
    assert server.download(build.url).status_code == 500
    by = moved(server, before)
    assert by('devserver_downloads_total{outcome="failed"}') == 1
    assert by('devserver_download_failures_total{cause="ObjectNotFound"}') == 1
    assert by("devserver_first_answer_seconds_count") == 0


def test_what_is_cancelled_is_no_failure(server: DevServer, archive: FakeArchive, build: Build) -> None:
    before = figures(server)
    with archive.holding("autotest.tar.bz2"):
        check_success(server.download(build.url))
        path = build.path.replace("/", "%2F")
        assert requests.post(f"{server.url}/api/v1/builds/{path}/cancel", timeout=30).ok
    by = moved(server, before)
    assert by('devserver_downloads_total{outcome="cancelled"}') == 1
    assert by('devserver_downloads_total{outcome="failed"}') == 0
    assert by('devserver_requests_total{rpc="api.cancel_build",status="200"}') == 1


def test_who_waits_and_what_works_and_queues_is_seen(
    start_server: StartServer, archive: FakeArchive, build: Build
) -> None:
    server = start_server("--max-downloads", "1")
    other = make_build(version="R18-1.0.0").upload(archive)
    with archive.holding("autotest.tar.bz2"):
        check_success(server.download(build.url))
        check_success(server.download(other.url))
        waiting = [server.ask("/wait_for_status", archive_url=build.url) for _ in range(3)]
        eventually(lambda: figures(server)["devserver_waiting_clients"] == 3)
        eventually(lambda: figures(server)['devserver_queued_downloads{work="background"}'] == 1)
        eventually(lambda: figures(server)["devserver_workers"] == 1)
        now = figures(server)
        assert now["devserver_downloads_under_way"] == 2
        assert now['devserver_server_threads{state="busy"}'] >= 4
    assert all(answer.result().ok for answer in waiting)
    server.wait_for_status(other.url)
    eventually(lambda: figures(server)["devserver_workers"] == 0)
    assert figures(server)["devserver_waiting_clients"] == 0


def test_bytes_that_clients_were_sent_are_counted_also_of_an_answer_that_broke_off(
    server: DevServer, archive: FakeArchive
) -> None:
    size = 64 * 1024 * 1024
    server.get("/index")
    (server.static_dir / "large").write_bytes(bytes(size))
    (server.static_dir / "small").write_bytes(b"0123456789")
    before = figures(server)
    name = 'devserver_static_sent_bytes_total{sender="devserver"}'
    assert server.get("/static/small").content == b"0123456789"
    assert requests.get(f"{server.url}/static/small", headers={"Range": "bytes=2-4"}, timeout=10).content == b"234"
    assert requests.head(f"{server.url}/static/large", timeout=10).ok
    eventually(lambda: moved(server, before)(name) == 13)
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET /static/large HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(4096)
    eventually(lambda: moved(server, before)('devserver_requests_total{rpc="static",status="200"}') == 3)
    assert 13 < moved(server, before)(name) < size


def test_no_client_can_make_a_label_up(server: DevServer) -> None:
    server.get("/metrics")
    names = set(figures(server))
    for number in range(3):
        server.get(f"/nothing{number}/x")
        server.get(f"/static/nothing{number}")
        server.get(f"/api/v1/nothing{number}")
        requests.request(f"M{number}", f"{server.url}/download", timeout=10)
        server.get(f"/_seat{number}")
    for path in ("/default", "/_pages", "/__init__", "/api/v1/default", "/index/more"):
        server.get(path)
    new = set(figures(server)) - names
    assert {re.sub(r'status="\d+"', "", name) for name in new} == {
        f'devserver_requests_total{{rpc="{rpc}",}}' for rpc in ("other", "static", "download", "index")
    }


def test_what_others_do_with_staged_builds_can_be_counted() -> None:
    metrics = Metrics()
    for reason, size in zip(EVICTION_REASONS, itertools.count(1), strict=False):
        metrics.keeping.count_eviction("target/version", reason, size)
    metrics.keeping.count_verified(10, 5000, 2)

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, labels)

    assert value("devserver_evictions_total", reason="age") == 1
    assert value("devserver_evicted_bytes_total", reason="age") == 3
    assert value("devserver_verified_files_total") == 10
    assert value("devserver_verified_bytes_total") == 5000
    assert value("devserver_verified_wrong_files_total") == 2


def test_two_servers_in_one_process_count_for_themselves() -> None:
    first, second = Metrics(), Metrics()
    threads = [threading.Thread(target=first.serving.count_request, args=("download", 200)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    labels = {"rpc": "download", "status": "200"}
    assert first.registry.get_sample_value("devserver_requests_total", labels) == 8
    assert second.registry.get_sample_value("devserver_requests_total", labels) is None
