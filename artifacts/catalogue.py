"""The catalogue: which artifacts a build has, read from a TOML file; and files that requests name."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any

from artifacts.patterns import Pattern, literal_start, wildcards_in
from staging.archives import UNPRINTABLE, ArchiveUrl
from staging.errors import ConfigurationError, InvalidParameter, UnknownArtifact
from staging.layout import RESERVED_NAME
from staging.paths import fault_of_parts, fault_of_path
from staging.records.decoding import Wrong, made

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_CATALOGUE = Path(__file__).with_name("default_catalogue.toml")
REFUSE, SKIP = "refuse", "skip"  # what becomes of an object that holds what may not be, or of that alone
BEHAVIOURS = ("", "au_test_payload", "autotest")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_FIELD, _BRACES = re.compile(r"\{[a-z]\}"), re.compile(r"[{}]")
_PLACEHOLDERS = ("name", "target", "version")
_TYPES = {"str": "a string", "bool": "true or false", "tuple[str, ...]": "a list of strings"}
MOST_WILDCARDS = 32  # in the name of a file that somebody asks for
FILE = "file:"  # what the name of an artifact begins with that is a file somebody named; no catalogue's has a colon


@dataclass(frozen=True)
class CatalogueEntry:
    """One artifact as the catalogue describes it; ``default_catalogue.toml`` says what each field means."""

    name: str
    pattern: str
    otherwise: str = ""
    several: bool = False
    synchronous: bool = False
    required: bool = True
    on_request: bool = False
    brings: tuple[str, ...] = ()
    unpack: bool = False
    includes: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    unsafe: str = REFUSE
    destination: str = ""
    behaviour: str = ""

    @property
    def is_file(self) -> bool:
        """Whether this is a file that a request names, and no artifact of the catalogue."""
        return self.name.startswith(FILE)

    @property
    def exact_names(self) -> list[str] | None:
        """The objects that this is the first of that is there; None where it takes a listing to find them."""
        patterns = self.patterns
        if self.is_file and has_too_many_wildcards(self.pattern):
            return patterns
        return patterns if all(self._start_of(pattern) == pattern for pattern in patterns) else None

    @property
    def patterns(self) -> list[str]:
        """What its objects' names are of: the first of these that any is of counts."""
        return [pattern for pattern in (self.pattern, self.otherwise) if pattern]

    @property
    def where(self) -> list[tuple[str, bool]]:
        """What the names of its objects begin with, of each pattern, and whether no ``/`` comes behind that."""
        starts = [(pattern, self._start_of(pattern)) for pattern in self.patterns]
        return [(start, "/" not in pattern[len(start) :]) for pattern, start in starts]

    def _start_of(self, pattern: str) -> str:
        return literal_start(pattern, not self.is_file)

    def chosen(self, object_names: Iterable[str]) -> list[str]:
        """Which of the objects are this artifact's. Of a file that somebody named, the one of that very name comes
        first, whatever signs of a pattern it holds.
        """
        names = list(object_names)
        if self.is_file and (self.pattern in names or self.exact_names is not None):
            return [name for name in names if name == self.pattern]
        for pattern in self.patterns:
            matching = [name for name in names if Pattern(pattern, not self.is_file).matches(name)]
            if matching:
                return matching
        return []

    def destination_of(self, url: ArchiveUrl, object_name: str) -> str:
        """Where the object is staged, relative to the build's directory."""
        template = self.destination or ("" if self.unpack else "{name}")
        values = {"name": object_name, "target": url.target, "version": url.version}
        return _PLACEHOLDER.sub(lambda match: values[match[1]], template)


class Catalogue:
    """The artifacts that builds have, in the order of their file.

    It may become another while it is used: what was ordered until then is staged as it was ordered.

    Attributes:
        is_required: whether a build has to have it, of each artifact that ``/download`` stages, by name.

    """

    def __init__(self, entries: Sequence[CatalogueEntry]) -> None:
        self._by_name = {entry.name: entry for entry in entries}
        self.is_required = {entry.name: entry.required for entry in self.of_a_download}

    def become(self, other: Catalogue) -> None:
        """Have the artifacts of another from now on."""
        self._by_name = other._by_name
        self.is_required = other.is_required

    @property
    def entries(self) -> tuple[CatalogueEntry, ...]:
        """All artifacts."""
        return tuple(self._by_name.values())

    @property
    def of_a_download(self) -> tuple[CatalogueEntry, ...]:
        """What ``/download`` stages: all that does not wait to be asked for by name."""
        return tuple(entry for entry in self.entries if not entry.on_request)

    def named(self, names: Iterable[str]) -> list[CatalogueEntry]:
        """The artifacts of these names, each of which a build has to have, once.

        Raises:
            UnknownArtifact: names the nearest there are.

        """
        found, known = {}, self._by_name
        for name in names:
            if name not in known:
                raise UnknownArtifact(name, get_close_matches(name, known) or sorted(known))
            found[name] = replace(known[name], required=True)
        return list(found.values())

    def pattern_of(self, name: str) -> str:
        """The pattern of the names of the objects of the artifact ``name``, or of a file that a request names."""
        entry = self._by_name.get(name)
        return entry.pattern if entry is not None else name.removeprefix(FILE)

    def brought_by(self, entries: Sequence[CatalogueEntry]) -> list[CatalogueEntry]:
        """What comes along with ``entries``, where the build has it, and is not among them."""
        names = {name: None for entry in entries for name in entry.brings}
        for entry in entries:
            names.pop(entry.name, None)
        known = self._by_name
        return [replace(known[name], required=False) for name in names if name in known]


def file_artifact(pattern: str, is_pattern: bool = True) -> CatalogueEntry:
    """The artifact that is the file of a build that is called ``pattern``, or those whose names are of it, as they are.

    ``*`` and ``?`` are the shell's, unless it ``is_pattern`` of nothing; all else stands for itself.

    Raises:
        InvalidParameter: no object of a build has such a name, or it has more wildcards than a request may.

    """
    parts = pattern.split("/")
    if {".", ".."} & set(parts) or RESERVED_NAME in parts:
        raise InvalidParameter("files", f"{pattern!r} leaves the build's directory, or is the devserver's own")
    if UNPRINTABLE.search(pattern):
        raise InvalidParameter("files", f"{pattern!r} holds a control character")
    # What ends with a slash is a directory, which no object of a build is.
    named = parts[:-1] if len(parts) > 1 and not parts[-1] else parts
    fault = fault_of_parts(named) if wildcards_in(pattern) else fault_of_path("/".join(named))
    if fault:
        raise InvalidParameter("files", f"{pattern!r} cannot be staged: {fault}")
    if is_pattern and has_too_many_wildcards(pattern):
        raise InvalidParameter("files", f"a pattern has more than {MOST_WILDCARDS} wildcards, which are * and ?")
    return CatalogueEntry(f"{FILE}{pattern}", pattern, several=True, synchronous=True, on_request=True)


def has_too_many_wildcards(pattern: str) -> bool:
    """Whether a text cannot be a pattern that a request gives: it may be an object's own name."""
    return wildcards_in(pattern) > MOST_WILDCARDS


def read_catalogue(path: Path = DEFAULT_CATALOGUE) -> Catalogue:
    """The catalogue in the file ``path``.

    Raises:
        ConfigurationError: names the file, the entry and what is wrong with it.

    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(str(path), f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
    except ValueError as error:  # of a number that is too long, another than of what else is no TOML
        raise ConfigurationError(str(path), f"is not TOML: {error}") from error
    except RecursionError:
        raise ConfigurationError(str(path), "is not TOML that anybody would write: it is nested too deep") from None
    unknown = set(data) - {"artifact"}
    if unknown:
        raise ConfigurationError(str(path), f"holds {sorted(unknown)[0]!r}; a catalogue holds [[artifact]] only")
    tables = data.get("artifact")
    if not isinstance(tables, list) or not tables:
        raise ConfigurationError(str(path), "holds no [[artifact]]")
    entries = [_entry(path, number, table) for number, table in enumerate(tables, start=1)]
    _check_names(path, entries)
    return Catalogue(entries)


def _entry(path: Path, number: int, table: Any) -> CatalogueEntry:
    where = f"{path}, artifact {number}"
    if not isinstance(table, Mapping):
        raise ConfigurationError(where, "is not a table; write [[artifact]]")
    if isinstance(table.get("name"), str):
        where += f" ({table['name']})"
    types = {field.name: str(field.type) for field in fields(CatalogueEntry)}
    for key in table:
        if key not in types:
            raise ConfigurationError(where, f"has no field {key!r}; there are {', '.join(types)}")
    try:
        entry = made(CatalogueEntry, table)
    except Wrong as error:
        key = error.place.partition("[")[0]
        if error.is_missing:
            raise ConfigurationError(where, f"lacks {key!r}") from None
        raise ConfigurationError(where, f"{key} should be {_TYPES[types[key]]}, not {table[key]!r}") from None
    fault = _fault_of_values(entry)
    if fault:
        raise ConfigurationError(where, fault)
    return entry


def fault_of_entry(entry: CatalogueEntry, objects: Collection[str] = ()) -> str:
    """Why neither a catalogue nor a request has this artifact, which is made of ``objects``; empty where one may."""
    if not entry.is_file:
        return _fault_of_values(replace(entry, required=True))  # what another brings along need not be there
    try:
        is_pattern = list(objects) != [entry.pattern]
        is_right = replace(file_artifact(entry.pattern, is_pattern), required=entry.required) == entry
    except InvalidParameter as error:
        return error.reason
    return "" if is_right else "it is more than a file that somebody named"


def _fault_of_values(entry: CatalogueEntry) -> str:
    rules = (
        (_NAME.fullmatch(entry.name), "name should be letters, digits, '_', '-' and '.', 100 at most"),
        (entry.pattern, "pattern is empty"),
        (entry.behaviour in BEHAVIOURS, f"behaviour should be one of {', '.join(BEHAVIOURS[1:])}"),
        (entry.unpack or not entry.excludes, "excludes says what not to unpack, and goes with unpack = true"),
        (entry.unpack or not entry.includes, "includes says what alone to unpack, and goes with unpack = true"),
        (entry.unsafe in (REFUSE, SKIP), f"unsafe should be {REFUSE!r} or {SKIP!r}"),
        (entry.unpack or entry.unsafe == REFUSE, "unsafe says what becomes of members, and goes with unpack = true"),
        (entry.required or not entry.on_request, "on_request goes without required = false: who asks for it wants it"),
        (entry.unpack or entry.behaviour != "autotest", "behaviour autotest goes with unpack = true"),
        (not (entry.destination and entry.behaviour == "autotest"), "behaviour autotest unpacks into the build itself"),
        (
            "/" in entry.destination or entry.behaviour != "au_test_payload",
            "behaviour au_test_payload wants a directory of its own in destination",
        ),
        (
            not _BRACES.search(_FIELD.sub("", entry.pattern + entry.otherwise)),
            "a field in pattern or otherwise is one letter, as in {a}",
        ),
        (
            not (entry.several and entry.destination and "{name}" not in entry.destination and not entry.unpack),
            "several objects cannot become one file: put {name} into destination",
        ),
        (not (entry.unpack and entry.behaviour == "au_test_payload"), "behaviour au_test_payload unpacks nothing"),
    )
    for is_kept, reason in rules:
        if not is_kept:
            return reason
    for placeholder in _PLACEHOLDER.findall(entry.destination):
        if placeholder not in _PLACEHOLDERS:
            return f"destination holds {{{placeholder}}}; there are {', '.join(_PLACEHOLDERS)}"
    for path in (entry.destination, *entry.includes, *entry.excludes):
        parts = PurePosixPath(path).parts
        if path.startswith("/") or "." in path.split("/") or ".." in parts or RESERVED_NAME in parts:
            return f"{path!r} leaves the build's directory, or is the devserver's own"
    return ""


def _check_names(path: Path, entries: Sequence[CatalogueEntry]) -> None:
    names = [entry.name for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(str(path), f"names {name!r} twice")
    for entry in entries:
        for name in entry.brings:
            if name not in names:
                raise ConfigurationError(str(path), f"has {entry.name!r} bring {name!r}, which it does not hold")
    destinations = [entry.destination for entry in entries if entry.destination and not entry.unpack]
    for destination in destinations:
        if destinations.count(destination) > 1:
            raise ConfigurationError(str(path), f"stages two artifacts as {destination!r}")
