"""What the devserver asks of an archive: three questions about one build."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class ArchiveObject:
    """One object of a build, as the archive describes it at one moment.

    Attributes:
        name: relative to the build, with ``/`` between parts.
        size: bytes.
        crc32c: of the whole object, base64 of its four big-endian bytes as GCS writes it; empty where the archive
            states none.
        generation: names these very bytes; a changed object has another one.

    """

    name: str
    size: int
    crc32c: str
    generation: str

    def to_json(self) -> dict[str, Any]:
        """The object as JSON-safe data."""
        return asdict(self)


class Archive(Protocol):
    """One build in an archive.

    Any number of threads may use one archive at once. An archive retries nothing and keeps no state of a read: its
    caller decides what is worth another try. It knows nothing of artifacts, and needs no closing.
    """

    def list(self) -> list[ArchiveObject]:
        """Every object of the build, by name; an empty list where there is none.

        Raises:
            AccessDenied, ArchiveUnavailable

        """

    def describe(self, name: str) -> ArchiveObject:
        """The object ``name`` as it is now.

        Raises:
            ObjectNotFound, AccessDenied, ArchiveUnavailable

        """

    def read(self, item: ArchiveObject, start: int, stop: int) -> Iterator[bytes]:
        """The bytes ``start`` to ``stop`` (exclusive, ``start < stop <= item.size``) of that very generation.

        They come in pieces, as they arrive, none of them empty. What was given before an error is good.

        Raises:
            ObjectChanged: the object is another generation by now, or gone.
            AccessDenied, ArchiveUnavailable: the latter also when fewer bytes came than were asked for.

        """

    def url_of(self, name: str) -> str:
        """The full URL of the object ``name``."""
