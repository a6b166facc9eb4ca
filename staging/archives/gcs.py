"""Google Cloud Storage, through its official client: the one place that knows Google's exceptions."""

from __future__ import annotations

import functools
import os
import socket
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import google.auth.exceptions
import requests
import urllib3
from google.api_core import exceptions as api
from google.auth import environment_vars
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

from staging.archives.base import ArchiveObject, ObjectStream
from staging.archives.http_ranges import interrupt, pieces_of
from staging.archives.url import ArchiveUrl
from staging.errors import AccessDenied, ArchiveError, ArchiveUnavailable, ObjectChanged, ObjectNotFound

_CONNECT_TIMEOUT = 10.0  # seconds
_LISTED_FIELDS = "items(name,size,crc32c,generation),nextPageToken"
# Connections that one process keeps open. It rarely has more reads under way; those beyond open one of their own.
_CONNECTIONS = 256
_PASSING_STATUSES = (408, 429)  # the 4xx that are worth another try
_TRANSIENT = (requests.RequestException, urllib3.exceptions.HTTPError, DataCorruption, OSError)
# Asked in this order: what refused or broke a connection is often reported through an error that times out.
_IN_FEW_WORDS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((ConnectionRefusedError,), "the archive refused the connection"),
    ((socket.gaierror,), "the archive's name cannot be resolved"),
    ((requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError), "the archive sent nothing for too long"),
    ((urllib3.exceptions.ProtocolError, ConnectionError), "the archive broke off in the middle"),
)


class GcsArchive:
    """A build in a bucket, read with the default credentials, or with none where the machine has none."""

    def __init__(self, url: ArchiveUrl, stall_timeout: float) -> None:
        self._url = url
        self._prefix = f"{url.build_path}/" if url.build_path else ""
        self._timeout = (_CONNECT_TIMEOUT, stall_timeout)

    def list(self, start: str = "") -> list[ArchiveObject]:
        """See :class:`~staging.archives.base.Archive`."""
        with _translated(str(self._url)):
            blobs = _client().list_blobs(
                self._url.root, prefix=self._prefix + start, fields=_LISTED_FIELDS, timeout=self._timeout, retry=None
            )
            return [self._described(blob) for blob in blobs if not blob.name.endswith("/")]

    def describe(self, name: str) -> ArchiveObject:
        """See :class:`~staging.archives.base.Archive`."""
        with _translated(self.url_of(name)):
            blob = self._bucket().get_blob(self._prefix + name, timeout=self._timeout, retry=None)
        if blob is None:
            raise ObjectNotFound(self.url_of(name))
        return self._described(blob)

    def read(self, item: ArchiveObject, start: int, stop: int) -> ObjectStream:
        """See :class:`~staging.archives.base.Archive`."""
        responses: deque[requests.Response] = deque(maxlen=1)
        return ObjectStream(self._pieces(item, start, stop, responses), functools.partial(interrupt, responses))

    def _pieces(
        self, item: ArchiveObject, start: int, stop: int, responses: deque[requests.Response]
    ) -> Generator[bytes]:
        """The range, as it comes from what is put into ``responses``."""
        url = self.url_of(item.name)
        try:
            with _translated(url), self._response(item, start, stop) as response:
                responses.append(response)
                _check(response)
                yield from pieces_of(response, stop - start)
        except ObjectNotFound as error:
            raise ObjectChanged(url, item.generation) from error

    def _response(self, item: ArchiveObject, start: int, stop: int) -> requests.Response:
        """The archive's answer to who asks for a range.

        Asked for by the client's own session: the client's own downloads pass 8 KiB at a time through Python, or hold
        a whole range in memory before the first byte can be used.
        """
        client = _client()
        name = quote(self._prefix + item.name, safe="")
        address = f"{client.api_endpoint}/download/storage/v1/b/{self._url.root}/o/{name}"
        query = {"alt": "media", "generation": item.generation}
        # Not compressed on the way: the archive states the crc32c of an object as it is stored.
        headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "gzip"}
        response: requests.Response = client._http.get(
            address, params=query, headers=headers, stream=True, timeout=self._timeout
        )
        return response

    def url_of(self, name: str) -> str:
        """See :class:`~staging.archives.base.Archive`."""
        return f"{self._url}/{name}"

    def _bucket(self) -> Any:
        return _client().bucket(self._url.root)

    def _described(self, blob: Any) -> ArchiveObject:
        return ArchiveObject(blob.name.removeprefix(self._prefix), blob.size, blob.crc32c or "", str(blob.generation))


def _check(response: requests.Response) -> None:
    """Find out whether ``response`` brings the range that it was asked for."""
    if response.status_code == 200:
        raise ConnectionError("the archive took no notice of the range")
    if response.status_code != 206:
        raise api.from_http_response(response)  # type: ignore[no-untyped-call]


@functools.lru_cache(maxsize=1)
def _client_of(process: int) -> storage.Client:
    """One client for a process: it keeps its connections, and a forked process must not share them."""
    del process
    try:
        client = storage.Client(project=None)  # reading belongs to no project
    except google.auth.exceptions.DefaultCredentialsError:
        if os.environ.get(environment_vars.CREDENTIALS):
            raise  # somebody named credentials, and they are no good
        client = storage.Client.create_anonymous_client()
    adapter = requests.adapters.HTTPAdapter(pool_connections=4, pool_maxsize=_CONNECTIONS)
    for scheme in ("http://", "https://"):
        client._http.mount(scheme, adapter)
    return client


def _client() -> storage.Client:
    return _client_of(os.getpid())


@contextmanager
def _translated(url: str) -> Iterator[None]:
    """Turn what Google's client raises about ``url`` into this project's errors."""
    try:
        yield
    except (api.GoogleAPICallError, InvalidResponse) as error:
        raise _refusal(url, error) from error
    except google.auth.exceptions.InvalidOperation as error:  # what anonymous credentials say to a 401
        raise AccessDenied(url, "the archive asks for credentials, and this devserver has none") from error
    except google.auth.exceptions.GoogleAuthError as error:
        raise AccessDenied(url, f"the devserver's credentials do not work ({type(error).__name__})") from error
    except _TRANSIENT as error:
        raise ArchiveUnavailable(url, _plain(error)) from error


def _refusal(url: str, error: api.GoogleAPICallError | InvalidResponse) -> ArchiveError:
    """What an answer of the archive that is not a success means for ``url``."""
    response = error.response
    status = int(response.status_code if response is not None else error.code or 500)
    if status == 404:
        return ObjectNotFound(url)
    if 400 <= status < 500 and status not in _PASSING_STATUSES:
        return AccessDenied(url, f"the archive answered {status}")
    headers = response.headers if response is not None else {}
    retry_after, date = headers.get("Retry-After", ""), headers.get("Date", "")
    return ArchiveUnavailable(url, f"the archive answered {status}", _seconds(retry_after, date))


def _seconds(retry_after: str, date: str) -> float:
    """The seconds that a Retry-After header asks for, as a number or as a date (RFC 9110, 10.2.3); 0 for none.

    A date is compared with the one of the answer: the clock here may say anything.
    """
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - parsedate_to_datetime(date).timestamp())
    except ValueError:
        return 0.0


def _plain(error: BaseException) -> str:
    """``error`` in few words: the libraries' own texts name hosts, objects and addresses of memory."""
    chain: list[BaseException] = [error]
    while (deeper := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(deeper)
    for kinds, words in _IN_FEW_WORDS:
        if any(isinstance(link, kinds) for link in chain):
            return words
    return f"the connection to the archive failed ({type(error).__name__})"
