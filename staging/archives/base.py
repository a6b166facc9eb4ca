"""What the devserver asks of an archive: three questions about one build."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from staging.errors import Cancelled
from staging.paths import fault_of_path
from staging.records.decoding import Count, as_data
from staging.records.names import spelled, understood

T = TypeVar("T")

_STOPPED = "the read was stopped"


@dataclass(frozen=True)
class ArchiveObject:
    """One object of a build, as the archive describes it at one moment.

    Attributes:
        name: relative to the build, with ``/`` between parts.
        size: bytes.
        crc32c: of the whole object, base64 of its four big-endian bytes as GCS writes it; empty where the archive
            states none.
        generation: names these very bytes; a changed object has another one. Empty where the archive states none.
        encoding: what its bytes are besides what its name says, as HTTP's Content-Encoding; no record has it.
        fault: why it cannot be read, in a few words; empty where it can. No record has it.
        unknown: what a record of a later version says of it besides.

    """

    name: str
    size: Count
    crc32c: str
    generation: str
    encoding: str = field(default="", compare=False)
    fault: str = field(default="", compare=False)
    unknown: Any = field(default=None, compare=False, repr=False)

    def to_json(self) -> dict[str, Any]:
        """The object as a record has it, in JSON-safe data."""
        data: dict[str, Any] = as_data(self)
        for name in _IN_NO_RECORD:
            del data[name]
        return {**data, "name": spelled(self.name)}

    def checked(self) -> ArchiveObject:
        """The object whose record this is, its name as Python names files.

        Raises:
            ValueError: no object of a build has such a name.

        """
        name = understood(self.name)
        if fault_of_path(name):
            raise ValueError(name)
        return self if name == self.name else replace(self, name=name)


_IN_NO_RECORD = ("encoding", "fault")  # versions before would take the record for broken


class Attempt(Protocol):
    """How one request of several is made: once, or again where it failed."""

    def __call__(self, call: Callable[[], T], /) -> T:
        """What ``call`` returns."""


def once(call: Callable[[], T], /) -> T:
    """Make a request, and let its failure be the caller's."""
    return call()


@dataclass(frozen=True)
class Wanted:
    """Which objects of a build a listing is to have.

    Attributes:
        start: what their names begin with.
        is_shallow: whether there is no ``/`` behind that.
        has_name: whether an object of that name is wanted; an archive may ask of names that are not.

    """

    start: str = ""
    is_shallow: bool = False
    has_name: Callable[[str], bool] = lambda _: True

    def has(self, name: str) -> bool:
        """Whether the object ``name`` is to be listed."""
        is_here = name.startswith(self.start) and not (self.is_shallow and "/" in name[len(self.start) :])
        return is_here and self.has_name(name)


EVERYTHING = Wanted()


class RangesIgnored(Exception):
    """An archive sends a whole object where a range was asked for: it can be read from its start to its end alone."""


class ObjectStream:
    """The bytes of one range, in pieces as they come, none of them empty.

    One thread at a time may iterate, and any may :meth:`abort`.
    """

    def __init__(self, pieces: Generator[bytes], interrupt: Callable[[], None] = lambda: None) -> None:
        """``interrupt`` ends a read in which the archive lets another thread wait."""
        self._pieces = pieces
        self._interrupt = interrupt
        self._is_aborted = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            piece = next(self._pieces)
        except Exception as error:
            if self._is_aborted and not isinstance(error, StopIteration):
                raise Cancelled(_STOPPED) from error
            raise
        if self._is_aborted:  # what came then may be anything; nobody asks again, and so nobody else would let go
            self.close()
            raise Cancelled(_STOPPED)
        return piece

    def abort(self) -> None:
        """Give no more bytes; who waits for some gets ``Cancelled``, at once."""
        self._is_aborted = True
        self._interrupt()

    def close(self) -> None:
        """Let go of the connection; the thread that is in the middle of a read does so itself."""
        with suppress(ValueError):  # a generator that runs
            self._pieces.close()


class Archive(Protocol):
    """One build in an archive.

    Any number of threads may use one archive at once. An archive retries nothing and keeps no state of a read: its
    caller decides what is worth another try. It knows nothing of artifacts, and needs no closing.

    Attributes:
        states_crc32c: whether it states checksums of objects, if not in a listing, then where one is described.

    """

    states_crc32c: bool

    def list(self, wanted: Wanted = EVERYTHING, attempt: Attempt = once) -> list[ArchiveObject]:
        """Every object of the build that is ``wanted``, by name; an empty list where there is none.

        Where it takes several requests, each is made by ``attempt``.

        Raises:
            AccessDenied, ArchiveRefused, ArchiveUnavailable

        """

    def describe(self, name: str) -> ArchiveObject:
        """The object ``name`` as it is now.

        Raises:
            ObjectNotFound, AccessDenied, ArchiveRefused, ArchiveUnavailable

        """

    def read(self, item: ArchiveObject, start: int, stop: int) -> ObjectStream:
        """The bytes ``start`` to ``stop`` (exclusive, ``start < stop <= item.size``) of that very generation.

        They are asked for when the first of them is. What was given before an error is good.

        Raises:
            ObjectChanged: the object is another generation by now, or gone.
            RangesIgnored: it can be read to its end alone, and ``stop`` is not that.
            AccessDenied, ArchiveRefused, ArchiveUnavailable: the last also when fewer bytes came than were asked for.

        """

    def url_of(self, name: str) -> str:
        """The full URL of the object ``name``."""
