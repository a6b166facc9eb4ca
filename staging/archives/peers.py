"""Peers: other devservers, which may have what a build is made of nearer than the archive has it.

The archive says what there is, and what its checksum is; a peer only sends bytes, and is trusted with nothing.
"""

from __future__ import annotations

import functools
import os
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from http import HTTPStatus
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import requests
import urllib3

from staging.archives.base import Archive, ArchiveObject, ObjectStream
from staging.archives.http_ranges import interrupt, pieces_of

OBJECTS = "/objects"  # where a devserver has the objects that it keeps
_CONNECT_TIMEOUT = 2.0  # seconds: it is in the same lab, or the archive is as near
_TROUBLES = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)
_CONNECTIONS = 64


class PeerSettings(NamedTuple):
    """Who the peers are.

    Attributes:
        urls: of the peers, in the order in which they are asked.
        token_file: holds the token that goes along, where they want one to read.

    """

    urls: tuple[str, ...] = ()
    token_file: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON-safe data: where the token is, not the token."""
        return {"urls": list(self.urls), "token_file": self.token_file and str(self.token_file)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PeerSettings:
        """The settings that :meth:`to_json` wrote."""
        return cls(tuple(data["urls"]), data["token_file"] and Path(data["token_file"]))


class Peers:
    """What the peers have of one build, as it turns out while that is read."""

    def __init__(self, settings: PeerSettings, archive_url: str, stall_timeout: float) -> None:
        self._settings = settings
        self._archive_url = archive_url
        self._timeout = (_CONNECT_TIMEOUT, stall_timeout)
        self._lock = Lock()
        self._failed: set[str] = set()
        self._lacking: set[tuple[str, str]] = set()
        self._bytes: dict[str, Counter[str]] = {}
        self._news: deque[str] = deque()

    def before(self, archive: Archive) -> Archive:
        """``archive``, with its objects' bytes read from a peer where one has them."""
        return _PeersFirst(self, archive) if self._settings.urls else archive

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

    def request(self, url: str, item: ArchiveObject, start: int, stop: int) -> requests.Response:
        """The peer's answer to who asks for a range of ``item``.

        Raises:
            requests.RequestException, OSError

        """
        token_file = self._settings.token_file
        return _session_of(os.getpid()).get(
            f"{url}{OBJECTS}",
            params={"archive_url": self._archive_url, "name": item.name, "generation": item.generation},
            headers={"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"},
            auth=None if token_file is None else functools.partial(_with_token, token_file.read_text().strip()),
            stream=True,
            timeout=self._timeout,
            allow_redirects=False,
        )

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


class _PeersFirst:
    """An archive whose objects' bytes come from peers, as far as those have them."""

    def __init__(self, peers: Peers, archive: Archive) -> None:
        self._peers = peers
        self._archive = archive
        self.list = archive.list
        self.describe = archive.describe
        self.url_of = archive.url_of

    def read(self, item: ArchiveObject, start: int, stop: int) -> ObjectStream:
        """See :class:`~staging.archives.base.Archive`: where one breaks off, the next goes on, and then the archive."""
        under_way = _UnderWay()
        return ObjectStream(self._pieces(item, start, stop, under_way), under_way.stop)

    def _pieces(self, item: ArchiveObject, start: int, stop: int, under_way: _UnderWay) -> Generator[bytes]:
        for url in self._peers.candidates(item):
            try:
                with self._peers.request(url, item, start, stop) as response:
                    if self._is_sent(url, item, response):
                        under_way.interrupt = functools.partial(interrupt, [response])
                        for piece in pieces_of(response, stop - start):
                            start += len(piece)
                            self._peers.note_bytes(url, item.name, len(piece))
                            yield piece
            except _PeerFailed as error:
                self._peers.note_failure(url, str(error))
            except _TROUBLES as error:
                if under_way.is_stopped:
                    raise
                self._peers.note_failure(url, f"reading {item.name} from it failed ({type(error).__name__})")
            if start >= stop:
                return
        stream = self._archive.read(item, start, stop)
        under_way.interrupt = stream.abort
        with closing(stream):
            yield from stream

    def _is_sent(self, url: str, item: ArchiveObject, response: requests.Response) -> bool:
        """Whether the peer sends the range.

        Raises:
            _PeerFailed

        """
        if response.status_code == HTTPStatus.NOT_FOUND:
            self._peers.note_lack(url, item.name)
            return False
        if response.status_code != HTTPStatus.PARTIAL_CONTENT:
            raise _PeerFailed(f"it answered {response.status_code}")
        return True


class _UnderWay:
    """What a read is waiting for, and how that is interrupted."""

    def __init__(self) -> None:
        self.interrupt: Callable[[], None] = lambda: None
        self.is_stopped = False

    def stop(self) -> None:
        self.is_stopped = True
        self.interrupt()


class _PeerFailed(Exception):
    """A peer answered what no devserver should."""


def _with_token(token: str, request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Send a token: as authentication, for a header alone would give way to what a .netrc file says."""
    request.headers["Authorization"] = f"Bearer {token}"
    return request


@functools.lru_cache(maxsize=1)
def _session_of(process: int) -> requests.Session:
    """One session for a process: it keeps its connections, and a forked process must not share them."""
    del process
    session = requests.Session()
    adapter = requests.adapters.HTTPAdapter(pool_maxsize=_CONNECTIONS)
    for scheme in ("http://", "https://"):
        session.mount(scheme, adapter)
    return session
