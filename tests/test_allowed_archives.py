"""An operator says which archives may be staged from; no spelling of a URL gets round that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import requests

from staging.archives import AllowedArchives, ArchiveUrl
from staging.errors import ArchiveNotAllowed, InvalidArchiveUrl
from tests.builds import TARGET, make_build
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.servers import cause_of, check_success

PREFIXES = ("gs://images//x86-mario-release/", "gs://all", "file:///srv/archive")


@pytest.mark.parametrize(
    ("url", "is_allowed"),
    [
        ("gs://images/x86-mario-release/R1", True),
        ("gs://images//x86-mario-release///R1/", True),
        ("gs://images/x86-mario-release/deep/R1", True),
        ("gs://images/x86-mario-release2/R1", False),
        ("gs://images/x86-mario/release/R1", False),
        ("gs://images/other/x86-mario-release/R1", False),
        ("gs://all/a/b", True),
        ("gs://all.of.it/a/b", False),
        ("gs://al/l/a/b", False),
        ("gs://srv/archive/a/b", False),
        ("file:///srv/archive/a/b", True),
        ("file:///srv//archive/a/b", True),
        ("file:///srv/archives/a/b", False),
        ("file:///images/x86-mario-release/R1", False),
    ],
)
def test_prefixes_are_compared_part_by_part(url: str, is_allowed: bool) -> None:
    allowed = AllowedArchives.parse(PREFIXES)
    parsed = ArchiveUrl.parse(url, (Path("/"),))
    if is_allowed:
        allowed.check(parsed)
    else:
        with pytest.raises(ArchiveNotAllowed, match=str(parsed)):
            allowed.check(parsed)


@pytest.mark.parametrize("prefix", ["chromeos", "gs://", "http://bucket", "gs://b/..", "file://here", "gs://b?x"])
def test_what_is_no_prefix_is_told(prefix: str) -> None:
    with pytest.raises(InvalidArchiveUrl):
        AllowedArchives.parse([prefix])


def test_nothing_is_staged_from_another_archive(start_server: StartServer, archive: FakeArchive) -> None:
    build, other = make_build().upload(archive), make_build(bucket="others").upload(archive)
    server = start_server("--allow-archive", f"gs://{build.bucket}/{TARGET}")
    named = {"artifacts": "stateful"}
    for answer in (
        server.download(other.url),
        server.get("/stage", archive_url=other.url, **named),
        server.get("/stage", local_path=str(server.static_dir / TARGET / "x"), **named),
        server.get("/xbuddy_translate/remote/x86-mario/latest-official", image_dir="gs://others"),
    ):
        assert answer.status_code == 400, answer.text
        assert cause_of(answer).startswith("ArchiveNotAllowed: this devserver may not stage from ")
    answer = requests.post(f"{server.url}/api/v1/builds", data=json.dumps({"archive_url": other.url}), timeout=10)
    assert (answer.status_code, answer.json()["title"]) == (403, "ArchiveNotAllowed")
    assert not [listing for listing in archive.listings if listing.startswith("others")]
    check_success(server.download(build.url))


def test_what_was_staged_before_is_still_told_of(start_server: StartServer, archive: FakeArchive) -> None:
    build = make_build().upload(archive)
    server = start_server()
    server.stage(build.url)
    server.stop()
    server = start_server(DEVSERVER_ALLOW_ARCHIVE="gs://others gs://more/of/them")
    check_success(server.wait_for_status(build.url))
    assert server.get("/is_staged", archive_url=build.url, artifacts="stateful").text == "True"
    assert server.get("/stage", archive_url=build.url, artifacts="stateful").status_code == 400
