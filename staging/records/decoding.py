"""From a record's text to an object of its type, and back: strict, and nothing that a later version added is lost.

A type of record is a dataclass, as msgspec reads them. One that has a field ``unknown: Any = None`` gets there what
else its JSON object held, and writes it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple, TypeVar, get_args, get_type_hints

import msgspec

from staging.errors import DevServerError, NewerFormat, RecordMalformed
from staging.records.files import read_bytes, write_bytes
from staging.records.names import spelled, understood
from staging.records.text import encoded, is_deep, raw_data_of

T = TypeVar("T")
Makers = Mapping[type[Any], Callable[[Any], Any]]  # of what is no record: by its type, what makes it of its data

LARGEST = 2**60
Count = Annotated[int, msgspec.Meta(ge=0, le=LARGEST)]  # of bytes, files, tries
Moment = Annotated[float, msgspec.Meta(ge=0, le=1e11)]  # seconds since the epoch
Text = Annotated[str, msgspec.Meta(max_length=32 * 1024)]  # of a message: a name, an address, a sentence

_UNKNOWN = "unknown"
_LOCK = Lock()
_KNOWN: set[type[Any]] = set()
_WRONG = (ValueError, TypeError, OverflowError, RecursionError)


def read(kind: type[T], path: Path, what: str = "", newest: int | None = None) -> T | None:
    """The record of type ``kind`` in the file ``path``, of a format up to ``newest`` where it states one.

    Returns: None where there is no such file.

    Raises:
        RecordMalformed, RecordUnreadable, NewerFormat

    """
    text = read_bytes(path, what)
    return None if text is None else parsed(kind, text, what or path.name, newest)


def parsed(kind: type[T], text: bytes, what: str, newest: int | None = None) -> T:
    """The record of type ``kind`` that ``text`` is.

    Raises:
        RecordMalformed, NewerFormat

    """
    try:
        raw = raw_data_of(text)
    except _WRONG:
        raise RecordMalformed(what, "it is no JSON, or nested too deep") from None
    _check_format(raw, what, newest)
    if not _shape_of(_any(kind)).keeps_unknown and is_deep(raw):
        raise RecordMalformed(what, "it is nested too deep")
    return converted(kind, raw, what)


def converted(kind: type[T], raw: Any, what: str) -> T:
    """The record of type ``kind`` that is written as the data ``raw``.

    Raises:
        RecordMalformed

    """
    try:
        return made(kind, raw)
    except Wrong as error:
        raise RecordMalformed(what, f"it has {error}") from None


class Wrong(ValueError):
    """Data that is not of its type.

    Attributes:
        place: the field that is wrong; empty where all is.
        is_missing: whether it is not there.

    """

    def __init__(self, place: str = "", is_missing: bool = False) -> None:
        self.place, self.is_missing = place, is_missing
        super().__init__(f"{'no' if is_missing else 'a wrong'} {place or 'shape'}")


def made(kind: type[T], raw: Any, makers: Makers = MappingProxyType({})) -> T:
    """The object of type ``kind`` that is written as the data ``raw``; ``makers`` may know types that are no records.

    Raises:
        Wrong

    """
    _make_known(kind)
    try:
        return _with_unknown(msgspec.convert(raw, kind, dec_hook=lambda *asked: _made_by(makers, *asked)), raw)
    except _WRONG as error:
        raise _wrong(str(error)) if isinstance(error, msgspec.ValidationError) else Wrong from None


def _made_by(makers: Makers, kind: type[Any], raw: Any) -> Any:
    return (makers.get(kind) or _OWN[kind])(raw)


def _path(raw: Any) -> Path:
    if not isinstance(raw, str) or "\0" in raw:
        raise Wrong
    return Path(understood(raw))


def _wrong(told: str) -> Wrong:
    """What msgspec says is wrong, without the value that is, which may be anything."""
    if told.startswith(_MISSING):
        return Wrong(told.removeprefix(_MISSING).partition("`")[0], is_missing=True)
    what, _, place = told.rpartition(" - at ")
    return Wrong(place.replace("`key` in ", "").strip("`$.") if what else "")


_OWN: Makers = {Path: _path}
_MISSING = "Object missing required field `"


def _make_known(kind: type[Any]) -> None:
    """Have msgspec look at a type before threads share it: two that do so for the first time at once crash it."""
    if kind not in _KNOWN:
        with _LOCK:
            msgspec.json.Decoder(kind)
            _KNOWN.add(kind)


def as_data(record: Any) -> Any:
    """The JSON-safe data that a record is written as."""
    if isinstance(record, (str, int, float)) and not isinstance(record, Enum):
        return record
    if is_dataclass(record):
        if not _shape_of(_type_of(record)).keeps_any:
            return msgspec.to_builtins(record, enc_hook=_plain)
        known = {name: as_data(getattr(record, name)) for name in _names_of(_type_of(record))}
        return {**(getattr(record, _UNKNOWN, None) or {}), **known}
    if isinstance(record, Mapping):
        return {name: as_data(one) for name, one in record.items()}
    if isinstance(record, (list, tuple)):
        return [as_data(one) for one in record]
    return msgspec.to_builtins(record, enc_hook=_plain)


def _plain(value: Any) -> Any:
    """The data of what is no record."""
    if isinstance(value, Path):
        return spelled(str(value))
    if isinstance(value, DevServerError):
        return value.to_json()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(type(value))


def _type_of(record: Any) -> Any:
    return type(record)


def _any(kind: Any) -> Any:
    return kind


@cache
def _names_of(kind: Any) -> Sequence[str]:
    return [one.name for one in fields(kind) if one.name != _UNKNOWN]


def write(path: Path, data: Any, indent: int | None = 1, through: Path | None = None) -> None:
    """Replace the record at ``path``. ``indent`` is for people; None is for what nobody reads. ``through`` is as of
    :func:`write_bytes`.

    Raises:
        OSError

    """
    text = encoded(data)
    write_bytes(path, text if indent is None else msgspec.json.format(text, indent=indent), through=through)


def _check_format(raw: Any, what: str, newest: int | None) -> None:
    if not isinstance(raw, dict):
        raise RecordMalformed(what, "it is no JSON object")
    number = raw.get("format", newest)
    if newest is None:
        return
    if type(number) is not int or number < 1:
        raise RecordMalformed(what, "it states no format")
    if number > newest:
        raise NewerFormat(what, str(number))


def _with_unknown(value: T, raw: Any) -> T:
    """``value``, which was made of ``raw``, with what its type has no field for."""
    if is_dataclass(value):
        _take_unknown(value, _shape_of(_type_of(value)), raw)
    return value


def _take_unknown(value: Any, shape: _Shape, raw: Mapping[str, Any]) -> None:
    for name, inner in shape.inner:
        part = getattr(value, name)
        if name not in raw or not part:
            continue
        for one, data in _pairs(part, raw[name]):
            _take_unknown(one, inner, data)
    if shape.keeps_unknown and not raw.keys() <= shape.known:
        unknown = {name: raw[name] for name in raw if name not in shape.known}
        if is_deep(unknown):
            raise ValueError("nested too deep")
        object.__setattr__(value, _UNKNOWN, unknown)


def _pairs(part: Any, raw: Any) -> Iterable[tuple[Any, Any]]:
    """Each record of a field, and what it was made of."""
    if isinstance(part, dict):
        return ((part[key], raw[key]) for key in part)
    return zip(part, raw, strict=True) if isinstance(part, (list, tuple)) else [(part, raw)]


class _Shape(NamedTuple):
    """A type of record.

    Attributes:
        known: its own fields.
        inner: of them, those that are or hold records, and the type of these.
        keeps_unknown: whether it keeps what else it is given.
        keeps_any: whether it does, or one that it is or holds.

    """

    known: frozenset[str]
    inner: Sequence[tuple[str, _Shape]]
    keeps_unknown: bool
    keeps_any: bool


@cache
def _shape_of(kind: Any) -> _Shape:
    hints = get_type_hints(kind)
    known = {name: _record_in(hint) for name, hint in hints.items() if name != _UNKNOWN}
    inner = [(name, _shape_of(one)) for name, one in known.items() if one is not None]
    keeps = _UNKNOWN in hints
    return _Shape(frozenset(known), inner, keeps, keeps or any(shape.keeps_any for _, shape in inner))


def _record_in(hint: Any) -> Any:
    """The type of record that a field is, or holds in a list or an object; None where it has nothing of records."""
    return next((one for one in (hint, *get_args(hint)) if is_dataclass(one)), None)
