"""The catalogue: which artifacts a build has, read from a TOML file."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any

from artifacts.patterns import Pattern
from staging.archives import ArchiveUrl
from staging.errors import ConfigurationError
from staging.layout import RESERVED_NAME

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_CATALOGUE = Path(__file__).with_name("default_catalogue.toml")
BEHAVIOURS = ("", "au_test_payload", "autotest")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_FIELD, _BRACES = re.compile(r"\{[a-z]\}"), re.compile(r"[{}]")
_PLACEHOLDERS = ("name", "target", "version")


@dataclass(frozen=True)
class CatalogueEntry:
    """One artifact as the catalogue describes it; ``default_catalogue.toml`` says what each field means."""

    name: str
    pattern: str
    synchronous: bool = False
    required: bool = True
    unpack: bool = False
    excludes: tuple[str, ...] = ()
    destination: str = ""
    behaviour: str = ""

    def matches(self, object_name: str) -> bool:
        """Whether the object of that name is this artifact's."""
        return Pattern(self.pattern).matches(object_name)

    def destination_of(self, url: ArchiveUrl, object_name: str) -> str:
        """Where the object is staged, relative to the build's directory."""
        template = self.destination or ("" if self.unpack else "{name}")
        values = {"name": object_name, "target": url.target, "version": url.version}
        return _PLACEHOLDER.sub(lambda match: values[match[1]], template)


def read_catalogue(path: Path = DEFAULT_CATALOGUE) -> tuple[CatalogueEntry, ...]:
    """The entries of the catalogue in the file ``path``, in its order.

    Raises:
        ConfigurationError: names the file, the entry and what is wrong with it.

    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(str(path), f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(str(path), f"is not TOML: {error}") from error
    unknown = set(data) - {"artifact"}
    if unknown:
        raise ConfigurationError(str(path), f"holds {sorted(unknown)[0]!r}; a catalogue holds [[artifact]] only")
    tables = data.get("artifact")
    if not isinstance(tables, list) or not tables:
        raise ConfigurationError(str(path), "holds no [[artifact]]")
    entries = [_entry(path, number, table) for number, table in enumerate(tables, start=1)]
    _check_names(path, entries)
    return tuple(entries)


def _entry(path: Path, number: int, table: Any) -> CatalogueEntry:
    where = f"{path}, artifact {number}"
    if not isinstance(table, Mapping):
        raise ConfigurationError(where, "is not a table; write [[artifact]]")
    if isinstance(table.get("name"), str):
        where += f" ({table['name']})"
    known = {field.name: field for field in fields(CatalogueEntry)}
    for key, value in table.items():
        if key not in known:
            raise ConfigurationError(where, f"has no field {key!r}; there are {', '.join(known)}")
        _check_type(where, key, value, str(known[key].type))
    for key, field in known.items():
        if field.default is MISSING and key not in table:
            raise ConfigurationError(where, f"lacks {key!r}")
    entry = CatalogueEntry(**{**table, "excludes": tuple(table.get("excludes", ()))})
    _check_values(where, entry)
    return entry


def _check_type(where: str, key: str, value: Any, wanted: str) -> None:
    is_right = {
        "str": isinstance(value, str),
        "bool": isinstance(value, bool),
        "tuple[str, ...]": isinstance(value, list) and all(isinstance(item, str) for item in value),
    }[wanted]
    if not is_right:
        name = {"str": "a string", "bool": "true or false", "tuple[str, ...]": "a list of strings"}[wanted]
        raise ConfigurationError(where, f"{key} should be {name}, not {value!r}")


def _check_values(where: str, entry: CatalogueEntry) -> None:
    rules = (
        (_NAME.fullmatch(entry.name), "name should be letters, digits, '_', '-' and '.', 100 at most"),
        (entry.pattern, "pattern is empty"),
        (entry.behaviour in BEHAVIOURS, f"behaviour should be one of {', '.join(BEHAVIOURS[1:])}"),
        (entry.unpack or not entry.excludes, "excludes says what not to unpack, and goes with unpack = true"),
        (entry.unpack or entry.behaviour != "autotest", "behaviour autotest goes with unpack = true"),
        (not (entry.destination and entry.behaviour == "autotest"), "behaviour autotest unpacks into the build itself"),
        (
            "/" in entry.destination or entry.behaviour != "au_test_payload",
            "behaviour au_test_payload wants a directory of its own in destination",
        ),
        (not _BRACES.search(_FIELD.sub("", entry.pattern)), "a field in pattern is one letter, as in {a}"),
        (not (entry.unpack and entry.behaviour == "au_test_payload"), "behaviour au_test_payload unpacks nothing"),
    )
    for is_kept, reason in rules:
        if not is_kept:
            raise ConfigurationError(where, reason)
    for placeholder in _PLACEHOLDER.findall(entry.destination):
        if placeholder not in _PLACEHOLDERS:
            raise ConfigurationError(
                where, f"destination holds {{{placeholder}}}; there are {', '.join(_PLACEHOLDERS)}"
            )
    for path in (entry.destination, *entry.excludes):
        parts = PurePosixPath(path).parts
        if path.startswith("/") or "." in path.split("/") or ".." in parts or RESERVED_NAME in parts:
            raise ConfigurationError(where, f"{path!r} leaves the build's directory, or is the devserver's own")


def _check_names(path: Path, entries: Sequence[CatalogueEntry]) -> None:
    names = [entry.name for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(str(path), f"names {name!r} twice")
    destinations = [entry.destination for entry in entries if entry.destination and not entry.unpack]
    for destination in destinations:
        if destinations.count(destination) > 1:
            raise ConfigurationError(str(path), f"stages two artifacts as {destination!r}")
