"""The locale changes nothing: names are bytes and texts are UTF-8, in the server, its workers and every command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.builds import BUCKET, make_build
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.servers import PROJECT, check_success

NAMES = (b"\xc3\x9c.bin", b"caf\xe9.bin", b"plain.bin")
COMMAND = [sys.executable, str(PROJECT / "devserver.py")]


@pytest.fixture(scope="module")
def latin_1(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The environment of a German of 1995."""
    folder = tmp_path_factory.mktemp("locales")
    name = "de_DE.ISO-8859-1"
    command = ["localedef", "-i", "de_DE", "-f", "ISO-8859-1", str(folder / name)]
    subprocess.run(command, check=True, capture_output=True)
    return {"LC_ALL": name, "LOCPATH": str(folder)}


@pytest.fixture(params=["Latin-1", "C", "ASCII"])
def locale(request: pytest.FixtureRequest, latin_1: Mapping[str, str]) -> Mapping[str, str]:
    of_c = {"LC_ALL": "C"}
    never_utf8 = {**of_c, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    return {"Latin-1": latin_1, "C": of_c, "ASCII": never_utf8}[request.param]


def test_names_are_served_as_they_are(
    start_server: StartServer, archive: FakeArchive, locale: Mapping[str, str], tmp_path: Path
) -> None:
    server = start_server(**locale)
    build = make_build()
    folder = tmp_path / "tree" / "autotest"
    folder.mkdir(parents=True)
    for name in NAMES:
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(name)
    packed = subprocess.run(["tar", "-C", str(folder.parent), "-cjf", "-", "autotest"], check=True, capture_output=True)
    build.objects["autotest.tar.bz2"] = packed.stdout  # which a worker process unpacks
    build.objects["\u00dcbung.bin"] = b"object"
    build.upload(archive)
    server.stage(build.url)
    check_success(server.get("/stage", archive_url=build.url, files="\u00dcbung.bin"))
    assert server.get(f"/static/{build.path}/%C3%9Cbung.bin").content == b"object"
    for name, quoted in zip(NAMES, ("%C3%9C.bin", "caf%E9.bin", "plain.bin"), strict=True):
        assert server.get(f"/static/{build.path}/autotest/{quoted}").content == name
    lines = server.get("/list_image_dir", archive_url=build.url).content.split(b"\n")
    assert {b"autotest/" + name for name in NAMES} <= {line.rsplit(b" ", 2)[0] for line in lines}
    verified = subprocess.run(
        [*COMMAND, "--static-dir", str(server.static_dir), "verify"],
        env={**os.environ, **locale},
        capture_output=True,
        check=False,
    )
    assert (verified.returncode, verified.stderr) == (0, b"")
    assert "Traceback" not in server.log


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_no_output_fails_for_what_it_cannot_show(
    start_server: StartServer, archive: FakeArchive, encoding: str, latin_1: Mapping[str, str]
) -> None:
    del archive
    server = start_server()
    url = f"gs://{BUCKET}/t\u00e4rget/v\U0001f600"
    for locale in (latin_1, {}):
        environment = {**os.environ, **locale, "PYTHONIOENCODING": encoding}
        for status, command in ((1, "stage"), (0, "status")):
            of_command = [*COMMAND, command, url, "--server", server.url]
            ran = subprocess.run(of_command, env=environment, capture_output=True, check=False)
            assert (ran.returncode, b"Traceback" in ran.stderr) == (status, False)
