"""What real clients ask, and exactly what they are answered: a table over the whole contract.

Every row is one request against one server, on which the build ``DONE`` is staged wholly, ``BROKEN`` has a tarball that
cannot be unpacked, and the target ``versions`` has builds of old and new forms.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest
import requests

from tests.builds import BUCKET, FULL_PAYLOAD, TARGET, make_build
from tests.fake_archive import FakeArchive
from tests.lab_build import CONTROLS, make_lab_build
from tests.servers import FRONT, DevServer, cause_of, check_success

DONE = "R17-1413.0.0-a1-b1346"
OTHER = "R18-1.0.0"
BROKEN = "R19-1.0.0-broken"
ARCHIVE = f"gs://{BUCKET}/{TARGET}"
ALIAS = {"Host": "some.alias.of.the.lab:8080"}  # which the server has never heard of
URL = f"{ARCHIVE}/{DONE}"
BUILD = f"{TARGET}/{DONE}"
VERSIONS = (
    "0.15.938.2011_08_23_0941-a1",
    "R1-999.0.0-a1-b1",
    "R9-2.0.0-a1-b1",
    "R16-1102.0.2011_09_30_0806-a1",
    "R17-1413.0.0-a1-b999",
    "R17-1413.0.0-a1-b1480",
    "R19-1.0.0-a1-b2",
)
NO_MAP = r"Could not find no/build/autotest/test_suites/suite_to_control_file_map\. Is it staged\?"
ALL_CONTROLS = "\n".join(sorted([*CONTROLS, *(f"client/site_tests/t{number}/control" for number in range(50))]))
NAMED = (
    "full_payload,stateful,test_suites,control_files,autotest_packages,autotest_server_package,au_suite,firmware,"
    "test_image,base_image,recovery_image,dev_image,signed_image,factory_image,factory_shim_image,symbols,"
    "quick_provision,paygen_au_stable_suite,delta_payload"
)


@pytest.fixture(scope="module")
def archive() -> Iterator[FakeArchive]:
    """The archive of all the rows."""
    with FakeArchive() as archive:
        for version in (DONE, OTHER):
            make_lab_build(version).upload(archive)
        broken = make_build(version=BROKEN)
        broken.objects["test_suites.tar.bz2"] = b"this is no tarball"
        broken.upload(archive)
        archive.put(BUCKET, "top.txt", b"at the top")
        archive.put(BUCKET, "one/two/three/four/file.txt", b"deep")
        archive.put("other-bucket", f"{TARGET}/{DONE}/stateful.tgz", b"of another bucket")
        archive.put(BUCKET, "lumpy-release/LATEST-official", b"R36-5814.0.0\n")
        archive.put("images", "lumpy-release/LATEST-official", b"R40-1.0.0")
        archive.put(BUCKET, "bad-release/LATEST-official", b"../../etc/passwd")
        yield archive


@pytest.fixture(scope="module")
def server(archive: FakeArchive, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """The server that all rows ask."""
    directory = tmp_path_factory.mktemp("contract")
    local = make_lab_build("R20-1.0.0-local")
    for place in (directory / "root", directory / "static" / "inside"):
        local.write(place)
    environment = {"STORAGE_EMULATOR_HOST": archive.url}
    server = DevServer(directory, "--archive-root", str(directory / "root"), environment=environment)
    for version in VERSIONS:
        (server.static_dir / "versions" / version).mkdir(parents=True)
    (directory / "versions-secret" / "R99-1.0.0").mkdir(parents=True)
    server.stage(URL)
    files = "notes of the release!.txt,100%.txt,sub/deeper/file.txt"
    check_success(server.get("/stage", archive_url=URL, artifacts=NAMED, files=files))
    check_success(server.get("/stage", archive_url=f"gs://{BUCKET}", files="top.txt"))
    check_success(server.get("/stage", archive_url=f"gs://{BUCKET}/one/two/three/four", files="file.txt"))
    yield server
    server.close()


HTML = "text/html;charset=utf-8"
# What some answers have and others not: for caches, for what was asked in part, and for what comes as it is made.
VARYING = {
    *("Accept-Ranges", "Allow", "Cache-Control", "Connection", "Content-Length", "Content-Range", "ETag"),
    *("Last-Modified", "Location", "Set-Cookie", "Transfer-Encoding", "Vary", "X-Goog-Hash"),
}


class Row(NamedTuple):
    """A request, and its answer: ``body`` is the whole of it, or what it has to match where that is a pattern."""

    request: str
    status: int
    body: str | re.Pattern[str]
    content_type: str | None = "text/plain;charset=utf-8"
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    answered: tuple[tuple[str, str], ...] = ()  # headers of the answer


def bad(request: str, status: int, kind: str, text: str = "") -> Row:
    """A request whose error page names its cause in the last line of the ``<pre>``."""
    cause = re.compile(rf"<pre>\n{kind}: [^\n]*{text}[^\n]*\n</pre>")
    return Row(request, status, cause, "text/html;charset=utf-8")


def page(request: str, *words: str) -> Row:
    """A request that is answered by a page with these words on it."""
    return Row(request, 200, re.compile(".*".join(map(re.escape, words)), re.DOTALL), "text/html;charset=utf-8")


NEVER = f"{ARCHIVE}/R97-never"
LOCATE = f"/locate_file?archive_url={URL}"
IMAGE = "chromiumos_test_image.bin"
ENCODED = quote(URL, safe="")
ROWS = [
    # /download and /wait_for_status
    Row(f"/download?archive_url={URL}", 200, "Success"),
    Row(f"/download?archive_url={ENCODED}", 200, "Success"),
    Row(f"/download?archive_url={URL}/", 200, "Success"),
    Row(f"/download?archive_url={URL}&unknown=1", 200, "Success"),
    Row(f"/download?archive_url={URL}", 200, "Success", method="POST"),
    Row(f"/wait_for_status?archive_url={URL}", 200, "Success"),
    Row(f"/wait_for_status?archive_url={ENCODED}", 200, "Success"),
    bad("/download", 400, "InvalidParameter", "archive_url"),
    bad("/download?archive_url=", 400, "InvalidParameter", "archive_url"),
    bad("/download?archive_url=http://a/b", 400, "InvalidArchiveUrl"),
    bad(f"/download?archive_url=gs://{BUCKET}", 400, "InvalidArchiveUrl"),
    bad(f"/download?archive_url={ARCHIVE}/../x", 400, "InvalidArchiveUrl"),
    bad(f"/download?archive_url={ARCHIVE}/R99-missing", 500, "ObjectNotFound", f"Could not find {ARCHIVE}/R99-missing"),
    bad(f"/wait_for_status?archive_url={ARCHIVE}/R98-nobody", 500, "NoDownload"),
    bad("/wait_for_status", 400, "InvalidParameter", "archive_url"),
    bad(f"/download?archive_url=gs://other-bucket/{TARGET}/{DONE}", 500, "ObjectNotFound", "gs://other-bucket/"),
    # /stage
    Row(f"/stage?archive_url={URL}&artifacts=full_payload,stateful", 200, "Success"),
    Row(f"/stage?archive_url={ENCODED}&artifacts=full_payload%2Cstateful", 200, "Success"),
    Row(f"/stage?archive_url={URL}&artifacts=stateful&files=&async=&clean=", 200, "Success"),
    Row(f"/stage?archive_url={URL}&artifacts=&files=notes%20of%20the%20release!.txt", 200, "Success"),
    Row(f"/stage?archive_url={URL}&artifacts=firmware&files=100%25.txt,a{{b}}.txt", 200, "Success"),
    Row(f"/stage?archive_url={URL}&files=full_dev_part_*.bin.gz", 200, "Success"),
    Row(f"/stage?archive_url={URL}&files=notes+of*!.t?t", 200, "Success"),
    Row(f"/stage?archive_url={URL}&files=sub/deeper/file.txt", 200, "Success"),
    Row(f"/stage?archive_url={URL}&artifacts=symbols_only&async=no", 200, "Success"),
    Row(f"/stage?archive_url=gs://{BUCKET}&files=top.txt", 200, "Success"),
    Row(f"/stage?archive_url=gs://{BUCKET}/one/two/three/four&files=file.txt", 200, "Success"),
    Row(f"/stage?archive_url={ARCHIVE}/{OTHER}&artifacts=stateful", 200, "Success", method="POST"),
    bad(f"/stage?archive_url={URL}&artifacts=full_paylod", 500, "UnknownArtifact", "full_payload"),
    bad(f"/stage?archive_url={URL}&artifacts=stateful,control_file", 500, "UnknownArtifact", "control_files"),
    bad(f"/stage?archive_url={URL}&files=missing.txt", 500, "ObjectNotFound", f"Could not find {URL}/missing.txt"),
    bad(f"/stage?archive_url={URL}&files=missing*.txt", 500, "ObjectNotFound", "Could not find gs://"),
    bad(f"/stage?archive_url={URL}&artifacts=paygen_au_dev_suite", 500, "ObjectNotFound", "Could not find gs://"),
    bad(f"/stage?archive_url={URL}&files=../../secret", 400, "InvalidParameter", "files"),
    bad(f"/stage?archive_url={URL}&files=/etc/passwd", 400, "InvalidParameter", "files"),
    bad(f"/stage?archive_url={URL}&files=.devserver/manifest.json", 400, "InvalidParameter", "files"),
    bad(f"/stage?archive_url={URL}", 400, "InvalidParameter", "artifacts"),
    bad(f"/stage?archive_url={URL}&artifacts=,&files=", 400, "InvalidParameter", "artifacts"),
    bad("/stage?artifacts=stateful", 400, "InvalidParameter", "archive_url"),
    bad(f"/stage?archive_url={URL}&archive_url={URL}&artifacts=stateful", 400, "InvalidParameter", "more than once"),
    bad(f"/stage?archive_url={ARCHIVE}/R99-missing&artifacts=stateful", 500, "ObjectNotFound", "Could not find gs://"),
    bad(f"/stage?archive_url={ARCHIVE}/{BROKEN}&artifacts=test_suites", 500, "BadTarball", "test_suites.tar.bz2"),
    bad(f"/stage?archive_url={URL}&artifacts=stateful&delete_source=true", 400, "InvalidParameter", "delete_source"),
    bad(f"/stage?archive_url={URL}&local_path=/x&artifacts=stateful", 400, "InvalidParameter", "local_path"),
    bad("/stage?local_path=/etc&files=passwd", 400, "InvalidArchiveUrl", "--archive-root"),
    bad("/stage?local_path={root}/../static-secret&files=x", 400, "InvalidArchiveUrl"),
    bad("/stage?local_path=relative&files=x", 400, "InvalidArchiveUrl", "absolute"),
    Row(f"/stage?local_path={{root}}/{TARGET}/R20-1.0.0-local&artifacts=stateful", 200, "Success"),
    Row(f"/stage?local_path={{static}}/inside/{TARGET}/R20-1.0.0-local&artifacts=stateful,symbols", 200, "Success"),
    page("/stage", "/stage", "archive_url", "artifacts"),
    bad("/stage/foo", 404, "NotFound"),
    bad("/download/gs", 404, "NotFound"),
    bad("/latestbuild/foo", 404, "NotFound"),
    bad("/locate_file/foo", 404, "NotFound"),
    bad(f"/stage?archive_url={URL}&files=missing*.log", 500, "ObjectNotFound", re.escape(f"{URL}/missing*.log")),
    # /is_staged
    Row(f"/is_staged?archive_url={URL}&artifacts=full_payload,stateful", 200, "True"),
    Row(f"/is_staged?archive_url={ENCODED}&artifacts=stateful&files=", 200, "True"),
    Row(f"/is_staged?archive_url={URL}&artifacts=autotest,test_suites", 200, "True"),
    Row(f"/is_staged?archive_url={URL}&artifacts=control_files,autotest_packages", 200, "True"),
    Row(f"/is_staged?archive_url={URL}&files=notes+of+the+release!.txt", 200, "True"),
    Row(f"/is_staged?archive_url={URL}&artifacts=paygen_au_beta_suite", 200, "False"),
    Row(f"/is_staged?archive_url={URL}&artifacts=stateful,paygen_au_beta_suite", 200, "False"),
    Row(f"/is_staged?archive_url={URL}&files=never-asked-for.txt", 200, "False"),
    Row(f"/is_staged?archive_url={ARCHIVE}/R97-never&artifacts=stateful", 200, "False"),
    bad(f"/is_staged?archive_url={URL}&artifacts=statefull", 500, "UnknownArtifact", "stateful"),
    bad(f"/is_staged?archive_url={URL}", 400, "InvalidParameter"),
    bad("/is_staged?artifacts=stateful", 400, "InvalidParameter", "archive_url"),
    page("/is_staged", "/is_staged", "True or False"),
    # /latestbuild
    Row("/latestbuild?target=versions", 200, "R19-1.0.0-a1-b2"),
    Row("/latestbuild?target=versions&milestone=R17", 200, "R17-1413.0.0-a1-b1480"),
    Row("/latestbuild?target=versions&milestone=r17", 200, "R17-1413.0.0-a1-b1480"),
    Row("/latestbuild?target=versions&milestone=R1", 200, "R1-999.0.0-a1-b1"),
    Row("/latestbuild?target=versions&milestone=R16", 200, "R16-1102.0.2011_09_30_0806-a1"),
    Row("/latestbuild?target=versions&milestone=", 200, "R19-1.0.0-a1-b2"),
    bad("/latestbuild?target=versions&milestone=R18", 500, "NotStaged", "Could not determine build for versions"),
    bad("/latestbuild?target=nobody", 500, "NotStaged", "Could not determine build for nobody"),
    bad("/latestbuild?target=../versions-secret", 400, "InvalidParameter", "target"),
    bad("/latestbuild?target=versions&milestone=seventeen", 400, "InvalidParameter", "milestone"),
    bad("/latestbuild?milestone=R17", 400, "InvalidParameter", "target"),
    bad("/latestbuild?target=/", 400, "InvalidParameter", "target"),
    bad(f"/latestbuild?target=versions&milestone=R{'9' * 5000}", 400, "InvalidParameter", "milestone"),
    page("/latestbuild", "/latestbuild", "milestone"),
    # /controlfiles and /list_suite_controls
    Row(f"/controlfiles?build={BUILD}", 200, ALL_CONTROLS),
    Row(f"/controlfiles?build={quote(BUILD, safe='')}", 200, ALL_CONTROLS),
    Row(
        f"/controlfiles?build={BUILD}&suite_name=bvt",
        200,
        "server/site_tests/a/control\nclient/site_tests/b/control.bvt",
    ),
    Row(f"/controlfiles?build={BUILD}&suite_name=", 200, ALL_CONTROLS),
    Row(f"/controlfiles?build={BUILD}&suite_name=empty", 200, ""),
    Row(f"/controlfiles?build={BUILD}&suite_name=unknown", 200, ALL_CONTROLS),
    Row(f"/controlfiles?build={BUILD}&control_path=server/site_tests/a/control", 200, "NAME = 'a'\n"),
    Row(f"/controlfiles?build={BUILD}&control_path=/server/site_tests/a/control", 200, "NAME = 'a'\n"),
    Row(f"/controlfiles?build={BUILD}&control_path=client/site_tests/b/control.bvt", 200, "NAME = 'b' # \u00e4\n"),
    Row(f"/controlfiles?build={BUILD}&control_path=test_suites/dependency_info", 200, "{}"),
    Row(f"/controlfiles?build={BUILD}&control_path=no/control", 200, "Unknown control path no/control"),
    Row("/controlfiles?build=no/build", 200, "Unknown build path no/build/autotest"),
    bad(f"/controlfiles?build={BUILD}&control_path=../../secret", 400, "InvalidParameter", "control_path"),
    bad("/controlfiles?build=../static-secret", 400, "InvalidParameter", "build"),
    bad("/controlfiles?build=no/build&suite_name=bvt", 500, "NotStaged", NO_MAP),
    Row(f"/controlfiles?build={'a' * 300}", 200, f"Unknown build path {'a' * 300}/autotest"),
    bad("/controlfiles?suite_name=bvt", 400, "InvalidParameter", "build"),
    page("/controlfiles", "/controlfiles", "control_path"),
    Row(
        f"/list_suite_controls?build={BUILD}&suite_name=bvt",
        200,
        json.dumps(
            {"server/site_tests/a/control": "NAME = 'a'\n", "client/site_tests/b/control.bvt": "NAME = 'b' # \u00e4\n"}
        ),
        "application/json",
    ),
    bad("/list_suite_controls?build=no/build&suite_name=bvt", 500, "NotStaged", "Is it staged"),
    page("/list_suite_controls", "/list_suite_controls", "suite_name"),
    # /list_image_dir, /locate_file, /xbuddy_translate
    Row(
        f"/list_image_dir?archive_url={URL}",
        200,
        re.compile(r"(^|.*\n)stateful\.tgz \d+ \d{4}-\d\d-\d\dT.*", re.DOTALL),
    ),
    Row(
        f"/list_image_dir?archive_url={ARCHIVE}/R97-never",
        200,
        f"{ARCHIVE}/R97-never has not been staged on this devserver.",
    ),
    Row(
        f"/list_image_dir?archive_url=gs://other-bucket/{TARGET}/{DONE}",
        200,
        f"gs://other-bucket/{TARGET}/{DONE} has not been staged on this devserver.",
    ),
    bad("/list_image_dir", 400, "InvalidParameter", "archive_url"),
    Row(
        f"/locate_file?archive_url={URL}&artifacts=autotest_packages&file_name=test-a.tar.bz2",
        200,
        "autotest/test-a.tar.bz2",
    ),
    Row(f"/locate_file?archive_url={URL}&artifacts=symbols&file_name=a.sym", 200, "debug/breakpad/a.sym"),
    Row(f"/locate_file?archive_url={URL}&file_name=recovery_image.bin", 200, "recovery_image.bin"),
    bad(f"/locate_file?archive_url={URL}&artifacts=stateful&file_name=a.sym", 500, "NotStaged", "Could not find a.sym"),
    bad(f"/locate_file?archive_url={URL}&artifacts=symbls&file_name=a.sym", 500, "UnknownArtifact", "symbols"),
    page("/locate_file", "/locate_file", "file_name"),
    Row("/xbuddy_translate/remote/lumpy/latest-official", 200, f"lumpy-release/R36-5814.0.0/{IMAGE}"),
    Row(
        "/xbuddy_translate/remote/lumpy/latest-official?image_dir=gs://images/",
        200,
        f"lumpy-release/R40-1.0.0/{IMAGE}",
    ),
    bad("/xbuddy_translate/remote/nobody/latest-official", 500, "ObjectNotFound", "Could not find gs://"),
    bad("/xbuddy_translate/remote/bad/latest-official", 500, "NotStaged", "names no version"),
    bad("/xbuddy_translate/remote/lumpy/latest-nightly", 400, "InvalidParameter", "latest-official"),
    # /check_health, the front page, /doc
    Row("/check_health", 200, re.compile(r'\{.*"free_disk".*\}'), "application/json"),
    page("/", "Welcome to the Dev Server!"),
    page("/index", "Welcome to the Dev Server!"),
    page("/doc/stage", "/stage", "archive_url", "async"),
    page("/doc/controlfiles", "/controlfiles"),
    page("/doc", "/check_health", "/download", "/stage", "/xbuddy_translate"),
    bad("/doc/nothing", 404, "NotFound"),
    bad("/nothing", 404, "NotFound"),
    # /static
    Row(f"/static/{BUILD}/autotest/server/site_tests/a/control", 200, "NAME = 'a'\n", "application/octet-stream"),
    Row(f"/static/{BUILD}/notes%20of%20the%20release!.txt", 200, "spaces"),
    Row(f"/static/{BUILD}/100%25.txt", 200, "percent"),
    Row(f"/static/{BUILD}/sub/deeper/file.txt", 200, "nested"),
    Row("/static/top.txt", 200, "at the top"),
    Row(f"/static/one/two/three/four/file.txt?gs_bucket={BUCKET}", 200, "deep", headers=(("Negotiate", "vlist"),)),
    bad("/static/one/two/three/four/file.txt?gs_bucket=another", 404, "NotFound"),
    Row(
        f"/static/{BUILD}/sub/deeper/file.txt",
        206,
        "sted",
        headers=(("Range", "bytes=2-"),),
        answered=(("Content-Range", "bytes 2-5/6"), ("Accept-Ranges", "bytes")),
    ),
    Row(f"/static/{BUILD}/sub/deeper/file.txt", 200, "", method="HEAD", answered=(("Content-Length", "6"),)),
    Row(f"/static/{BUILD}", 301, "", None, answered=(("Location", f"/static/{BUILD}/"),)),
    Row("/check_health", 405, re.compile("MethodNotAllowed"), HTML, "POST", answered=(("Allow", "GET, HEAD"),)),
    Row("/download", 405, re.compile("MethodNotAllowed"), HTML, "DELETE", answered=(("Allow", "GET, POST"),)),
    Row(
        "/download?archive_url=http://a/b",
        400,
        re.compile('"type": "urn:devserver:error:InvalidArchiveUrl"'),
        "application/problem+json",
        headers=(("Accept", "application/json"),),
    ),
    Row(f"/static/{BUILD}/debug/breakpad/a.sym", 200, "symbols", "application/octet-stream"),
    Row(f"/static/{BUILD}/chromiumos_base_image.bin", 200, "of its own", "application/octet-stream"),
    bad(f"/static/{BUILD}/debug/tests/b", 404, "NotFound"),
    bad(f"/static/{BUILD}/other", 404, "NotFound"),
    bad(f"/static/{BUILD}/{FULL_PAYLOAD}", 404, "NotFound"),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.method} {row.request}"[:110])
def test_the_answer_is_the_contracts(server: DevServer, row: Row) -> None:
    root = server.static_dir.parent / "root"
    request = row.request.replace("{root}", str(root)).replace("{static}", str(server.static_dir))
    answer = requests.request(
        row.method, server.url + request, headers={**ALIAS, **dict(row.headers)}, timeout=60, allow_redirects=False
    )
    assert answer.status_code == row.status, answer.text
    assert answer.headers.get("Content-Type") == row.content_type
    if os.environ[FRONT] == "nginx" and answer.status_code == 206:
        answer.headers.setdefault("Accept-Ranges", "bytes")  # which nginx leaves to be guessed
    assert row.answered == tuple((name, answer.headers.get(name)) for name, _ in row.answered)
    assert set(answer.headers) - {name for name, _ in row.answered} - VARYING == headers_of(answer)
    text = answer.content.decode()
    if isinstance(row.body, str):
        assert text == row.body
    else:
        assert row.body.search(text), text
    if "{" not in row.request:  # what a request says itself may be said back
        assert str(server.static_dir.parent) not in text
    assert "Traceback" not in text


def headers_of(answer: requests.Response) -> set[str]:
    """The headers that an answer of its kind has, whatever was asked."""
    every = {"Date", "Server", "X-Content-Type-Options", "X-Request-ID"}
    if answer.ok and "ETag" in answer.headers:  # a file, of which nobody knows what it is
        every.add("Content-Security-Policy")
    if os.environ[FRONT] == "nginx" and ("ETag" in answer.headers or answer.is_redirect):  # which it answers by itself
        every.discard("X-Request-ID")
    if "Content-Type" in answer.headers:
        every.add("Content-Type")
    if answer.headers.get("Content-Type") in (HTML, "application/problem+json"):
        every |= {"Content-Security-Policy", "Referrer-Policy"}
    return every


def test_every_line_of_the_contract_has_its_rows() -> None:
    assert len(ROWS) >= 90


def test_true_is_what_the_contract_says_and_nothing_else(server: DevServer, archive: FakeArchive) -> None:
    for number, spelling in enumerate(("True", "true", "TRUE", "1", "yes", "Y")):
        url = make_lab_build(f"R30-{number}.0.0").upload(archive).url
        with archive.holding("stateful.tgz"):
            check_success(server.get("/stage", **{"archive_url": url, "artifacts": "stateful", "async": spelling}))
    for number, spelling in enumerate(("False", "0", "no", "t", "on", "truee")):
        url = make_lab_build(f"R31-{number}.0.0").upload(archive).url
        check_success(server.get("/stage", **{"archive_url": url, "artifacts": "stateful", "async": spelling}))
        assert server.get("/is_staged", archive_url=url, artifacts="stateful").text == "True"


def test_a_source_is_deleted_once_it_is_staged(server: DevServer) -> None:
    local = make_lab_build("R32-1.0.0").write(server.static_dir.parent / "root")
    source = server.static_dir.parent / "root" / local.path
    staged = {"local_path": str(source), "delete_source": "True"}
    check_success(server.get("/stage", artifacts="stateful,symbols", **staged))
    assert not (source / "stateful.tgz").exists()
    assert not (source / "debug.tgz").exists()
    assert (source / "image.zip").exists()
    assert (server.static_dir / local.path / "stateful.tgz").read_bytes() == local.objects["stateful.tgz"]


def test_a_source_that_is_served_where_it_lies_is_kept(server: DevServer) -> None:
    local = make_lab_build("R33-1.0.0").write(server.static_dir)
    source = server.static_dir / local.path
    check_success(server.get("/stage", local_path=str(source), artifacts="stateful,symbols", delete_source="True"))
    assert (source / "stateful.tgz").read_bytes() == local.objects["stateful.tgz"]
    assert not (source / "debug.tgz").exists()
    assert (source / "debug" / "breakpad" / "a.sym").read_bytes() == b"symbols"


def test_a_source_is_kept_where_staging_fails(server: DevServer) -> None:
    local = make_lab_build("R34-1.0.0")
    local.objects["debug.tgz"] = b"no tarball"
    source = server.static_dir.parent / "root" / local.path
    local.write(server.static_dir.parent / "root")
    answer = server.get("/stage", local_path=str(source), artifacts="stateful,symbols", delete_source="True")
    assert answer.status_code == 500
    assert "BadTarball" in cause_of(answer)
    assert (source / "stateful.tgz").exists()


def test_test_suites_bring_what_the_archive_has(server: DevServer, archive: FakeArchive) -> None:
    build = make_lab_build("R35-1.0.0")
    del build.objects["autotest_packages.tar"]
    build.upload(archive)
    check_success(server.get("/stage", archive_url=build.url, artifacts="test_suites"))
    assert (server.static_dir / build.path / "autotest" / "control_files_marker").exists()
    assert server.get("/is_staged", archive_url=build.url, artifacts="control_files").text == "True"
    assert server.get("/is_staged", archive_url=build.url, artifacts="autotest_packages").text == "False"


def test_clean_stages_anew_under_nobodys_feet(server: DevServer, archive: FakeArchive, tmp_path: Path) -> None:
    build = make_lab_build("R36-1.0.0").upload(archive)
    large = bytes(30_000_000)
    archive.put(build.bucket, f"{build.path}/large.bin", large)
    check_success(server.get("/stage", archive_url=build.url, artifacts="stateful", files="large.bin"))
    (server.static_dir / build.path / "somebody-elses").write_bytes(b"kept")
    with requests.get(f"{server.url}/static/{build.path}/large.bin", stream=True, timeout=60) as reader:
        check_success(server.get("/stage", archive_url=build.url, artifacts="symbols", clean="True"))
        assert len(reader.content) == len(large)
    folder = server.static_dir / build.path
    assert sorted(path.name for path in folder.iterdir() if path.name[0] != ".") == [
        "chromiumos_test_image.bin", "debug", "somebody-elses"
    ]  # fmt: skip
    assert server.get("/is_staged", archive_url=build.url, artifacts="stateful").text == "False"
    assert server.get("/is_staged", archive_url=build.url, artifacts="symbols").text == "True"
