"""Whatever a reader of JSON is given, it takes it or refuses it in its one way: at once, in little memory."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from time import monotonic
from typing import Any

import pytest

from artifacts.catalogue import CatalogueEntry, file_artifact, read_catalogue
from artifacts.job import GatheredArtifact, StageRequest, StagingOptions
from staging.archives import ArchiveObject
from staging.clock import Clock
from staging.cluster import messages
from staging.cluster.news import Bulletin
from staging.cluster.runs import Told, _told
from staging.cluster.transport import checked_message
from staging.errors import (
    BadTarball,
    ConfigurationError,
    DevServerError,
    InvalidParameter,
    RecordMalformed,
    TokenNeeded,
    WaitTimedOut,
)
from staging.executors.confinement import Confinement
from staging.executors.reach import _read as read_credentials
from staging.executors.status_queue import parsed
from staging.executors.worker import WorkOrder
from staging.executors.worker_log import _is_object_of_a_worker
from staging.file_lists import FileRecord, list_of, read_list, write_list
from staging.holds import BuildHolds, Term, holds_of
from staging.locks import FileLock
from staging.manifest import ArtifactRecord, Manifest
from staging.messages import ANYTHING, BadMessage, Expected, event_of
from staging.orders import OrderBook, OrderRecord
from staging.promises import promises
from staging.publishing import _read_ready, update_manifest
from staging.records.decoding import as_data, converted, write
from staging.records.text import data_of, encoded
from staging.status import BuildStatus, Event, State
from staging.transfer import _Mark
from tests.builds import Build
from tests.servers import PROJECT
from tests.test_broker_garbage import TASK, message
from tests.test_room import ARTIFACT, make_staged
from web.api.operations import parsed_body
from web.client.client import Client
from web.client.errors import ClientError
from web.front.use_log import parsed as parsed_line

BUILD = "target/R1-1.0.0"
ITEM = ArchiveObject("object", 1000, "AAAAAA==", "1")
EVENT = Event(BUILD, ARTIFACT, State.FAILED, 1, 2, BadTarball("x", "y"), "a note", 1, 0, "ArchiveUnavailable")
ENTRY = CatalogueEntry(ARTIFACT, "object", unpack=True, includes=("a",))
REQUEST = StageRequest(f"gs://bucket/{BUILD}", [GatheredArtifact(ENTRY, (ITEM,))], StagingOptions(Path("/static")))
SCHEMA = {"required": ["archive_url"], "properties": {"archive_url": {"type": "string"}}}
LONGEST = 5.0  # seconds that a reader may take, beside others
MOST_MEMORY = 400 * 1024**2  # bytes


@dataclass(frozen=True)
class Reader:
    """What reads JSON from outside.

    Attributes:
        good: a text that it takes, which ends with an object.
        read: what it makes of a text; nothing, where that counts for nothing.
        refuses: the error that it raises else.
        takes_more: whether there may be fields that it does not know.

    """

    good: bytes
    read: Callable[[bytes], Any]
    refuses: type[Exception] | None = None
    takes_more: bool = True

    def outcome(self, text: bytes) -> Any:
        """What it makes of a text; nothing, where it refuses that."""
        try:
            return self.read(text)
        except Exception as error:
            told = error
        assert type(told) is self.refuses, told
        assert len(str(told)) < 200
        assert str(told).isprintable() or self.refuses is InvalidParameter  # which says what a client's field is called
        return None


def of_file(path: Path, read: Callable[[], Any]) -> Callable[[bytes], Any]:
    def written_and_read(text: bytes) -> Any:
        path.write_bytes(text)
        return read()

    return written_and_read


def of_a_build(folder: Path) -> dict[str, Reader]:
    """The readers of what lies in the static directory, with what the program itself has written there."""
    places = make_staged(folder, "R1-1.0.0")
    index, order, mark = list_of(places, ARTIFACT), folder / "1.json", folder / "part.devserver-mark"
    ready, promise, clock = places.staging / ARTIFACT / "ready.json", places.promises / "1.json", folder / "clock"
    write_list(index, {"file": FileRecord(1, "AAAAAA==")})
    BuildHolds(folder, lambda _: None).lease(BUILD, Term(600.0, "lab"))
    (left,) = [OrderBook(folder).write(OrderRecord(f"gs://bucket/{BUILD}", BUILD, {ARTIFACT: True}))._path]
    write(promise, {"build_path": BUILD, "unpublished": 1, "unwritten": 1})
    write(mark, {"object": ITEM.to_json(), "offset": 7, "crc32c": 1})
    record = ArtifactRecord("staged", (ITEM,), files=1, size=1).to_json()
    write(ready, {"name": ARTIFACT, "archive_url": f"gs://bucket/{BUILD}", "record": record})
    Clock().save(clock)
    lock = FileLock.acquire(places.lock, Flag())  # so that what is promised counts
    (folder / "part").write_bytes(bytes(7))
    return {
        "manifest": Reader(
            places.manifest.read_bytes(), of_file(places.manifest, lambda: Manifest.read(places)), RecordMalformed
        ),
        "list of files": Reader(index.read_bytes(), of_file(index, lambda: read_list(index)), RecordMalformed, False),
        "holds": Reader(
            places.holds.read_bytes(), of_file(places.holds, lambda: not holds_of(places).is_pinned or None)
        ),
        "order": Reader(left.read_bytes(), of_file(order, lambda: OrderRecord.read(order)), RecordMalformed),
        "promise": Reader(promise.read_bytes(), of_file(promise, lambda: [lock and one for one in promises(folder)])),
        "mark": Reader(mark.read_bytes(), of_file(mark, lambda: _Mark(folder / "part", ITEM)._read())),
        "staging area": Reader(
            ready.read_bytes(), of_file(ready, lambda: _read_ready(places, ready.parent)), RecordMalformed
        ),
        "clock": Reader(clock.read_bytes(), of_file(clock, lambda: restored(clock))),
        "credentials": Reader(
            b'{"type": "authorized_user"}', of_file(folder / "key", lambda: read_credentials(f"{folder}/key"))
        ),
    }


def restored(path: Path) -> bool:
    """Whether a clock goes on from what ``path`` holds: its own would say another time."""
    clock = Clock(lambda: 1.0)
    clock.restore(path)
    return clock.now() > 1e9


def of_messages() -> dict[str, Reader]:
    """The readers of what comes from workers, the broker, clients, servers and the server in front."""
    status = BuildStatus(Build().url, Build().path, {ARTIFACT: True})
    order = WorkOrder("a:b", {"x": 1}, Confinement(writable=("/x",), ports=(80,)))
    told = encoded(Told(1, "event", EVENT.to_json()))
    return {
        "status queue": Reader(encoded(["event", EVENT.to_json()]), lambda text: parsed(text, ANYTHING), BadMessage),
        "cause in the status queue": Reader(
            b'["failed", {"kind": "DiskFull", "args": ["x"]}]', lambda text: parsed(text, ANYTHING), BadMessage
        ),
        "what a worker tells": Reader(told, lambda text: _told(as_text(text)).attempt),
        "event from the broker": Reader(
            encoded(EVENT.to_json()),
            lambda text: event_of(messages.data_of(as_text(text)), Expected(artifacts=frozenset({ARTIFACT}))),
            BadMessage,
        ),
        "bulletin": Reader(
            Bulletin.of(status, "0" * 32, "1" * 32).to_text().encode(),
            lambda text: Bulletin.from_text(as_text(text)),
            BadMessage,
        ),
        "message of a queue": Reader(
            message(), lambda text: checked_message(messages.data_of(as_text(text)), TASK), BadMessage
        ),
        "order of a worker": Reader(
            encoded(as_data(order)), lambda text: converted(WorkOrder, data(text), "an order"), RecordMalformed
        ),
        "request of a job": Reader(
            encoded(REQUEST.to_json()), lambda text: StageRequest.from_json(data(text)), RecordMalformed
        ),
        "body of a request": Reader(
            b'{"archive_url": "gs://b/t/v"}', lambda text: parsed_body(SCHEMA, text), InvalidParameter, False
        ),
        "use log": Reader(b'{"status":200,"sent":5,"time":1.5,"client":"::1","path":"/static/a"}', parsed_line),
        "line of a worker": Reader(b'{"tag": "WORKER"}', lambda text: _is_object_of_a_worker(as_text(text))),
    }


def as_text(text: bytes) -> str:
    """As it comes from the client of the broker, and from worker_log.py."""
    return text.decode(errors="replace")


def data(text: bytes) -> Any:
    """The data of a message whose text another reader has read."""
    try:
        return data_of(text)
    except (ValueError, RecursionError):
        raise RecordMalformed("a request", "it is no JSON") from None


def made_strange(good: bytes, addition: bytes) -> bytes:
    """A text with another field in its last object."""
    end = good.rindex(b"}")
    return good[:end].rstrip() + b", " + addition + good[end:]


SURROGATE = b', "y": "\\udce9"'  # for which versions before have another reader
DEEP = b"[" * 100_000 + b"]" * 100_000
FIELDS: dict[str, bytes] = {
    "an infinite number": b'"x": 1e999',
    "an infinite number below zero": b'"x": -1e999',
    "an exponent without end": b'"x": 1e' + b"9" * 1000,
    "no number": b'"x": NaN',
    "infinity": b'"x": -Infinity',
    "10,000 digits": b'"x": ' + b"9" * 10_000,
    "100,000 levels": b'"x": ' + DEEP,
    "500 levels": b'"x": ' + b"[" * 500 + b"]" * 500,
    "levels that nobody closes": b'"x": ' + b"[" * 100_000,
    "a line in a text": b'"x": "a\nb"',
    "half a surrogate": b'"x": "\\ud8"',
    "a comma too many": b'"x": [1,]',
    "a comment": b'"x": 1 // one',
    "another quotation mark": b"'x': 1",
    "a number that begins with 0": b'"x": 010',
}
REFUSED: dict[str, Callable[[bytes], bytes]] = {
    **{name: lambda good, field=field: made_strange(good, field) for name, field in FIELDS.items()},  # type: ignore[misc]
    **{
        f"{name}, beside a lone surrogate": lambda good, field=field: made_strange(good, field + SURROGATE)  # type: ignore[misc]
        for name, field in FIELDS.items()
    },
    "UTF-16": lambda good: good.decode().encode("utf-16"),
    "UTF-32": lambda good: good.decode().encode("utf-32-le"),
    "two of them": lambda good: good + good,
    "something behind it": lambda good: good + b" x",
    "a null character behind it": lambda good: good + b"\0",
    "cut off": lambda good: good.rstrip()[:-1],
    "nothing": lambda _: b"",
    "null": lambda _: b"null",
    "a number": lambda _: b"5",
    "a text": lambda _: b'"text"',
    "a list": lambda _: b"[]",
    "an empty object": lambda _: b"{}",
    "a list of nothing": lambda _: b"[null, null, null]",
}
NO_UTF_8 = (b'"x": "\xff"', b'"x": "\xed\xa0\x80"', b'"\xff": 1', b'"\\udcff": 1')
TAKEN: dict[str, bytes] = {
    "a field of a later version": b'"x": {"y": [1, {"z": null}]}',
    "it twice": b'"x": 1, "x": 2',
    "a lone surrogate": SURROGATE[2:],
    "400 digits": b'"x": ' + b"9" * 400,
    "400 digits and a lone surrogate": b'"x": ' + b"9" * 400 + SURROGATE,
    "a null character": b'"x": "\\u0000"',
}


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reader]:
    """All readers, by name."""
    return {**of_a_build(tmp_path_factory.mktemp("static")), **of_messages()}


READERS = (
    *("manifest", "list of files", "holds", "order", "promise", "mark", "staging area", "clock", "credentials"),
    *("status queue", "cause in the status queue", "what a worker tells", "event from the broker", "bulletin"),
    *(
        "message of a queue",
        "order of a worker",
        "request of a job",
        "body of a request",
        "use log",
        "line of a worker",
    ),
)


@pytest.mark.parametrize("name", READERS)
def test_a_reader_refuses_garbage_in_one_way_at_once(readers: dict[str, Reader], name: str) -> None:
    reader = readers[name]
    for kind, spoil in REFUSED.items():
        assert reader.outcome(reader.good), kind
        text = spoil(reader.good)
        began = monotonic()
        assert not reader.outcome(text), kind
        assert monotonic() - began < LONGEST, kind
    assert set(readers) == set(READERS)


@pytest.mark.parametrize("name", READERS)
def test_a_reader_takes_what_later_versions_may_write_and_the_last_of_two_fields(
    readers: dict[str, Reader], name: str
) -> None:
    reader = readers[name]
    key = reader.good[reader.good.index(b"{") + 1 :].partition(b":")[0]
    assert reader.outcome(reader.good.replace(b"{", b"{" + key + b": [[]], ", 1))
    for kind, field in TAKEN.items():
        assert reader.outcome(made_strange(reader.good, field)) or not reader.takes_more, kind
    for field in NO_UTF_8:  # which whoever hands a text on may have replaced
        reader.outcome(made_strange(reader.good, field))


@pytest.mark.parametrize("name", READERS)
def test_no_reader_takes_a_byte_order_mark_but_that_of_what_clients_write(
    readers: dict[str, Reader], name: str
) -> None:
    good = readers[name].good
    assert bool(readers[name].outcome(b"\xef\xbb\xbf" + good)) == (name == "body of a request")
    assert not readers[name].outcome(b"\xef\xbb\xbf" + made_strange(good, SURROGATE[2:]))


@pytest.mark.parametrize("name", READERS)
def test_a_reader_takes_little_memory_whatever_it_reads(readers: dict[str, Reader], name: str) -> None:
    reader = readers[name]
    for value, count in ((b"{}", 6_000_000), (b"1.5", 11_000_000)):
        text = made_strange(reader.good, b'"x": [' + (value + b",") * count + value + b"]")
        tracemalloc.start()
        try:
            assert not reader.outcome(text)
            assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY, value
        finally:
            tracemalloc.stop()


def test_what_is_said_of_a_wrong_value_is_not_the_value(tmp_path: Path) -> None:
    places = make_staged(tmp_path, "R1-1.0.0")
    evil = "x\n[28/Nov/2026:12:00:00] DEVSERVER all is well" * 10_000
    text = places.manifest.read_text().replace('"staged"', json.dumps(evil))
    places.manifest.write_text(text)
    with pytest.raises(RecordMalformed, match=r"cannot be understood: it has a wrong artifacts\[\.\.\.\]\.state$"):
        Manifest.read(places)
    with pytest.raises(BadMessage, match=r"^an event with a wrong state$"):
        event_of({**EVENT.to_json(), "state": evil})
    with pytest.raises(BadMessage, match=r"^a bulletin with no download$"):
        Bulletin.from_text("{}")


@pytest.mark.parametrize("number", [b"1e999", b"9" * 400, b"9" * 10_000])
def test_a_number_of_a_later_version_never_breaks_what_is_written_anew(tmp_path: Path, number: bytes) -> None:
    places = make_staged(tmp_path, "R1-1.0.0")
    names = b', "whole_files": {"caf\\udce9": "object"}, "more": ' + number
    text = places.manifest.read_bytes()
    places.manifest.write_bytes(text.replace(b',\n   "whole_files": {}', names))
    assert places.manifest.read_bytes() != text
    if number != b"9" * 400:
        with pytest.raises(RecordMalformed):
            Manifest.read(places)
        return
    update_manifest(places, f"gs://bucket/{BUILD}", {"other": ArtifactRecord("absent")})
    manifest = Manifest.read(places)
    assert manifest is not None
    assert manifest.artifacts[ARTIFACT].unknown == {"more": int(number)}


# Requests of jobs, which come through the broker

HOSTILE: dict[str, Callable[[dict[str, Any]], object]] = {
    "a destination outside": lambda request: request["artifacts"][0]["entry"].update(destination="../../x"),
    "a destination of the devserver's own": lambda request: entry_in(request).update(destination=".devserver/x"),
    "files of a tarball from outside": lambda request: entry_in(request).update(includes=["../x"]),
    "a name that leads outside": lambda request: entry_in(request).update(name="../../x"),
    "a name with a line's end": lambda request: entry_in(request).update(name="file:x\ny", pattern="x\ny"),
    "a file that is called otherwise": lambda request: entry_in(request).update(name="file:x", pattern="y"),
    "a file that is unpacked": lambda request: entry_in(request).update(name="file:x", pattern="x"),
    "wildcards without end": lambda request: entry_in(request).update(name=f"file:{'*?' * 99}", pattern="*?" * 99),
    "a behaviour that there is not": lambda request: entry_in(request).update(behaviour="magic"),
    "what only a later version does": lambda request: entry_in(request).update(strip=1),
    "a truth that is a text": lambda request: entry_in(request).update(unpack="yes"),
    "an object that leads outside": lambda request: request["artifacts"][0]["objects"][0].update(name="../x"),
    "an object of less than nothing": lambda request: request["artifacts"][0]["objects"][0].update(size=-1),
    "an object larger than any": lambda request: request["artifacts"][0]["objects"][0].update(size=2**61),
    "no objects": lambda request: request["artifacts"][0].pop("objects"),
    "artifacts that are none": lambda request: request.update(artifacts=[None]),
    "an address that is none": lambda request: request.update(archive_url=7),
    "an address without end": lambda request: request.update(archive_url="gs://" + "x" * 100_000),
    "an attempt that is none": lambda request: request.update(attempt=-1),
    "a directory that is none": lambda request: request["options"].update(static_dir="/a\0b"),
}


def entry_in(request: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = request["artifacts"][0]["entry"]
    return entry


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_request_of_a_job_is_checked_like_a_clients(kind: str) -> None:
    request = json.loads(encoded(REQUEST.to_json()))
    assert StageRequest.from_json(request) == REQUEST
    HOSTILE[kind](request)
    with pytest.raises(RecordMalformed, match="the request of a job cannot be understood"):
        StageRequest.from_json(request)


def test_what_an_artifact_brings_along_and_a_file_are_requests_of_jobs() -> None:
    catalogue = read_catalogue()
    brought = [one for entry in catalogue.entries for one in catalogue.brought_by([entry])]
    for entry in (
        *catalogue.entries,
        *catalogue.named([catalogue.entries[0].name]),
        *brought,
        file_artifact("a/*.bin"),
    ):
        request = replace(REQUEST, artifacts=[GatheredArtifact(entry, (ITEM,))])
        assert StageRequest.from_json(json.loads(json.dumps(request.to_json()))) == request


def test_what_is_told_of_a_job_by_the_broker_is_of_its_build_and_artifacts() -> None:
    expected = messages.expected_of(REQUEST.to_json())
    assert event_of(EVENT.to_json(), expected)
    for other in ({"build": "target/R2-1.0.0"}, {"build": "../../x"}, {"artifact": "autotest"}):
        with pytest.raises(BadMessage):
            event_of({**EVENT.to_json(), **other}, expected)
    on_disk = replace(REQUEST, archive_url=f"file:///srv/{BUILD}", options=StagingOptions(Path("/x"), (Path("/srv"),)))
    assert messages.expected_of(on_disk.to_json()) == expected


def test_an_id_of_a_request_that_came_by_the_broker_is_one() -> None:
    data = {**REQUEST.to_json(), "request_id": "x\n[28/Nov/2026:12:00:00] DEVSERVER all is well"}
    assert StageRequest.from_json(data).request_id == "x__28/Nov/2026:12:00:00__DEVSERVER_all_is_well"


def test_a_text_that_came_by_the_broker_stays_in_its_line() -> None:
    evil = "x\n[28/Nov/2026:12:00:00] DEVSERVER all is well\x1b[2J"
    told = Event(BUILD, ARTIFACT, State.FAILED, cause=BadTarball(evil, evil), note=evil)
    status = BuildStatus(f"gs://bucket/{BUILD}", BUILD, {ARTIFACT: True})
    status.apply([told])
    bulletin = Bulletin.from_text(Bulletin.of(status, "0" * 32, "1" * 32).to_text())
    for event in (event_of(told.to_json()), *bulletin.events):
        assert event.note.isprintable()
        assert str(event.cause).isprintable()


@pytest.mark.parametrize(
    "cause", [TokenNeeded("stage", "nothing"), WaitTimedOut("x", 1.0), ConfigurationError("x", "y")]
)
def test_a_cause_that_no_job_has_is_none_by_the_broker_either(cause: DevServerError) -> None:
    with pytest.raises(BadMessage, match="an event with a wrong cause"):
        event_of({**EVENT.to_json(), "cause": cause.to_json()})


# TOML, and what a client of this project is answered


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbf[[artifact]]",
        b"\xff\xfe[",
        b'[[artifact]]\nname = "a"\nname = "b"\npattern = "x"',
        b'[[artifact]]\nname = "\\ud800"\npattern = "x"',
        *(
            b'[[artifact]]\nname = "a"\npattern = ' + value
            for value in (b"1e999", b"nan", b"9" * 10_000, b"0001-01-01")
        ),
        b'[[artifact]]\nname = "a"\npattern = "x"\nbrings = ' + b"[" * 20_000,
        b'[[artifact]]\nname = "a"\npattern = "x"\nbrings = [[], 1979-05-27T07:32:00Z]',
        b"[[artifact]]\n[[artifact.name]]",
        b"artifact" + b".a" * 2_000 + b" = 1",
    ],
    ids=lambda text: repr(text[:60]),
)
def test_a_catalogue_that_is_garbage_is_told_so(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "catalogue.toml").write_bytes(text)
    with pytest.raises(ConfigurationError):
        read_catalogue(tmp_path / "catalogue.toml")


GARBAGE = (b"", b"5", b"[]", b"[" * 10_000, b"9" * 10_000, b"\xff", b"\xef\xbb\xbf{}", b'{"a": 1')


@contextmanager
def answering(content: bytes, kind: str) -> Iterator[str]:
    """A server that answers everything with ``content``; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if kind != "application/problem+json" else 500)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("content", GARBAGE, ids=lambda content: repr(content[:20]))
def test_a_client_that_is_answered_garbage_says_so(content: bytes) -> None:
    for kind in ("application/json", "application/problem+json"):
        with answering(content, kind) as url, pytest.raises(ClientError):
            list(Client(url, patience=0.0).builds())
    stream = b"event: artifact\ndata: " + content.replace(b"\n", b"") + b"\n\n"
    with answering(stream, "text/event-stream") as url, pytest.raises(ClientError):
        list(Client(url, patience=0.0).events(f"gs://bucket/{BUILD}"))


# Threads

_AT_ONCE = """
import sys, threading
from dataclasses import make_dataclass
from staging.records.decoding import made
from staging.records.text import data_of
barrier, wrong = threading.Barrier(16), []
kinds = [make_dataclass(f"K{n}", [("a", int), ("b", "tuple[str, ...]")]) for n in range(300)]
def work():
    for kind in kinds:
        barrier.wait()
        made(kind, {"a": 1, "b": ["x"]})
    try:
        data_of("[" * 100_000)
    except (ValueError, RecursionError):
        return
    wrong.append(1)
threads = [threading.Thread(target=work) for _ in range(16)]
[one.start() for one in threads]
[one.join() for one in threads]
sys.exit(len(wrong))
"""


def test_many_threads_read_new_types_and_what_is_deep_at_once() -> None:
    subprocess.run([sys.executable, "-c", _AT_ONCE], cwd=PROJECT, check=True, timeout=60)
