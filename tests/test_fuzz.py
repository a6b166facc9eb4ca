"""Everything that reads what others wrote: any text gives a value that keeps its promises, or an error of the tree.

``make fuzz`` tries many thousands of texts; here are a few.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from threading import Event as Flag

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from artifacts.catalogue import CatalogueEntry, read_catalogue
from staging.archives import AllowedArchives, ArchiveObject, ArchiveUrl
from staging.errors import ConfigurationError, InvalidArchiveUrl, RecordError
from staging.file_lists import FileRecord, read_list, write_list
from staging.holds import holds_of
from staging.layout import RESERVED_NAME, BuildPlaces
from staging.manifest import ArtifactRecord, Manifest
from staging.orders import OrderRecord
from staging.promises import promises
from staging.records.decoding import as_data, write
from staging.transfer import _Mark
from web.access.tokens import SCOPES, Token, parse_tokens
from web.files.ranges import NotSatisfiable, parse_ranges
from web.http.gateway import FileRange

RUNS = int(os.environ.get("FUZZ_RUNS", "50"))  # of each test
TESTS = 10
AS_THEY_COME = (Phase.explicit, Phase.generate)  # a text that fails is told of as it is
fuzzed = settings(
    phases=AS_THEY_COME, max_examples=RUNS, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("fuzz")
    sys.stdout.write(f"\n{TESTS * RUNS:,} texts were read\n")  # for who runs `make fuzz`


# URLs

PART = st.one_of(
    st.sampled_from(
        ["target", "R1-2.3", "..", ".", "", RESERVED_NAME, "%2e%2e", "a" * 250, "\0", "\\", "?", "#", "@", ":"]
    ),
    st.text(max_size=20),
)
URL = st.one_of(
    st.text(max_size=200),
    st.builds(
        lambda scheme, parts: scheme + "/".join(parts),
        st.sampled_from(
            ["gs://", "gs:", "gs:///", "GS://", "file://", "file:///srv/", "file:///srv/archive/", "http://"]
        ),
        st.lists(PART, max_size=8),
    ),
)
ROOTS = (Path("/srv/archive"),)


@fuzzed
@given(URL, st.booleans())
@example("gs://b/a/b", False)
def test_a_url_is_read_as_it_is_printed_and_leads_nowhere_else(text: str, any_depth: bool) -> None:
    try:
        url = ArchiveUrl.parse(text, ROOTS, any_depth)
    except InvalidArchiveUrl:
        return
    assert ArchiveUrl.parse(str(url), ROOTS, any_depth) == url
    parts = url.build_path.split("/") if url.build_path else []
    assert any_depth or len(parts) >= 2
    assert not {"", ".", "..", RESERVED_NAME} & set(parts)
    static = PurePosixPath("/static")
    assert static in (static / url.build_path, *(static / url.build_path).parents)
    assert str(url).isprintable() or not text.isprintable()
    AllowedArchives.parse([str(url)]).check(url)


# Ranges

NUMBER = st.one_of(
    st.integers(0, 50).map(str), st.integers(0, 2**70).map(str), st.text("0123456789-, \u0661", max_size=9)
)
RANGE = st.one_of(
    st.none(),
    st.text(max_size=50),
    st.lists(st.builds("{}-{}".format, NUMBER, NUMBER), max_size=6).map(lambda ranges: f"bytes={','.join(ranges)}"),
)


@fuzzed
@given(RANGE, st.one_of(st.integers(0, 60), st.integers(0, 2**62)))
def test_ranges_are_within_the_file(header: str | None, size: int) -> None:
    try:
        ranges = parse_ranges(header, size)
    except NotSatisfiable:
        return
    assert ranges is None or ranges
    for start, stop in ranges or []:
        assert 0 <= start < stop <= size
    assert sum(stop - start for start, stop in ranges or []) <= size


@fuzzed
@given(st.lists(st.integers(0, 1000), min_size=2, max_size=20, unique=True).map(sorted))
def test_ranges_are_read_as_they_are_printed(bounds: list[int]) -> None:
    ranges = [FileRange(start, stop) for start, stop in zip(bounds[::2], bounds[1::2], strict=False)]
    header = "bytes=" + ", ".join(f"{start}-{stop - 1}" for start, stop in ranges)
    assert parse_ranges(header, 1000) == ranges


# Manifests


def is_a_file_name(name: str) -> bool:
    """Whether Python may have it from a directory."""
    try:
        return os.fsdecode(os.fsencode(name)) == name
    except UnicodeEncodeError:
        return False


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=12,
)
NAME = st.text(st.characters(exclude_characters="/\0", exclude_categories=()), min_size=1, max_size=10).filter(
    lambda name: name not in (".", "..", ".devserver") and is_a_file_name(name)
)
OBJECT = st.builds(ArchiveObject, NAME, st.integers(0, 2**50), st.text(max_size=8), st.text(max_size=8))
RECORD = st.builds(
    ArtifactRecord,
    st.sampled_from(["staged", "absent"]),
    st.lists(OBJECT, max_size=3).map(tuple),
    st.floats(0, 1e10),
    st.integers(0, 10**9),
    st.integers(0, 2**60),
    st.dictionaries(NAME, NAME, max_size=3),
)
PRINTABLE = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=30)
ARTIFACT = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,9}\Z") | PRINTABLE.map(lambda text: f"file:{text}")
MANIFEST = st.builds(Manifest, PRINTABLE, st.dictionaries(ARTIFACT, RECORD, max_size=3))


def places_in(folder: Path) -> BuildPlaces:
    places = BuildPlaces(folder, "target/version")
    places.records.mkdir(parents=True, exist_ok=True)
    return places


@fuzzed
@given(manifest=MANIFEST)
def test_a_manifest_is_read_as_it_was_written(folder: Path, manifest: Manifest) -> None:
    places = places_in(folder)
    manifest.write(places)
    assert Manifest.read(places) == manifest


@fuzzed
@given(manifest=MANIFEST, where=st.lists(st.integers(0, 20), max_size=6), value=JSON)
def test_a_manifest_that_is_none_is_no_manifest(
    folder: Path, manifest: Manifest, where: list[int], value: object
) -> None:
    places = places_in(folder)
    manifest.write(places)
    places.manifest.write_text(json.dumps(changed(json.loads(places.manifest.read_text()), where, value)))
    try:
        read = Manifest.read(places)
    except RecordError:
        return
    if read is not None:
        assert isinstance(read.archive_url, str)
        for name, record in read.artifacts.items():
            read.satisfies(name, required=False)
            assert isinstance(record.size + record.files + record.staged_at, int | float)
            assert all(isinstance(item.size, int) and isinstance(item.name, str) for item in record.objects)
            assert all(isinstance(one, str) for pair in record.whole_files.items() for one in pair)


def changed(data: object, where: list[int], value: object) -> object:
    """``data`` with ``value`` in one place."""
    if not where or not isinstance(data, dict | list) or not data:
        return value
    if isinstance(data, list):
        index = where[0] % len(data)
        return [changed(item, where[1:], value) if number == index else item for number, item in enumerate(data)]
    key = sorted(data)[where[0] % len(data)]
    return {**data, key: changed(data[key], where[1:], value)}


@fuzzed
@given(content=st.one_of(st.binary(max_size=200), st.integers(1, 10**6).map(lambda depth: b"[" * min(depth, 200_000))))
def test_bytes_are_no_manifest(folder: Path, content: bytes) -> None:
    places = places_in(folder)
    places.manifest.write_bytes(content)
    with pytest.raises(RecordError):
        Manifest.read(places)


# Other records

WELL_FORMED = st.integers(0, 9) | st.tuples(st.integers(0, 9), st.sampled_from(["", "AAAAAA=="]))  # of one file
LIST = st.dictionaries(
    NAME,
    st.builds(FileRecord, st.integers(0, 2**50), st.text(st.characters(codec="ascii"), max_size=8), st.none() | NAME),
    max_size=4,
)


def written_records(folder: Path) -> dict[str, tuple[Path, Callable[[], object]]]:
    """A record of each kind that is as it should be: where it lies, and how it is read."""
    places = places_in(folder)
    order, mark = folder / "1.json", folder / "part.devserver-mark"
    record = ArtifactRecord("staged", (ArchiveObject("a", 1, "", "1"),), 1.0, 1, 1, {"a": "a"})
    write(order, {"format": 1, **as_data(OrderRecord("gs://b/t/v", "t/v", {"a": True}))})
    write(places.promises / "1.json", {"build_path": "target/version", "unpublished": 1, "unwritten": 1})
    write(mark, {"object": record.objects[0].to_json(), "offset": 0, "crc32c": 0})
    lease = {"id": "ab", "holder": "lab", "until": 2e10}
    write(places.holds, {"build": places.build_path, "pinned": False, "leases": [lease]})
    return {
        "order": (order, lambda: OrderRecord.read(order)),
        "promise": (places.promises / "1.json", lambda: list(promises(folder))),
        "mark": (mark, lambda: _Mark(folder / "part", record.objects[0]).verified(Flag())),
        "holds": (places.holds, lambda: holds_of(places).described()),
    }


@fuzzed
@given(files=LIST)
def test_a_list_of_files_is_read_as_it_was_written(folder: Path, files: dict[str, FileRecord]) -> None:
    path = folder / "x.files.json"
    write_list(path, files)
    path.read_bytes().decode()
    assert read_list(path) == files


@fuzzed
@given(data=JSON | st.dictionaries(st.text(max_size=12) | st.just("../x"), JSON | WELL_FORMED, max_size=3))
def test_a_list_of_files_names_nothing_outside_whatever_it_holds(folder: Path, data: object) -> None:
    path = folder / "x.files.json"
    path.write_text(json.dumps(data))
    try:
        files = read_list(path)
    except RecordError:
        return
    for name, record in (files or {}).items():
        assert not name.startswith("/")
        assert not {"", ".", ".."} & set(name.split("/"))
        assert record.size >= 0


@fuzzed
@given(
    kind=st.sampled_from(["order", "promise", "mark", "holds"]),
    where=st.lists(st.integers(0, 20), max_size=5),
    value=JSON,
    cut=st.none() | st.integers(0, 200),
)
def test_no_record_that_was_changed_fails_its_reader(
    folder: Path, kind: str, where: list[int], value: object, cut: int | None
) -> None:
    path, read = written_records(folder)[kind]
    text = json.dumps(changed(json.loads(path.read_text()), where, value))
    path.write_text(text if cut is None else text[:cut])
    with suppress(RecordError):
        read()


# Catalogues

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,10}", fullmatch=True)
ENTRY = st.builds(
    CatalogueEntry,
    name=NAMES,
    pattern=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="{}"), min_size=1, max_size=20),
    several=st.booleans(),
    synchronous=st.booleans(),
    required=st.just(True),
    on_request=st.booleans(),
    unpack=st.just(True),
    includes=st.lists(NAMES, max_size=3).map(tuple),
    excludes=st.lists(NAMES, max_size=3).map(tuple),
)
LINE = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    st.builds("{} = {}".format, st.sampled_from([*CatalogueEntry.__dataclass_fields__, "x"]), JSON.map(json.dumps)),
    st.sampled_from(["[[artifact]]", "[artifact]", "artifact = 1", "[" * 2000, "a" + ".a" * 3000 + " = 1"]),
)


@fuzzed
@given(entries=st.lists(ENTRY, min_size=1, max_size=3, unique_by=lambda entry: entry.name))
def test_a_catalogue_is_read_as_it_is_written(folder: Path, entries: list[CatalogueEntry]) -> None:
    path = folder / "catalogue.toml"
    tables = []
    for entry in entries:
        lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in asdict(entry).items()]
        tables.append("\n".join(["[[artifact]]", *lines]))
    path.write_text("\n".join(tables).replace("\x7f", "\\u007f"), encoding="utf-8")
    assert read_catalogue(path).entries == tuple(entries)


@fuzzed
@given(lines=st.lists(LINE, max_size=12), prefix=st.booleans())
def test_any_other_catalogue_is_told_what_is_wrong(folder: Path, lines: list[str], prefix: bool) -> None:
    path = folder / "catalogue.toml"
    path.write_text("\n".join([*(["[[artifact]]"] if prefix else []), *lines]), encoding="utf-8", newline="")
    try:
        catalogue = read_catalogue(path)
    except ConfigurationError:
        return
    assert len(catalogue.named(entry.name for entry in catalogue.entries)) == len(catalogue.entries)


# Tokens

TOKEN = st.builds(
    Token,
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", fullmatch=True),
    st.sets(st.sampled_from(SCOPES), min_size=1).map(frozenset),
    st.binary(min_size=32, max_size=32).map(bytes.hex),
)
WORD = st.one_of(
    st.text(max_size=10), st.sampled_from(["lab", "stage", "stage,read", "sha256:" + "0" * 64, "#", "\n", "\r"])
)


@fuzzed
@given(st.lists(TOKEN, max_size=5, unique_by=lambda token: token.name), st.sampled_from(["\n", "\r\n", "\n\n# more\n"]))
def test_tokens_are_read_as_they_are_printed(tokens: list[Token], end: str) -> None:
    assert parse_tokens("".join(token.line + end for token in tokens), "file") == tuple(tokens)


@fuzzed
@given(st.lists(WORD, max_size=12).map(" ".join))
def test_any_other_file_of_tokens_is_told_what_is_wrong(text: str) -> None:
    try:
        tokens = parse_tokens(text, "file")
    except ConfigurationError:
        return
    assert parse_tokens("\n".join(token.line for token in tokens), "again") == tokens
