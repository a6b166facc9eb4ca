"""An archive on a bad day, asked directly: what it may say wrong, and what becomes of that."""

from __future__ import annotations

import gc
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from artifacts.catalogue import CatalogueEntry, file_artifact, read_catalogue
from devserver_util import Gathered, gather_artifact_downloads, latest_official
from staging.archives import Archive, ArchiveUrl, Wanted, gcs, gcs_client, open_archive
from staging.errors import AccessDenied, ArchiveRefused, ArchiveUnavailable, DevServerError, ObjectChanged
from staging.fetching import ReadSettings
from staging.reading import ObjectReader
from staging.retry import Patience, retrying
from staging.transfer import Transfer
from tests.builds import noise
from tests.fake_archive import FakeArchive, Fault, refusal

URL = "gs://bucket/target/version"
CONTENT = b"some content"

# Google's session leaves the answer 401 to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _own_client(archive: FakeArchive, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", archive.url)
    gcs_client.forget_client()
    yield
    gc.collect()
    gcs_client.current_client().drop_connections()
    gcs_client.forget_client()


@pytest.fixture
def opened(archive: FakeArchive) -> Archive:
    archive.put("bucket", "target/version/file", CONTENT)
    return open_archive(ArchiveUrl.parse(URL), 2)


def content_of(opened: Archive, name: str = "file", start: int = 0) -> bytes:
    item = opened.describe(name)
    return b"".join(opened.read(item, start, item.size))


def read_through(opened: Archive, name: str, **settings: int) -> bytes:
    """The object, as it is read for staging."""
    item = opened.describe(name)
    patience = Patience(2, 1)
    with ObjectReader(opened, item, patience, threading.Event(), lambda _: None, ReadSettings(**settings)) as reader:
        content = b"".join(reader.pieces())
        reader.finish()
    return content


def gathered(opened: Archive, *entries: CatalogueEntry) -> Gathered:
    return gather_artifact_downloads(entries, opened, lambda call: retrying(call, 1, threading.Event()))


# Refusals

SENTENCE = "Bucket is a requester pays bucket but no user project provided."


@pytest.mark.parametrize("where", ["list", "describe", "read"])
@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (refusal(403, "devserver does not have storage.objects.list access."), AccessDenied, "403: devserver does not"),
        (refusal(400, "Invalid argument."), ArchiveRefused, "the archive answered 400: Invalid argument."),
        (refusal(403, "Rate limit exceeded.", "rateLimitExceeded"), ArchiveUnavailable, "403: Rate limit exceeded."),
        (refusal(403, "Too fast.", "userRateLimitExceeded"), ArchiveUnavailable, "403: Too fast."),
        (refusal(503, "Try again."), ArchiveUnavailable, "the archive answered 503: Try again."),
        (
            Fault(429, {"Content-Type": "text/plain"}, body=b"slow\r\ndown\x1b[2J"),
            ArchiveUnavailable,
            r"429: slow down \[2J$",
        ),
        (Fault(403, {"Content-Type": "text/html"}, body=b"<html>no"), AccessDenied, "the archive answered 403$"),
        (Fault(405, body=b"\xff" * 10_000_000), ArchiveRefused, "the archive answered 405$"),
        (refusal(403, "x" * 5000), AccessDenied, f"403: {'x' * 300}…$"),
        (refusal(401, "Invalid token ya29.c.abc-DEF_ghi was sent"), AccessDenied, r"devserver has none$"),
    ],
    ids=lambda value: f"{value.status}" if isinstance(value, Fault) else "",
)
def test_the_archives_own_sentence_is_in_the_cause(
    archive: FakeArchive, opened: Archive, where: str, fault: Fault, kind: type[DevServerError], words: str
) -> None:
    item = opened.describe("file")
    archive.fail_always("list" if where == "list" else "file", fault)
    questions: dict[str, Callable[[], Any]] = {
        "list": opened.list,
        "describe": lambda: opened.describe("file"),
        "read": lambda: list(opened.read(item, 0, item.size)),
    }
    with pytest.raises(kind, match=words) as told:
        questions[where]()
    assert type(told.value) is kind
    assert str(told.value).isprintable()


@pytest.mark.parametrize(
    "secret",
    ["ya29.a0AfH6SMBx-yz_12", "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.c2ln", "Bearer abcdefghijkl", "token=abcdefghijkl"],
)
def test_no_sentence_of_the_archive_tells_a_secret(archive: FakeArchive, opened: Archive, secret: str) -> None:
    archive.fail_always("file", refusal(403, f"the request with {secret} was refused"))
    with pytest.raises(AccessDenied, match=r"the request with \(a secret\) was refused"):
        opened.describe("file")


def test_a_range_that_is_not_there_any_more_is_a_changed_object(archive: FakeArchive, opened: Archive) -> None:
    item = opened.describe("file")
    archive.fail_always("file", Fault(416))
    with pytest.raises(ObjectChanged):
        list(opened.read(item, 0, item.size))


# Ranges


@pytest.mark.parametrize("said", ["bytes 1-11/12", "bytes 0-10/12", "bytes */12", "", "items 0-11/12"])
def test_another_range_than_was_asked_for_is_not_believed(archive: FakeArchive, opened: Archive, said: str) -> None:
    archive.change_headers = lambda headers: {**headers, "Content-Range": said}
    with pytest.raises(ArchiveUnavailable, match="another range than the one that it was asked for"):
        content_of(opened)


def test_an_answer_of_another_generation_is_a_changed_object(archive: FakeArchive, opened: Archive) -> None:
    archive.change_headers = lambda headers: {**headers, "X-Goog-Generation": "7"}
    with pytest.raises(ObjectChanged):
        content_of(opened)


def test_what_was_packed_on_its_way_is_not_taken_for_the_object(archive: FakeArchive, opened: Archive) -> None:
    archive.change_headers = lambda headers: {**headers, "Content-Encoding": "gzip"}
    with pytest.raises(ArchiveUnavailable, match="packed it on its way"):
        content_of(opened)


def test_the_whole_object_is_an_answer_where_all_of_it_was_asked_for(archive: FakeArchive, opened: Archive) -> None:
    archive.ignores_ranges = True
    assert content_of(opened) == CONTENT
    assert content_of(opened, start=5) == CONTENT[5:]


def test_an_archive_that_ignores_ranges_is_read_as_one_stream(archive: FakeArchive, opened: Archive) -> None:
    archive.ignores_ranges = True
    content = noise(3_000_000, "big")
    archive.put("bucket", "target/version/big", content)
    assert read_through(opened, "big", slice_bytes=200_000) == content
    assert len([fetch for fetch in archive.fetches if fetch.name == "big"]) == 2
    archive.fail_once("big", Fault(), Fault(after=1_500_000, action="cut"))
    assert read_through(opened, "big", slice_bytes=200_000) == content


def test_a_trickle_is_given_up(archive: FakeArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gcs, "_PATIENCE_WITH_A_PIECE", 1.0)
    archive.put("bucket", "target/version/file", noise(1_000_000, "x"))
    opened = open_archive(ArchiveUrl.parse(URL), 0.3)
    item = opened.describe("file")
    archive.fail_once("file", Fault(after=10, action="drip"))
    with pytest.raises(ArchiveUnavailable, match=r"the archive sent next to nothing for 0\.3 s"):
        list(opened.read(item, 0, item.size))
    assert b"".join(opened.read(item, 0, item.size)) == noise(1_000_000, "x")


def test_a_reader_that_takes_its_time_is_no_trickle(archive: FakeArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gcs, "_PATIENCE_WITH_A_PIECE", 1.0)
    content = noise(1_500_000, "x")
    archive.put("bucket", "target/version/file", content)
    opened = open_archive(ArchiveUrl.parse(URL), 0.2)
    item = opened.describe("file")
    read = b""
    for piece in opened.read(item, 0, item.size):
        read += piece
        time.sleep(0.3)
    assert read == content


# Listing


def test_an_empty_token_is_the_end_of_a_listing(archive: FakeArchive, opened: Archive) -> None:
    archive.change_page = lambda page: {**page, "nextPageToken": ""}
    assert [item.name for item in opened.list()] == ["file"]


@pytest.mark.parametrize("token", ["A", 7, ["x"]])
def test_a_listing_that_does_not_come_to_an_end_is_refused(
    archive: FakeArchive, opened: Archive, token: object
) -> None:
    archive.change_page = lambda _: {"items": [], "nextPageToken": token}
    with pytest.raises(ArchiveRefused, match=r"does not come to an end|`nextPageToken` of the"):
        opened.list()


def test_a_listing_of_ever_new_tokens_is_bounded(
    archive: FakeArchive, opened: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gcs, "_MOST_PAGES", 20)
    archive.change_page = lambda _: {"items": [], "nextPageToken": f"{len(archive.listings)}"}
    with pytest.raises(ArchiveRefused, match="does not come to an end"):
        opened.list()
    assert len(archive.listings) < 25


def test_pages_are_tried_again_one_by_one(archive: FakeArchive, opened: Archive) -> None:
    for number in range(5000):
        archive.put("bucket", f"target/version/{number:04}", b"")
    for _ in range(5):
        archive.fail_once("list", Fault(), Fault(503))
    found = opened.list(Wanted(), lambda call: retrying(call, 5, threading.Event()))
    assert len(found) == 5001
    assert len(archive.listings) == 6 + 5


def test_no_more_of_a_listing_is_kept_than_is_wanted(
    archive: FakeArchive, opened: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3000):
        archive.put("bucket", f"target/version/debug/{number:04}", b"")
    archive.put("bucket", "target/version/a.tgz", b"")
    found = gathered(opened, file_artifact("*.tgz"))
    assert [item.name for item in found.artifacts[0].objects] == ["a.tgz"]
    assert len(archive.listings) == 1  # nothing of debug/ was asked for
    monkeypatch.setattr(gcs, "_MOST_OBJECTS", 100)
    with pytest.raises(ArchiveRefused, match="more than 100 objects are wanted"):
        gathered(opened, file_artifact("debug/*"))
    assert gathered(opened, file_artifact("*/0001")).artifacts[0].objects[0].name == "debug/0001"


def test_a_catalogue_is_found_without_what_lies_deeper(archive: FakeArchive, opened: Archive) -> None:
    for number in range(2000):
        archive.put("bucket", f"target/version/debug/{number:04}", b"")
    archive.put("bucket", "target/version/stateful.tgz", b"")
    found = gathered(opened, *read_catalogue().named(["stateful", "full_payload"]))
    assert [artifact.entry.name for artifact in found.artifacts] == ["stateful"]
    assert list(found.errors) == ["full_payload"]
    assert archive.listings == ["bucket/target/version/"]


@pytest.mark.parametrize("name", ["stateful", "autotest"])
def test_what_has_a_name_is_staged_where_listing_is_not_allowed(
    archive: FakeArchive, opened: Archive, name: str
) -> None:
    archive.put("bucket", "target/version/stateful.tgz", b"x")
    archive.put("bucket", "target/version/autotest.tar", b"x")
    archive.fail_always("list", refusal(403, "no storage.objects.list access"))
    found = gathered(opened, *read_catalogue().named([name, "full_payload"]))
    assert [artifact.entry.name for artifact in found.artifacts] == [name]
    assert "to list what is there takes more than to read it: the archive answered 403" in str(
        found.errors["full_payload"]
    )
    with pytest.raises(AccessDenied, match="to list what is there takes more"):
        gathered(opened, file_artifact("*.bin"))


# What is said of objects


def listed_as(archive: FakeArchive, **fields: object) -> None:
    """Have the archive say other things of objects; None leaves a field out."""

    def changed(resource: dict[str, Any], _is_listed: bool) -> dict[str, Any]:
        return {key: value for key, value in {**resource, **fields}.items() if value is not None}

    archive.change_resource = changed


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"size": None}, "the archive states no `size` of it"),
        ({"size": "many"}, "the archive states a wrong `size` of it"),
        ({"size": "-1"}, "the archive states a wrong `size` of it"),
        ({"size": "9" * 30}, "the archive states a wrong `size` of it"),
        ({"crc32c": "x" * 100}, "the archive states a wrong `crc32c` of it"),
        ({"customerEncryption": {"keySha256": "x"}}, "encrypted with a key of its owner's (`customerEncryption`)"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_object_that_cannot_be_read_says_which_field_is_why(
    archive: FakeArchive, opened: Archive, fields: dict[str, object], cause: str
) -> None:
    listed_as(archive, **fields)
    for pattern in ("file", "f*"):
        errors = gathered(opened, file_artifact(pattern)).errors
        assert cause in str(errors[f"file:{pattern}"])
        assert isinstance(errors[f"file:{pattern}"], ArchiveRefused)


def test_an_object_without_a_name_is_told(archive: FakeArchive, opened: Archive) -> None:
    listed_as(archive, name=None)
    with pytest.raises(ArchiveRefused, match="an object without a `name`"):
        opened.list()


def test_an_object_is_read_for_what_it_is(archive: FakeArchive, opened: Archive) -> None:
    archive.put("bucket", "target/version/empty", b"")
    listed_as(archive, size=None, field="a field that nobody knows")
    assert opened.describe("empty").size == 0
    listed_as(archive, generation=None)
    assert content_of(opened) == CONTENT
    listed_as(archive, generation=None, crc32c=None)
    with pytest.raises(ArchiveRefused, match="neither a `generation` nor a `crc32c`"):
        content_of(opened)


@pytest.mark.parametrize("body", [b"<html>sign in</html>", b"[]", b'"x"', b"", b"[" * 100_000])
def test_what_is_no_listing_is_tried_again(archive: FakeArchive, opened: Archive, body: bytes) -> None:
    archive.fail_always("list", Fault(200, {"Content-Type": "text/html"}, body=body))
    with pytest.raises(ArchiveUnavailable, match="the archive answered 200, and something else than it should"):
        opened.list()


# Connections


def test_connections_that_died_in_silence_are_not_used_again(
    archive: FakeArchive, opened: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert content_of(opened) == CONTENT
    monkeypatch.setattr(gcs_client, "_LONGEST_REST", 0.0)
    dropped: list[bool] = []
    monkeypatch.setattr(gcs_client.ArchiveClient, "drop_connections", lambda _: dropped.append(True))
    assert content_of(opened) == CONTENT
    assert dropped


def test_a_relay_that_forgets_silent_connections_costs_one_try(archive: FakeArchive) -> None:
    content = noise(100_000, "x")
    archive.put("bucket", "target/version/file", content)
    with Relay(archive) as relay:
        os.environ["STORAGE_EMULATOR_HOST"] = relay.url
        gcs_client.forget_client()
        opened = open_archive(ArchiveUrl.parse(URL), 0.5)
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(lambda _: content_of(opened), range(16))) == {content}
        relay.forget()
        began = time.monotonic()
        for _ in range(8):
            assert retrying(lambda: content_of(opened), 5, threading.Event()) == content
        assert time.monotonic() - began < 2.5


class Relay:
    """What lies between here and an archive, and swallows all that comes by connections that it has forgotten."""

    def __init__(self, archive: FakeArchive) -> None:
        self._archive = archive
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._forgotten: list[threading.Event] = []

    def __enter__(self) -> Relay:  # noqa: PYI034 - nobody derives from it
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    @property
    def url(self) -> str:
        """Its address, with its scheme."""
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def forget(self) -> None:
        """Swallow what comes by the connections that there are."""
        for one in self._forgotten:
            one.set()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", int(self._archive.url.rpartition(":")[2])))
                is_forgotten = threading.Event()
                self._forgotten.append(is_forgotten)
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=(*ends, is_forgotten), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, is_forgotten: threading.Event) -> None:
        with suppress(OSError), source:
            while piece := source.recv(65536):
                if not is_forgotten.is_set():
                    target.sendall(piece)


def test_zeros_take_no_room(archive: FakeArchive, tmp_path: Path) -> None:
    content = noise(1_000_000, "x") + bytes(20_000_000) + noise(1_000_000, "y") + bytes(9_000_000)
    archive.put("bucket", "target/version/file", content)
    opened = open_archive(ArchiveUrl.parse(URL), 2)
    Transfer(opened, Patience(2, 1), threading.Event()).fetch(
        opened.describe("file"), tmp_path / "file", lambda _: None
    )
    assert (tmp_path / "file").read_bytes() == content
    assert (tmp_path / "file").stat().st_blocks * 512 < 5_000_000


def test_the_latest_official_build_is_found_whatever_wrote_its_name(archive: FakeArchive, tmp_path: Path) -> None:
    import gzip

    written = b"\xef\xbb\xbfR17-1413.0.0\r\n"
    for content, encoding in [(written, ""), (gzip.compress(written), "gzip")]:
        archive.put("images", "mario-release/LATEST-official", content, encoding=encoding)
        found = latest_official(lambda url: open_archive(url, 2), "gs://images", "mario", 1)
        assert found == "mario-release/R17-1413.0.0/chromiumos_test_image.bin"
