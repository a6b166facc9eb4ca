"""The status queue: what a worker tells the devserver of its job, through a pipe, one message after the other.

A message is its length in four bytes, and JSON: a list of its kind and its content. The reader takes nothing for
granted: a worker handles what strangers wrote, and whatever it was made to send is data, and of the job that it was
given.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

from staging.errors import DevServerError
from staging.messages import ANYTHING, MOST_TEXTS, BadMessage, Expected, cause_of, event_of
from staging.records.text import data_of, encoded
from staging.status import Event
from staging.writing import write_all

LARGEST = 256 * 1024  # bytes of a message
_LONGEST_TEXT = 16 * 1024  # characters of one text in it; of a longer one, the end says more
_PIECE = 64 * 1024
_LENGTH = struct.Struct("!I")

Json = dict[str, Any]


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
        text = encoded([kind, _shortened(content)])
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
        data = data_of(text)
    except (ValueError, RecursionError) as error:
        raise BadMessage("what is no JSON") from error
    if not isinstance(data, list) or len(data) != 2:
        raise BadMessage("what is no kind with its content")
    kind, content = data
    if kind in ("alive", "done") and content is None:
        return Message(kind)
    if kind == "event":
        return Message(kind, event=event_of(content, expected))
    if kind == "failed":
        return Message(kind, cause=cause_of(content))
    raise BadMessage("a message of no known kind")


def _shortened(value: Any) -> Any:
    """JSON-safe data with no text in it that is longer than a message may have."""
    if isinstance(value, str):
        return value if len(value) <= _LONGEST_TEXT else f"...{value[-_LONGEST_TEXT:]}"
    if isinstance(value, list):
        return [_shortened(one) for one in value[:MOST_TEXTS]]
    if isinstance(value, dict):
        return {name: _shortened(one) for name, one in value.items()}
    return value
