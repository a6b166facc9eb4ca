"""Records on the disk and files of the operator: any bytes give values that keep their promises, or an error."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from artifacts.catalogue import read_catalogue
from staging.errors import ConfigurationError, RecordError
from staging.file_lists import read_list
from staging.holds import holds_of
from staging.layout import BuildPlaces
from staging.manifest import Manifest
from staging.orders import OrderRecord
from staging.paths import are_published, fault_of_artifact, fault_of_build_path
from web.access.tokens import parse_tokens

_PLACE = Path(tempfile.mkdtemp(prefix=f"fuzz-{os.getpid()}-"))
_PLACES = BuildPlaces(_PLACE, "target/version")


def manifest(data: bytes) -> None:
    """The manifest of a build."""
    try:
        read = Manifest.parsed(data)
    except RecordError:
        return
    for name, record in read.artifacts.items():
        assert not fault_of_artifact(name), "an artifact that nothing is called"
        read.satisfies(name, required=True)
        assert record.size + record.files >= 0, "less than nothing"
    read.write(_places())
    assert Manifest.read(_PLACES) == read, "it is not read as it was written"


def order(data: bytes) -> None:
    """An order that an earlier devserver left."""
    path = _PLACE / "order.json"
    path.write_bytes(data)
    try:
        read = OrderRecord.read(path)
    except RecordError:
        return
    assert read is None or not fault_of_build_path(read.build_path), "it leads out of the directory"


def file_list(data: bytes) -> None:
    """The list of an artifact's files."""
    path = _PLACE / "list.json"
    path.write_bytes(data)
    try:
        read = read_list(path)
    except RecordError:
        return
    assert read is None or are_published(read), "it names what no artifact may publish"


def holds(data: bytes) -> None:
    """The leases of a build, and whether it is pinned."""
    _PLACES.holds.parent.mkdir(parents=True, exist_ok=True)
    _PLACES.holds.write_bytes(data)
    try:
        holds_of(_PLACES).described()
    except RecordError:
        return


def catalogue(data: bytes) -> None:
    """A catalogue of artifacts."""
    path = _PLACE / "catalogue.toml"
    path.write_bytes(data)
    try:
        read = read_catalogue(path)
    except ConfigurationError as error:
        assert str(error), "nothing is said"
        return
    assert len(read.named(entry.name for entry in read.entries)) == len(read.entries)


def tokens(data: bytes) -> None:
    """A file of tokens."""
    text = data.decode("utf-8", "replace")
    try:
        read = parse_tokens(text, "file")
    except ConfigurationError:
        return
    assert parse_tokens("\n".join(token.line for token in read), "again") == read


def _places() -> BuildPlaces:
    _PLACES.records.mkdir(parents=True, exist_ok=True)
    return _PLACES
