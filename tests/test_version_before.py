"""A static directory of the version before: served, listed, gone on with, and removed.

``data/static-of-the-version-before.tar.xz`` was left by a devserver of that version that was killed: a build that is
staged, pinned and leased, with a file whose name is no UTF-8, and one that it was at work on, with its order and a
mark. ``data/messages-of-the-version-before.json`` is what such a devserver and its workers told each other by the
broker.
"""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path
from threading import Event as Flag
from typing import Any

import pytest
import requests

from artifacts.job import StageRequest
from staging.archives import ArchiveObject
from staging.build_removal import remove_build
from staging.cluster.news import Bulletin
from staging.cluster.runs import Told, _told
from staging.file_lists import list_of, read_list
from staging.holds import holds_of
from staging.inspection import ByContent, inspect
from staging.layout import BuildPlaces
from staging.manifest import Manifest
from staging.messages import event_of
from staging.orders import OrderRecord
from staging.records.text import encoded
from staging.transfer import _Mark
from tests.builds import FULL_PAYLOAD, TARGET, Build, make_build, tarball
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.servers import check_success

LEFT = Path(__file__).with_name("data") / "static-of-the-version-before.tar.xz"
TOLD = Path(__file__).with_name("data") / "messages-of-the-version-before.json"
ODD_NAME = os.fsdecode(b"autotest/caf\xe9")
STAGED, UNDER_WAY = f"{TARGET}/R1-1.0.0", f"{TARGET}/R2-2.0.0"


@pytest.fixture
def static_dir(tmp_path: Path) -> Path:
    static_dir = tmp_path / "static"
    static_dir.mkdir()
    with tarfile.open(LEFT) as left:
        left.extractall(static_dir, filter="fully_trusted")
    return static_dir


def of_the_version_before(version: str) -> Build:
    objects = {
        FULL_PAYLOAD: b"payload\n" * 8,
        "stateful.tgz": tarball({"var_new/hello": b"hi\n"}, "gz"),
        "test_suites.tar.bz2": tarball({"autotest/test_suites/control.bvt": b"SUITE = 'bvt'\n"}),
        "autotest.tar.bz2": tarball({"autotest/packages/packages.checksum": b"sum\n"}),
    }
    return Build(version=version, objects=objects)


def test_every_record_of_the_version_before_is_read(static_dir: Path) -> None:
    places = BuildPlaces(static_dir, STAGED)
    manifest = Manifest.read(places)
    assert manifest is not None
    assert {"full_payload", "stateful", "test_suites", "autotest"} <= manifest.artifacts.keys()
    files = read_list(list_of(places, "autotest"))
    assert files is not None
    assert {ODD_NAME, "autotest/100%25"} <= files.keys()
    found = inspect(places, ByContent())
    assert found is not None
    assert (found.wrong, found.files) == ((), 7)
    assert holds_of(places).is_pinned
    (path,) = (static_dir / ".devserver" / "orders").rglob("*.json")
    order = OrderRecord.read(path)
    assert order is not None
    assert (order.build_path, order.is_whole, order.resumed) == (UNDER_WAY, True, 0)
    part = static_dir / ".devserver" / "staging" / f"{TARGET}%2FR2-2.0.0" / "full_payload" / "objects" / "part"
    assert _Mark(part, ArchiveObject("part", 64, "AAAAAA==", "1")).verified(Flag())[0] == 7


def test_what_the_version_before_staged_is_removed_whole(static_dir: Path) -> None:
    places = BuildPlaces(static_dir, STAGED)
    remove_build(places)
    assert not places.published.exists()


def test_a_devserver_goes_on_where_the_version_before_was_killed(
    static_dir: Path, start_server: StartServer, archive: FakeArchive
) -> None:
    one, two = (of_the_version_before(path.rpartition("/")[2]).upload(archive) for path in (STAGED, UNDER_WAY))
    server = start_server()
    assert server.static_dir == static_dir
    assert server.get("/is_staged", archive_url=one.url, artifacts="autotest,full_payload,stateful").text == "True"
    check_success(server.wait_for_status(two.url))
    listed = {build["build"]: build["state"] for build in server.get("/api/v1/builds").json()["builds"]}
    assert listed == {STAGED: "staged", UNDER_WAY: "staged"}
    for name, content in {"autotest/caf%E9": b"x\n", "autotest/100%2525": b"y\n"}.items():
        assert requests.get(f"{server.url}/static/{STAGED}/{name}", timeout=30).content == content
    address = f"{server.url}/api/v1/builds/{STAGED}"
    assert requests.delete(address, timeout=30).status_code == 409  # it is pinned
    assert requests.delete(f"{address}/pin", timeout=30).ok


# All that the version before knows of records that it sets aside where they hold anything else.
# What this version says more in messages: fields that are empty say nothing.
NEWS = {"encoding", "fault", "trouble", "user_project"}
KNOWN_OF_MANIFESTS = {"format", "archive_url", "artifacts"}
KNOWN_OF_ARTIFACTS = {"state", "objects", "staged_at", "files", "size", "whole_files"}
KNOWN_OF_OBJECTS = {"name", "size", "crc32c", "generation"}
KNOWN_OF_ORDERS = {"format", "archive_url", "build_path", "artifacts", "clean", "is_whole", "holder", "resumed"}


def test_the_version_before_knows_every_field_that_this_one_writes(
    start_server: StartServer, archive: FakeArchive, build: Build
) -> None:
    server, under_way = start_server(), make_build(version="R99-1.0.0").upload(archive)
    server.stage(build.url)
    with archive.holding("autotest.tar.bz2") as reached:
        check_success(server.download(under_way.url, lease="1h"))
        assert reached.wait(20)
        server.kill()
    manifests = [json.loads(path.read_bytes()) for path in server.static_dir.rglob(".devserver/manifest.json")]
    (order,) = [json.loads(path.read_bytes()) for path in server.static_dir.rglob(".devserver/orders/*/*.json")]
    artifacts = [one for manifest in manifests for one in manifest["artifacts"].values()]
    objects = [item for one in artifacts for item in one["objects"]]
    written = (manifests, artifacts, objects, [order])
    known = (KNOWN_OF_MANIFESTS, KNOWN_OF_ARTIFACTS, KNOWN_OF_OBJECTS, KNOWN_OF_ORDERS)
    for records, fields in zip(written, known, strict=True):
        assert records
        assert {name for record in records for name in record} <= fields
    assert {record["format"] for record in (*manifests, order)} == {1}


def test_messages_of_the_version_before_are_read_and_written_as_it_wrote_them() -> None:
    written = json.loads(TOLD.read_bytes())
    request = StageRequest.from_json(written["request"])
    (item,) = request.artifacts[0].objects
    assert (item.name, item.unknown) == (os.fsdecode(b"caf\xe9.bin"), None)
    del written["request"]["artifacts"][0]["objects"][0]["unknown"]
    assert _without_news(json.loads(encoded(request.to_json()))) == _without_news(written["request"])
    told = _told(json.dumps(written["told"]))
    event = event_of(told.content)
    assert _without_news(list(Told(told.attempt, told.kind, event.to_json()))) == written["told"]
    bulletin = json.loads(Bulletin.from_text(json.dumps(written["bulletin"])).to_text())
    assert _without_news(bulletin) == written["bulletin"]


def _without_news(told: Any) -> Any:
    """What is told, without what that version neither tells nor knows, which it leaves out when it is told."""
    if isinstance(told, list):
        return [_without_news(one) for one in told]
    if isinstance(told, dict):
        return {key: _without_news(one) for key, one in told.items() if one or key not in NEWS}
    return told
