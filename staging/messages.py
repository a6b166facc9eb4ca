"""What a worker tells of its job, whichever way it came: input, for a worker handles what strangers wrote.

What a later version says more is left out.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec

from staging.errors import (
    ArchiveError,
    Cancelled,
    DevServerError,
    InternalFailure,
    RequestError,
    StagingError,
    error_classes,
)
from staging.records.decoding import LARGEST, Text, Wrong, made
from staging.status import Event

T = TypeVar("T")

TELLABLE = (ArchiveError, StagingError, Cancelled, RequestError)  # what may become of a job
MOST_TEXTS = 100  # in a list
_ARGUMENTS: Mapping[str, Any] = {
    "str": Text,
    "float": Annotated[float, msgspec.Meta(ge=0, le=LARGEST)],
    "list[str]": Annotated[list[Text], msgspec.Meta(max_length=MOST_TEXTS)],
}


class BadMessage(ValueError):
    """What came is none of the messages that are told."""


class Expected(NamedTuple):
    """What a job may be told of; None stands for anything.

    Attributes:
        build: its build path.
        artifacts: the names of its artifacts.

    """

    build: str | None = None
    artifacts: frozenset[str] | None = None


ANYTHING = Expected()


@dataclass(frozen=True)
class _Cause:
    """An error as it is written."""

    kind: Text
    args: list[Any]


def message_of(kind: type[T], data: Any, what: str) -> T:
    """The message of type ``kind``, which errors call ``what``.

    Raises:
        BadMessage

    """
    try:
        return made(kind, data, {DevServerError: cause_of})
    except Wrong as error:
        raise BadMessage(f"{what} with {error}") from None


def event_of(data: Any, expected: Expected = ANYTHING) -> Event:
    """The event that a worker tells.

    Raises:
        BadMessage: it is none, or of what is not ``expected``.

    """
    return checked(message_of(Event, data, "an event"), expected)


def checked(event: Event, expected: Expected) -> Event:
    """An event of what is expected, with nothing in its texts that could pass for a line of the log.

    Raises:
        BadMessage

    """
    if expected.build not in (None, event.build):
        raise BadMessage("an event of another build")
    if expected.artifacts is not None and event.artifact not in expected.artifacts:
        raise BadMessage("an event of an artifact that its job does not have")
    if event.retry and event.retry not in error_classes():
        raise BadMessage("an event with a wrong retry")
    if event.note.isprintable() and event.trouble.isprintable():
        return event
    return replace(event, note=in_one_line(event.note), trouble=in_one_line(event.trouble))


def cause_of(data: Any, among: tuple[type[DevServerError], ...] = TELLABLE) -> DevServerError:
    """The error that is written as ``data``, of one of the kinds ``among``, with nothing in its texts that could pass
    for a line of the log.

    Raises:
        BadMessage

    """
    written = message_of(_Cause, data, "a cause")
    kind = error_classes().get(written.kind)
    if kind is None or not issubclass(kind, among):
        raise BadMessage("a cause of a kind that no job has")
    try:
        arguments = msgspec.structs.astuple(made(_arguments_of(kind.__name__), written.args))
    except ValueError:
        raise BadMessage(f"a cause that is no {kind.__name__}") from None
    plain = list(map(_plain, arguments))
    if kind is InternalFailure:
        plain[1] = "\n    | ".join(map(in_one_line, arguments[1].split("\n")))
    return kind(*plain)


@cache
def _arguments_of(kind: str) -> Any:
    """The type of an error's arguments, which raises ``ValueError`` where only others are kinds of it."""
    parameters = inspect.signature(error_classes()[kind]).parameters.values()
    if not all(one.annotation in _ARGUMENTS for one in parameters):
        raise ValueError(kind)
    fields = [
        (one.name, _ARGUMENTS[one.annotation], *(() if one.default is one.empty else (one.default,)))
        for one in parameters
    ]
    return msgspec.defstruct(kind, fields, array_like=True, forbid_unknown_fields=True)


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [in_one_line(one) for one in value]
    return in_one_line(value) if isinstance(value, str) else value


def in_one_line(text: str) -> str:
    """``text`` with what is no character of a line written as an escape."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
