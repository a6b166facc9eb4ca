"""The wire: what each address answers, to whom, and how errors read."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from urllib.parse import quote

import pytest
import requests

from tests.builds import Build, make_build
from tests.fake_archive import FakeArchive
from tests.servers import DevServer, cause_of, check_success

pytestmark = pytest.mark.shared_server


@pytest.fixture(scope="module")
def archive() -> Iterator[FakeArchive]:
    """One scripted archive for all the tests here, which change nothing that another one looks at."""
    with FakeArchive() as archive:
        yield archive


@pytest.fixture(scope="module")
def server(archive: FakeArchive, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """One devserver for all of them."""
    server = DevServer(tmp_path_factory.mktemp("web"), environment={"STORAGE_EMULATOR_HOST": archive.url})
    yield server
    server.close()


@pytest.fixture
def build(archive: FakeArchive) -> Build:
    """A small build that no other test stages."""
    return make_build(version=f"R17-{next(_NUMBERS)}.0.0").upload(archive)


_NUMBERS = itertools.count(1)
URL = "gs://chromeos-image-archive/x86-mario-release/R17-1413.0.0-a1-b1346"


@pytest.mark.parametrize("path", ["/", "/index", "/index?unknown=1"])
def test_the_front_page_is_a_liveness_probe(server: DevServer, path: str) -> None:
    assert "Welcome to the Dev Server!" in server.get(path).text


def test_check_health_has_every_key_that_load_balancers_read(server: DevServer) -> None:
    answer = server.get("/check_health")
    assert answer.headers["Content-Type"] == "application/json"
    figures = answer.json()
    assert set(figures) == {
        "queued_downloads",
        "waiting_clients",
        "free_seats",
        "overloaded",
        "free_disk",
        "cpu_percent",
        "disk_total_bytes_per_second",
        "network_total_bytes_per_second",
        "staging_thread_count",
        "apache_client_count",
        "figures_age_seconds",
    }
    assert figures["free_disk"] > 0
    assert figures["apache_client_count"] >= 1
    assert figures["staging_thread_count"] == 0


def test_check_health_counts_what_is_being_staged(server: DevServer, archive: FakeArchive, build: Build) -> None:
    with archive.holding("autotest.tar.bz2"):
        check_success(server.download(build.url))
        assert server.get("/check_health").json()["staging_thread_count"] == 1


@pytest.mark.parametrize("rpc", ["download", "wait_for_status"])
@pytest.mark.parametrize(
    ("query", "cause"),
    [
        ("", "InvalidParameter: Error: archive_url= is required! Give it as in archive_url=gs://"),
        ("?archive_url=", "InvalidParameter: Error: archive_url= is required!"),
        ("?archive_url=http://a/b/c", "InvalidArchiveUrl: 'http://a/b/c' is not an archive URL: it should look like"),
        ("?archive_url=gs://a/b", "InvalidArchiveUrl: 'gs://a/b' is not an archive URL: it should name a target and"),
        ("?archive_url=gs%3A%2F%2Fa%2Fb%2F..%2Fc", "InvalidArchiveUrl: "),
        ("?archive_url=gs://a/<script>\n/c", "InvalidArchiveUrl: "),
        (f"?archive_url={URL}&archive_url={URL}", "InvalidParameter: archive_url: this parameter was given more than"),
    ],
)
def test_a_wrong_request_is_a_400_and_touches_nothing(
    server: DevServer, archive: FakeArchive, rpc: str, query: str, cause: str
) -> None:
    answer = requests.get(f"{server.url}/{rpc}{query}", timeout=10)
    assert answer.status_code == 400
    assert cause_of(answer).startswith(cause)
    assert not [listing for listing in archive.listings if listing.startswith("a/")]
    assert not (server.static_dir / "b").exists()


@pytest.mark.parametrize("timeout", ["soon", "-1", "nan", "inf"])
def test_a_timeout_that_is_no_number_is_a_400(server: DevServer, timeout: str) -> None:
    answer = server.wait_for_status(URL, timeout=timeout)
    assert answer.status_code == 400
    assert cause_of(answer).startswith(f"InvalidParameter: timeout: '{timeout}' is not a number of seconds")


@pytest.mark.parametrize("spelling", ["{encoded}", "{raw}", "{raw}&unknown=1&background=&timeout="])
def test_parameters_arrive_encoded_and_raw(server: DevServer, build: Build, spelling: str) -> None:
    query = spelling.format(raw=build.url, encoded=quote(build.url, safe=""))
    for rpc in ("download", "wait_for_status"):
        check_success(requests.get(f"{server.url}/{rpc}?archive_url={query}", timeout=30))
    build.check_staged(server.static_dir)


def test_an_error_page_ends_with_its_cause_and_hides_the_host(server: DevServer) -> None:
    answer = server.download(URL)
    assert answer.status_code == 500
    assert answer.headers["Content-Type"].startswith("text/html")
    assert cause_of(answer).startswith(f"ObjectNotFound: Could not find {URL}")
    for secret in ("Traceback", str(server.static_dir), "127.0.0.1", "Proxy Error", "Service Unavailable"):
        assert secret not in answer.text


def test_an_error_page_holds_names_as_text(server: DevServer) -> None:
    answer = server.download("gs://bucket/<script>alert(1)</script>/version")
    assert "&lt;script&gt;" in answer.text
    assert "<script" not in answer.text


def test_errors_are_problem_details_for_who_accepts_json(server: DevServer) -> None:
    query = {"archive_url": URL}
    headers = {"Accept": "application/json"}
    answer = requests.get(f"{server.url}/download", params=query, headers=headers, timeout=30)
    assert answer.status_code == 500
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = json.loads(answer.text)
    assert problem["status"] == 500
    assert problem["title"] == "ObjectNotFound"
    assert problem["detail"].startswith(f"Could not find {URL}")


@pytest.mark.parametrize("path", ["/nothing", "/index/more", "/static/nothing", "/static/a/b/c"])
def test_what_is_not_there_is_a_404(server: DevServer, path: str) -> None:
    answer = server.get(path)
    assert answer.status_code == 404
    assert cause_of(answer) == "NotFound: there is nothing at this address"


@pytest.mark.parametrize(
    ("method", "path"),
    [("HEAD", "/download"), ("PUT", "/download"), ("DELETE", "/wait_for_status"), ("POST", "/static/"), ("PUT", "/")],
)
def test_a_method_that_is_not_taken_is_a_405(server: DevServer, archive: FakeArchive, method: str, path: str) -> None:
    answer = requests.request(method, server.url + path, params={"archive_url": "gs://a/b/c"}, timeout=10)
    assert answer.status_code == 405
    assert answer.headers["Allow"]
    assert not [listing for listing in archive.listings if listing.startswith("a/")]


def test_static_answers_ranges_and_head(server: DevServer) -> None:
    (server.static_dir / "dir").mkdir(parents=True)
    (server.static_dir / "dir" / "file.bin").write_bytes(b"0123456789")
    url = f"{server.url}/static/dir/file.bin?gs_bucket=b"
    whole = requests.get(url, headers={"Negotiate": "vlist"}, timeout=10)
    assert (whole.status_code, whole.content) == (200, b"0123456789")
    rest = requests.get(url, headers={"Range": "bytes=4-"}, timeout=10)
    assert (rest.status_code, rest.content) == (206, b"456789")
    head = requests.head(url, timeout=10)
    assert (head.status_code, head.headers["Content-Length"], head.content) == (200, "10", b"")


def test_a_directory_is_a_list_for_people_and_programs(server: DevServer) -> None:
    folder = server.static_dir / "names"
    folder.mkdir(parents=True)
    (folder / "<b>&.txt").write_bytes(b"abc")
    (folder / "sub").mkdir()
    page = requests.get(f"{server.url}/static/names", timeout=10)
    assert page.url.endswith("/static/names/")
    assert "&lt;b&gt;&amp;.txt" in page.text
    listing = requests.get(f"{server.url}/static/names/", headers={"Accept": "application/json"}, timeout=10).json()
    assert [(entry["name"], entry["size"]) for entry in listing] == [("<b>&.txt", 3), ("sub/", None)]


def test_the_size_of_a_link_is_that_of_what_is_served(server: DevServer, build: Build) -> None:
    server.stage(build.url)
    lines = server.get("/list_image_dir", archive_url=build.url).text.splitlines()
    sizes = {path: int(size) for path, size, _ in map(str.split, lines)}
    for path, size in sizes.items():
        assert size == len(server.get(f"/static/{build.path}/{path}").content), path
    assert sizes[f"au/{build.version}_nton/stateful.tgz"] == len(build.objects["stateful.tgz"])


def test_a_program_that_gives_no_parameters_is_told_so(server: DevServer) -> None:
    assert "<dl" in server.get("/stage").text
    answer = requests.get(f"{server.url}/stage", headers={"Accept": "application/json"}, timeout=10)
    assert (answer.status_code, answer.json()["title"]) == (400, "InvalidParameter")
    assert "/doc/stage" in answer.json()["detail"]


def test_every_parameter_is_a_term_of_the_documentation(server: DevServer) -> None:
    page = server.get("/doc/stage").text
    for name in ("archive_url", "artifacts", "async", "delete_source"):
        assert f"<dt><code>{name}</code></dt>" in page
    assert 'href="/doc/stage"' not in page
    assert 'href="/doc/stage"' in server.get("/doc").text


@pytest.mark.parametrize(
    "path", ["/", "/static/", "/static/nothing", "/nothing", "/api/v1/health", "/assets/devserver.js"]
)
def test_the_server_has_one_name_and_tells_no_version(server: DevServer, path: str) -> None:
    assert server.get(path).headers["Server"] == "devserver"


def test_an_object_whose_name_has_a_control_character_is_left_out(server: DevServer, archive: FakeArchive) -> None:
    build = make_build(version="R17-0.0.0-control").upload(archive)
    for name in ("odd\nname.txt", "odd\x7f.txt", "odd\u0085.txt", "odd plain.txt"):
        archive.put(build.bucket, f"{build.path}/{name}", b"content")
    check_success(server.get("/stage", archive_url=build.url, files="odd*"))
    assert [path.name for path in (server.static_dir / build.path).glob("odd*")] == ["odd plain.txt"]
    for pattern in ("odd\n*", "odd\x7f*"):
        assert server.get("/stage", archive_url=build.url, files=pattern).status_code == 400
