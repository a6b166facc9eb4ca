"""Peers: other devservers, which may have what a build is made of nearer than the archive has it.

The archive says what there is, and what its checksum is; a peer only sends bytes, and is trusted with nothing.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from staging.archives.base import ArchiveObject

_TOKEN = re.compile(r"[\x21-\x7e]+")
OBJECTS = "/objects"  # where a devserver has the objects that it keeps


@dataclass(frozen=True)
class PeerSettings:
    """Who the peers are.

    Attributes:
        urls: of the peers, in the order in which they are asked.
        token_file: holds the token that goes along, where they want one to read.

    """

    urls: tuple[str, ...] = ()
    token_file: Path | None = None

    def token(self) -> str | None:
        """The token; None where there is none.

        Raises:
            ValueError: the file does not hold one.

        """
        if self.token_file is None:
            return None
        try:
            text = self.token_file.read_text().strip()
        except OSError as error:
            raise ValueError(f"{self.token_file} cannot be read ({error.strerror})") from error
        if not _TOKEN.fullmatch(text):
            raise ValueError(f"{self.token_file} should hold a token and nothing else, as `devserver token` prints it")
        return text


class Peers:
    """What the peers have of one build, as it turns out while that is read."""

    def __init__(self, settings: PeerSettings, archive_url: str, stall_timeout: float) -> None:
        """``archive_url`` is the build's; a read that gets no byte for ``stall_timeout`` seconds is given up."""
        self._settings = settings
        self.archive_url = archive_url
        self.stall_timeout = stall_timeout
        self._lock = Lock()
        self._failed: set[str] = set()
        self._lacking: set[tuple[str, str]] = set()
        self._bytes: dict[str, Counter[str]] = {}
        self._news: deque[str] = deque()

    @property
    def are_any(self) -> bool:
        """Whether there is a peer at all."""
        return bool(self._settings.urls)

    @property
    def token(self) -> str | None:
        """What goes along with what they are asked; None where they want nothing.

        Raises:
            ValueError: it cannot be used.

        """
        return self._settings.token()

    def bytes_of(self, objects: Iterable[ArchiveObject]) -> int:
        """How many bytes of these objects came from peers so far."""
        with self._lock:
            return sum(self._bytes[item.name].total() for item in objects if item.name in self._bytes)

    def senders_of(self, objects: Iterable[ArchiveObject]) -> list[str]:
        """The peers that any of them came from."""
        with self._lock:
            return sorted({url for item in objects for url in self._bytes.get(item.name, ())})

    def take_news(self) -> str:
        """What an operator should know and was not told yet, one thing at a time; nothing where there is none."""
        try:
            return self._news.popleft()
        except IndexError:
            return ""

    def candidates(self, item: ArchiveObject) -> list[str]:
        """The peers that may have ``item``: none where nobody could tell whether what they send is right."""
        if not item.crc32c:
            return []
        with self._lock:
            return [
                url for url in self._settings.urls if url not in self._failed and (url, item.name) not in self._lacking
            ]

    def note_bytes(self, url: str, name: str, count: int) -> None:
        """Take note that so many bytes of an object came from the peer ``url``."""
        with self._lock:
            self._bytes.setdefault(name, Counter())[url] += count

    def note_lack(self, url: str, name: str) -> None:
        """Take note that the peer does not have that object."""
        with self._lock:
            self._lacking.add((url, name))

    def note_failure(self, url: str, reason: str) -> None:
        """Take note that the peer is of no use to this build any more."""
        with self._lock:
            if url not in self._failed:
                self._failed.add(url)
                self._news.append(f"the peer {url} is not asked any more: {reason}")


NO_PEERS = Peers(PeerSettings(), "", 0.0)
