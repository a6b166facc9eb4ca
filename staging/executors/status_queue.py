"""The status queue: what a worker tells the devserver of its job, through a pipe, one message after the other.

A message is its length in four bytes, and JSON: a list of its kind and its content. The reader takes nothing for
granted: a worker handles what strangers wrote, and whatever it was made to send is data, and of the job that it was
given.
"""

from __future__ import annotations

import inspect
import json
import math
import os
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, NoReturn

from staging.errors import (
    ArchiveError,
    Cancelled,
    DevServerError,
    InternalFailure,
    InvalidArchiveUrl,
    StagingError,
    error_classes,
    error_from_json,
)
from staging.status import Event, State
from staging.writing import write_all

LARGEST = 256 * 1024  # bytes of a message
_LONGEST_TEXT = 16 * 1024  # characters of one text in it; of a longer one, the end says more
_MOST_TEXTS = 100  # in a list
_LARGEST_NUMBER = 2**50  # bytes
_PIECE = 64 * 1024
_LENGTH = struct.Struct("!I")
_TELLABLE = (ArchiveError, StagingError, Cancelled, InvalidArchiveUrl)  # what may become of a job

Json = dict[str, Any]


class BadMessage(Exception):
    """A worker sent what no worker sends."""


class Expected(NamedTuple):
    """What a job may be told of; None stands for anything.

    Attributes:
        build: its build path.
        artifacts: the names of its artifacts.

    """

    build: str | None = None
    artifacts: frozenset[str] | None = None


ANYTHING = Expected()


class Message(NamedTuple):
    """What a worker told: ``alive``, ``done``, ``event`` with that, or ``failed`` with the cause."""

    kind: str
    event: Event | None = None
    cause: DevServerError | None = None


class StatusQueue:
    """One end of the pipe: a worker's, which puts messages, or the devserver's, which gets them.

    A pipe has no lock that a killed worker could take with it, and its end of file says that the worker is gone.
    """

    def __init__(self, descriptor: int, expected: Expected = ANYTHING) -> None:
        """``expected`` is what messages may be about, for the reader."""
        self._descriptor = descriptor
        self._expected = expected
        self._lock = threading.Lock()
        self._unread = bytearray()

    def put(self, kind: str, content: Json | None = None) -> None:
        """Send one message, wholly.

        Raises:
            OSError: the reader is gone.

        """
        text = json.dumps([kind, _shortened(content)]).encode()
        with self._lock:
            write_all(self._descriptor, _LENGTH.pack(len(text)) + text)

    def get(self) -> Message | None:
        """The next message; None where it has not come wholly yet. Waits for nothing if the pipe does not block.

        Raises:
            BadMessage: what came is none.
            EOFError: there will be no more.

        """
        message = self._taken()
        if message is None:
            try:
                piece = os.read(self._descriptor, _PIECE)
            except BlockingIOError:
                return None
            if not piece:
                raise EOFError
            self._unread += piece
            message = self._taken()
        return message

    def messages(self) -> Iterator[Message]:
        """All that have come; raises like :meth:`get`."""
        while (message := self.get()) is not None:
            yield message

    def do_not_block(self) -> None:
        """Have :meth:`get` return at once."""
        os.set_blocking(self._descriptor, False)

    def fileno(self) -> int:
        """What to wait for."""
        return self._descriptor

    def _taken(self) -> Message | None:
        """The message at the head of what was read, if all of it is there."""
        if len(self._unread) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._unread)
        if length > LARGEST:
            raise BadMessage(f"a message of {length} bytes")
        if len(self._unread) < _LENGTH.size + length:
            return None
        text = bytes(self._unread[_LENGTH.size : _LENGTH.size + length])
        del self._unread[: _LENGTH.size + length]
        return parsed(text, self._expected)


def parsed(text: bytes, expected: Expected) -> Message:
    """The message that ``text`` is.

    Raises:
        BadMessage: it is none, or about what is not ``expected``.

    """
    try:
        data = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise BadMessage("what is no JSON") from error
    if not isinstance(data, list) or len(data) != 2:
        raise BadMessage("what is no kind with its content")
    kind, content = data
    if kind in ("alive", "done") and content is None:
        return Message(kind)
    if kind == "event":
        return Message(kind, event=_event(content, expected))
    if kind == "failed":
        return Message(kind, cause=_cause(content))
    raise BadMessage("a message of no known kind")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _event(content: Any, expected: Expected) -> Event:
    """The event in a message; fields that this version does not know are those of a later one."""
    if not isinstance(content, dict):
        raise BadMessage("an event that is none")
    known = {name: value for name, value in content.items() if name in _FIELDS}
    for name, value in known.items():
        if not _FIELDS[name](value):
            raise BadMessage(f"an event with a wrong {name}")
    if not {"build", "artifact", "state"} <= known.keys():
        raise BadMessage("an event of nothing")
    if expected.build not in (None, known["build"]):
        raise BadMessage("an event of another build")
    if expected.artifacts is not None and known["artifact"] not in expected.artifacts:
        raise BadMessage("an event of an artifact that its job does not have")
    cause = _cause(known["cause"]) if known.get("cause") is not None else None
    note = in_one_line(known.get("note", ""))
    return Event(**{**known, "state": State(known["state"]), "cause": cause, "note": note})


def _cause(content: Any) -> DevServerError:
    """The error in a message, with nothing in its texts that could pass for a line of the log."""
    if not isinstance(content, dict) or not isinstance(content.get("args"), list):
        raise BadMessage("a cause that is none")
    kind, arguments = content.get("kind"), content["args"]
    found = error_classes().get(kind) if isinstance(kind, str) else None
    if found is None or not issubclass(found, _TELLABLE):
        raise BadMessage("a cause of a kind that no job has")
    types = [str(one.annotation) for one in list(inspect.signature(found.__init__).parameters.values())[1:]]
    if len(types) != len(arguments) or not all(map(_is_argument, types, arguments)):
        raise BadMessage(f"a cause that is no {kind}")
    plain = [_plain(one) for one in arguments]
    if found is InternalFailure:
        plain[1] = "\n    | ".join(in_one_line(line) for line in arguments[1].split("\n"))
    return error_from_json({"kind": kind, "args": plain})


def _is_argument(annotation: str, value: Any) -> bool:
    if annotation == "float":
        return type(value) in (int, float) and 0 <= value <= _LARGEST_NUMBER
    if annotation == "list[str]":
        return isinstance(value, list) and all(map(_is_text, value))
    return annotation == "str" and _is_text(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 2 * _LONGEST_TEXT


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _LARGEST_NUMBER


_FIELDS: Mapping[str, Callable[[Any], bool]] = {
    "build": _is_text,
    "artifact": _is_text,
    "state": lambda value: isinstance(value, str) and value in {state.value for state in State},
    "bytes_done": _is_count,
    "bytes_total": _is_count,
    "bytes_fetched": _is_count,
    "bytes_from_peers": _is_count,
    "cause": lambda value: value is None or isinstance(value, dict),
    "note": _is_text,
    "retry": lambda value: value == "" or (isinstance(value, str) and value in error_classes()),
}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [in_one_line(one) for one in value]
    return in_one_line(value) if isinstance(value, str) else value


def in_one_line(text: str) -> str:
    """``text`` with what is no character of a line written as an escape."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def _shortened(value: Any) -> Any:
    """JSON-safe data with no text in it that is longer than a message may have."""
    if isinstance(value, str):
        return value if len(value) <= _LONGEST_TEXT else f"...{value[-_LONGEST_TEXT:]}"
    if isinstance(value, list):
        return [_shortened(one) for one in value[:_MOST_TEXTS]]
    if isinstance(value, dict):
        return {name: _shortened(one) for name, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
