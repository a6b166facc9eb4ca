"""Whatever a file is called: what is staged is listed, fetched by the list's own link, verified, shown and removed."""

from __future__ import annotations

import html
import http.client
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes, urljoin

import pytest
import requests

from staging.member_names import UnsafeMember, checked
from staging.paths import fault_of_file
from tests.builds import BUCKET, tarball
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.nginx import in_front_of
from tests.servers import PROJECT, DevServer, check_success, eventually

TEXTS = (
    *("plain.bin", "a\\b", "\\", "..\\up", "#", "a#b", "?", "q?y=z", "%", "100%", "%2F", "a%2Fb", "%00", "%ff", "%5c"),
    *(
        "a+b",
        "a;b",
        "a&b=c",
        "&amp;",
        " leading",
        "trailing ",
        " ",
        "two  blanks",
        "-rf",
        "--",
        "~",
        "~root",
        ".hidden",
    ),
    *(
        "...",
        "..x",
        "x..",
        "'",
        '"',
        "a\"b'c",
        "<b>",
        "{x}",
        "$HOME",
        "`id`",
        "|",
        ",",
        "Plans, final",
        "*",
        "core?.bin",
    ),
    *("a**b", "[x]", "a:b", "http:x", "\u00dc.bin", "U\u0308.bin", "\U0001f600", "\u202egpj.exe", "x" * 241, "x" * 255),
    *(
        "\u00e9" * 127,
        "\U0001f600" * 63,
        "*" * 40,
        "x.files.json",
        "x.tmp",
        "x.tmp.files.json",
        "manifest.json",
        "owner",
    ),
    *("manifest.json.broken", "ready.json", "x", "x.devserver-mark", "x.lost", "last-use", "verified", "objects"),
    *("+publishing", "x++y", "index.html", "devserver"),
)
# What is no UTF-8, and a pattern that only this name is of.
BYTES = {b"\xff\xfe.raw": "??.raw", b"caf\xe9": "caf?", b"\xc0\xaf.two": "??.two", b"\xe9" * 250 + b".long": "*.long"}
NAMES = (*(name.encode() for name in TEXTS), *BYTES)
FOLDER = b"odd"


class Staged(NamedTuple):
    """A build that is staged, and the folder of it in which a file of each name is."""

    path: str
    url: str


def content_of(name: bytes) -> bytes:
    return b"what is in " + name


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a file of each name."""
    root = tmp_path_factory.mktemp("source")
    folder = root / "of-files" / "v" / FOLDER.decode()
    folder.mkdir(parents=True)
    for name in NAMES:
        (folder / os.fsdecode(name)).write_bytes(content_of(name))
    return root


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, shared_archive: FakeArchive, source: Path) -> Iterator[DevServer]:
    environment = {"STORAGE_EMULATOR_HOST": shared_archive.url}
    server = DevServer(tmp_path_factory.mktemp("names"), "--archive-root", str(source), environment=environment)
    yield server
    server.close()


@pytest.fixture(scope="module")
def front(server: DevServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with in_front_of(server, tmp_path_factory.mktemp("nginx")) as address:
        yield address


def stage_objects(server: DevServer, archive: FakeArchive) -> Staged:
    for name in TEXTS:
        archive.put(BUCKET, f"of-objects/v/{FOLDER.decode()}/{name}", content_of(name.encode()))
    query = [("file", f"{FOLDER.decode()}/{name}") for name in TEXTS]
    url = f"gs://{BUCKET}/of-objects/v"
    check_success(requests.get(f"{server.url}/stage", params=[("archive_url", url), *query], timeout=60))
    return Staged("of-objects/v", url)


def stage_files(server: DevServer, source: Path) -> Staged:
    url = f"file://{source}/of-files/v"
    names = [*TEXTS, *BYTES.values()]
    query = [("file", f"{FOLDER.decode()}/{name}") for name in names]
    check_success(requests.get(f"{server.url}/stage", params=[("archive_url", url), *query], timeout=60))
    return Staged("of-files/v", url)


def stage_tarball(server: DevServer, archive: FakeArchive, source: Path) -> Staged:
    command = ["tar", "-C", str(source / "of-files" / "v"), "-cjf", "-", FOLDER.decode()]
    packed = subprocess.run(command, check=True, capture_output=True).stdout
    archive.put(BUCKET, "of-members/v/test_suites.tar.bz2", packed)
    url = f"gs://{BUCKET}/of-members/v"
    check_success(server.get("/stage", archive_url=url, artifacts="test_suites"))
    return Staged("of-members/v", url)


@pytest.fixture(scope="module", params=["objects", "files", "members"])
def staged(request: pytest.FixtureRequest, server: DevServer, shared_archive: FakeArchive, source: Path) -> Staged:
    """Each name as an object of a bucket, as a file of an archive's directory, and as a member of GNU tar's."""
    if request.param == "objects":
        return stage_objects(server, shared_archive)
    return stage_files(server, source) if request.param == "files" else stage_tarball(server, shared_archive, source)


def names_of(staged: Staged) -> Sequence[bytes]:
    return [name.encode() for name in TEXTS] if staged.path == "of-objects/v" else NAMES


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
@pytest.mark.parametrize("place", ["devserver", "nginx"])
def test_the_lists_own_links_fetch_every_file(
    server: DevServer, front: str, staged: Staged, place: str, accept: str
) -> None:
    address = server.url if place == "devserver" else front
    folder = f"/static/{staged.path}/{FOLDER.decode()}/"
    listed = requests.get(address + folder, headers={"Accept": accept}, timeout=30)
    assert listed.status_code == 200
    links = links_of(listed)
    assert {unquote_to_bytes(link.removeprefix("./")) for link in links} == set(names_of(staged))
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
    for link in links:
        content = content_of(unquote_to_bytes(link.removeprefix("./")))
        place_of_it = urljoin(folder, link)
        assert asked(connection, "GET", place_of_it) == (200, content, len(content)), link
        assert asked(connection, "HEAD", place_of_it) == (200, b"", len(content)), link
        assert asked(connection, "GET", place_of_it, Range="bytes=5-9") == (206, content[5:10], 5), link
    connection.close()


def links_of(listed: requests.Response) -> list[str]:
    if "json" in listed.headers["Content-Type"]:
        return [entry["href"] for entry in listed.json()]
    return [html.unescape(link) for link in re.findall(r'<a class="name" href="([^"]*)"', listed.text)]


def asked(connection: http.client.HTTPConnection, method: str, path: str, **headers: str) -> tuple[int, bytes, int]:
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read(), int(answer.headers["Content-Length"])


def test_every_rpc_and_page_shows_them(server: DevServer, staged: Staged) -> None:
    lines = server.get("/list_image_dir", archive_url=staged.url).content.split(b"\n")
    shown = {line.rsplit(b" ", 2)[0] for line in lines} - {b"chromiumos_test_image.bin"}  # which each build has
    assert shown == {FOLDER + b"/" + name for name in names_of(staged)}
    page = server.get(f"/builds/{staged.path}")
    assert page.status_code == 200
    if staged.path != "of-members/v":  # of which there is one link, to all of them
        links = {html.unescape(link) for link in re.findall(r'href="(/static/[^"]*)"', page.text)}
        assert {unquote_to_bytes(link) for link in links} >= {
            os.fsencode(f"/static/{staged.path}/") + FOLDER + b"/" + name for name in names_of(staged)
        }
    build = server.get(f"/api/v1/builds/{staged.path}")
    assert json.loads(build.content.decode("utf-8"))["state"] == "staged"
    found = server.get("/locate_file", archive_url=staged.url, file_name="q?y=z")
    assert found.content == FOLDER + b"/q?y=z"


def test_they_are_verified_and_removed_and_nothing_is_left(server: DevServer, staged: Staged) -> None:
    command = [sys.executable, str(PROJECT / "devserver.py"), "--static-dir", str(server.static_dir)]
    told = subprocess.run([*command, "verify", "--json", staged.path], check=True, capture_output=True).stdout
    [outcome] = json.loads(told)
    assert (outcome["wrong"], outcome["files"], outcome["without_checksum"]) == ([], len(names_of(staged)), 0)
    assert requests.delete(f"{server.url}/api/v1/builds/{quote(staged.path, safe='')}", timeout=30).status_code == 204
    assert not list((server.static_dir / staged.path.partition("/")[0]).rglob("*"))
    left = [path for path in (server.static_dir / ".devserver").rglob("*") if path.is_file()]
    assert not [path for path in left if path.name != "alive" and path.parent.name not in ("locks", ".devserver")]


@pytest.mark.parametrize(
    "name",
    [
        *(os.fsdecode(name) for name in NAMES),
        *("x" * 256, "\u00e9" * 128, "/".join("x" * 200 for _ in range(16)), "/".join("d" * 101), "/".join("d" * 100)),
        *("a\nb", "\x7f", "\x85", "\u2028", ".devserver", "a/.devserver/b", "..", "a/../b", ".", "a\0b"),
    ],
)
def test_there_is_one_rule_for_objects_and_members(name: str) -> None:
    try:
        is_member = checked(name) == name
    except UnsafeMember:
        is_member = False
    assert (not fault_of_file(name)) == is_member


def test_a_file_system_that_folds_cases_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".devserver").mkdir()
    (tmp_path / ".DEVSERVER").symlink_to(".devserver")  # as it looks on such a file system
    command = [sys.executable, str(PROJECT / "devserver.py"), "--port", "0", "--static-dir", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    assert f"--static-dir: {tmp_path} is on a file system that takes .DEVSERVER for .devserver" in ran.stderr


def test_a_name_that_is_no_text_is_told_in_log_and_commands(start_server: StartServer, archive: FakeArchive) -> None:
    server = start_server()
    member = tarfile.TarInfo(os.fsdecode(b"odd/caf\xe9"))
    archive.put(BUCKET, "lost/v/test_suites.tar.bz2", tarball({"one": member}))
    check_success(server.get("/stage", archive_url=f"gs://{BUCKET}/lost/v", artifacts="test_suites"))
    (server.static_dir / "lost" / "v" / member.name).unlink()
    command = [sys.executable, str(PROJECT / "devserver.py"), "--static-dir", str(server.static_dir), "verify"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout.count("it is missing"), told.stderr.count("\n")) == (1, 1, 1)
    server.stop()
    server.start_again()
    eventually(lambda: "it is missing" in server.log)  # for what is there is looked at behind the start
    assert "error" not in server.log.lower()
    assert "Traceback" not in server.log
