"""Reading from peers, over HTTP."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from http import HTTPStatus
from time import monotonic

import requests
import urllib3

from staging.archives.base import Archive, ArchiveObject, ObjectStream
from staging.archives.http_ranges import interrupt, pieces_of
from staging.archives.peers import OBJECTS, Peers

# Seconds to connect to a peer, and without a byte of it: it is in the same lab, or the archive is as near.
_TIME_TO_CONNECT, _LONGEST_SILENCE = 2.0, 5.0
# A peer that brings fewer bytes a second than this, over so many seconds, is no better than the archive.
_LEAST_RATE, _TIME_TO_TELL = 256 * 1024, 5.0
_CONNECTIONS = 64
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_TROUBLES = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)


class PeersFirst:
    """An archive whose objects' bytes come from peers, as far as those have them; see ``base.Archive``."""

    def __init__(self, peers: Peers, archive: Archive) -> None:
        self._peers = peers
        self._archive = archive
        self.list = archive.list
        self.describe = archive.describe
        self.states_crc32c = archive.states_crc32c
        self.url_of = archive.url_of

    def read(self, item: ArchiveObject, start: int, stop: int) -> ObjectStream:
        """See :class:`~staging.archives.base.Archive`: where one breaks off, the next goes on, and then the archive."""
        under_way = _UnderWay()
        return ObjectStream(self._pieces(item, start, stop, under_way), under_way.stop)

    def _pieces(self, item: ArchiveObject, start: int, stop: int, under_way: _UnderWay) -> Generator[bytes]:
        for url in self._peers.candidates(item):
            under_way.check()
            try:
                with self._response(url, item, start, stop) as response:
                    if self._is_sent(url, item, response):
                        under_way.waits_for(functools.partial(interrupt, [response]))
                        for piece in _not_too_slow(pieces_of(response, stop - start, whole=False)):
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
        under_way.waits_for(stream.abort)
        with closing(stream):
            yield from stream

    def _response(self, url: str, item: ArchiveObject, start: int, stop: int) -> requests.Response:
        """The peer's answer to who asks for a range of ``item``; raises one of ``_TROUBLES``, or ``_PeerFailed``."""
        try:
            token = self._peers.token
        except ValueError as error:
            raise _PeerFailed(f"the token for it: {error}") from error
        return _session_of(os.getpid()).get(
            f"{url}{OBJECTS}",
            params={"archive_url": self._peers.archive_url, "name": item.name, "generation": item.generation},
            headers={"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"},
            auth=None if token is None else functools.partial(_with_token, token),
            stream=True,
            timeout=(_TIME_TO_CONNECT, min(_LONGEST_SILENCE, self._peers.stall_timeout)),
            allow_redirects=False,
        )

    def _is_sent(self, url: str, item: ArchiveObject, response: requests.Response) -> bool:
        """Whether the peer sends the range.

        Raises:
            _PeerFailed

        """
        if response.status_code == HTTPStatus.NOT_FOUND:
            self._peers.note_lack(url, item.name)
            return False
        if response.status_code == HTTPStatus.SERVICE_UNAVAILABLE:  # it has much to do, and may have less in a moment
            return False
        if response.status_code != HTTPStatus.PARTIAL_CONTENT:
            raise _PeerFailed(f"it answered {response.status_code}")
        return True


class _UnderWay:
    """What a read is waiting for, and how that is interrupted."""

    def __init__(self) -> None:
        self._interrupt: Callable[[], None] = lambda: None
        self.is_stopped = False

    def waits_for(self, interrupt: Callable[[], None]) -> None:
        """Take note of what ends the wait; raises like :meth:`check`."""
        self._interrupt = interrupt
        self.check()

    def check(self) -> None:
        """Go on, unless it was stopped.

        Raises:
            ConnectionAbortedError

        """
        if self.is_stopped:
            raise ConnectionAbortedError

    def stop(self) -> None:
        """End the wait."""
        self.is_stopped = True
        self._interrupt()


def _not_too_slow(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces, as long as they come fast enough; who asks for them may take all the time in the world.

    Raises:
        TimeoutError

    """
    waited, count = 0.0, 0
    while True:
        began = monotonic()
        piece = next(pieces, b"")
        waited += monotonic() - began
        if not piece:
            return
        count += len(piece)
        yield piece
        del piece
        if waited > _TIME_TO_TELL and count < _LEAST_RATE * waited:
            raise TimeoutError


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
    # No proxy, whatever the environment has for the world outside of the lab; the certificates it names are the lab's.
    session.trust_env = False
    session.verify = next((os.environ[name] for name in _BUNDLES if os.environ.get(name)), True)
    adapter = requests.adapters.HTTPAdapter(pool_maxsize=_CONNECTIONS)
    for scheme in ("http://", "https://"):
        session.mount(scheme, adapter)
    return session
