"""Google Cloud Storage, by its JSON API: https://cloud.google.com/storage/docs/json_api/v1."""

from __future__ import annotations

import functools
import json
import re
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import requests

from staging.archives.base import EVERYTHING, ArchiveObject, Attempt, ObjectStream, RangesIgnored, Wanted, once
from staging.archives.gcs_client import answer_of, current_client
from staging.archives.gcs_errors import translated
from staging.archives.http_ranges import interrupt, pieces_of
from staging.archives.refusals import Refusal
from staging.archives.url import ArchiveUrl
from staging.archives.watch import Watch, WatchedRead
from staging.errors import ArchiveRefused, ArchiveUnavailable, ObjectChanged, ObjectNotFound

_CONNECT_TIMEOUT = 10.0  # seconds
# A piece (half a megabyte, or what is left) that takes longer than so many times the patience with silence is a
# trickle: 4 KiB a second with the default.
_PATIENCE_WITH_A_PIECE = 4.0
_DESCRIBED_FIELDS = "name,size,crc32c,generation,contentEncoding,customerEncryption"
_LISTED_FIELDS = f"items({_DESCRIBED_FIELDS}),prefixes,nextPageToken"
_MOST_PAGES = 20_000  # of a listing: twenty million objects
_MOST_OBJECTS = 100_000  # that are kept of one
_LARGEST_ANSWER = 16 * 1024**2  # bytes of a page: a thousand objects with names of 1,024 bytes take a tenth
_CRC32C_OF_NOTHING = "AAAAAA=="
_NUMBER = re.compile(r"[0-9]{1,18}")
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(?:\d+|\*)")
_LONGEST_ENCODING = 40  # characters

_watch = Watch()


class GcsArchive:
    """A build in a bucket, read with the default credentials, or with none where the machine has none."""

    states_crc32c = True

    def __init__(self, url: ArchiveUrl, stall_timeout: float, payer: str = "") -> None:
        """``payer`` is the project that pays where a bucket has its readers pay."""
        self._url = url
        self._prefix = f"{url.build_path}/" if url.build_path else ""
        self._timeout = (_CONNECT_TIMEOUT, stall_timeout)
        self._payer = payer

    def list(self, wanted: Wanted = EVERYTHING, attempt: Attempt = once) -> list[ArchiveObject]:
        """See :class:`~staging.archives.base.Archive`."""
        found: list[ArchiveObject] = []
        token, seen = "", set[str]()
        while True:
            page = attempt(functools.partial(self._page, wanted, token))
            found += self._objects_in(page, wanted)
            token = page.get("nextPageToken") or ""
            if not token:
                return found
            self._check_progress(token, seen, len(found))
            seen.add(token)

    def describe(self, name: str) -> ArchiveObject:
        """See :class:`~staging.archives.base.Archive`."""
        url = self.url_of(name)
        data = self._json(url, self._path_of(name), {"fields": _DESCRIBED_FIELDS, "projection": "noAcl"})
        return _described(name, data)

    def read(self, item: ArchiveObject, start: int, stop: int) -> ObjectStream:
        """See :class:`~staging.archives.base.Archive`."""
        responses: deque[requests.Response] = deque(maxlen=1)
        return ObjectStream(self._pieces(item, start, stop, responses), functools.partial(interrupt, responses))

    def url_of(self, name: str) -> str:
        """See :class:`~staging.archives.base.Archive`."""
        return f"{self._url}/{name}"

    # Listing and describing

    def _page(self, wanted: Wanted, token: str) -> dict[str, Any]:
        query = {"prefix": self._prefix + wanted.start, "fields": _LISTED_FIELDS, "projection": "noAcl"}
        if wanted.is_shallow:
            query["delimiter"] = "/"
        if token:
            query["pageToken"] = token
        return self._json(str(self._url), f"/b/{self._url.root}/o", query)

    def _objects_in(self, page: Mapping[str, Any], wanted: Wanted) -> Sequence[ArchiveObject]:
        items = page.get("items") or []
        if not isinstance(items, list):
            raise ArchiveRefused(str(self._url), "the `items` of the archive's listing are no list")
        found = []
        for data in items:
            name = data.get("name") if isinstance(data, dict) else None
            if not isinstance(name, str):
                raise ArchiveRefused(str(self._url), "the archive lists an object without a `name`")
            short = name.removeprefix(self._prefix)
            if not name.endswith("/") and wanted.has(short):
                found.append(_described(short, data))
        return found

    def _check_progress(self, token: Any, seen: set[str], found: int) -> None:
        """Find out whether a listing may go on with another page."""
        if not isinstance(token, str):
            raise ArchiveRefused(str(self._url), "the `nextPageToken` of the archive's listing is no text")
        if token in seen or len(seen) > _MOST_PAGES:
            raise ArchiveRefused(str(self._url), "the archive's listing does not come to an end")
        if found > _MOST_OBJECTS:
            raise ArchiveRefused(str(self._url), f"more than {_MOST_OBJECTS} objects are wanted; name fewer")

    def _json(self, url: str, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        """The JSON object that the archive answers."""
        with translated(url):
            client = current_client()
            headers = {"Accept-Encoding": "gzip"}
            path = f"/storage/{client.version}{path}"
            response = answer_of(path, self._url.root, query, headers, self._timeout, self._payer)
            with response, self._in_time(url, response):
                body = response.raw.read(_LARGEST_ANSWER + 1, decode_content=True)
        try:
            data = json.loads(body) if len(body) <= _LARGEST_ANSWER else None
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict):
            raise ArchiveUnavailable(url, "the archive answered 200, and something else than it should")
        return data

    def _path_of(self, name: str) -> str:
        return f"/b/{self._url.root}/o/{quote(self._prefix + name, safe='')}"

    # Reading

    def _pieces(
        self, item: ArchiveObject, start: int, stop: int, responses: deque[requests.Response]
    ) -> Generator[bytes]:
        """The range, as it comes from what is put into ``responses``."""
        url = self.url_of(item.name)
        if not (item.generation or item.crc32c):
            raise ArchiveRefused(url, "the archive states neither a `generation` nor a `crc32c` of it")
        try:
            with translated(url), self._response(item, start, stop) as response:
                responses.append(response)
                before = _bytes_before(url, response, item, start, stop)
                with self._in_time(url, response) as watched:
                    yield from _from(before, watched.pieces(pieces_of(response, before + stop - start)))
        except ObjectNotFound as error:
            raise ObjectChanged(url, item.generation) from error

    def _response(self, item: ArchiveObject, start: int, stop: int) -> Any:
        """The archive's answer to who asks for a range.

        Asked for by the client's own session: the client's own downloads pass 8 KiB at a time through Python, or hold
        a whole range in memory before the first byte can be used.
        """
        path = f"/download/storage/{current_client().version}{self._path_of(item.name)}"
        query = {"alt": "media", **({"generation": item.generation} if item.generation else {})}
        # As it is stored, which is what the archive states the crc32c of: what is stored packed would be unpacked for
        # those who do not take it so, and what is not might be packed on its way for those who would.
        headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "gzip" if item.encoding else "identity"}
        try:
            return answer_of(path, self._url.root, query, headers, self._timeout, self._payer)
        except Refusal as error:
            if error.status != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
            raise ObjectChanged(self.url_of(item.name), item.generation) from error

    @contextmanager
    def _in_time(self, url: str, response: Any) -> Iterator[WatchedRead]:
        """Read from a response, each piece of which has to come in time.

        Raises:
            ArchiveUnavailable: one did not.

        """
        seconds = _PATIENCE_WITH_A_PIECE * self._timeout[1]
        with _watch.over(seconds, functools.partial(interrupt, [response])) as watched:
            try:
                yield watched
            except Exception as error:
                if not watched.was_too_slow:
                    raise
                raise ArchiveUnavailable(url, f"the archive sent next to nothing for {seconds:g} s") from error


def _bytes_before(url: str, response: Any, item: ArchiveObject, start: int, stop: int) -> int:
    """How many bytes ``response`` brings before the range that was asked for, where it brings that.

    Raises:
        ObjectChanged, ArchiveUnavailable
        RangesIgnored: it brings all of the object, of which the range is not the end.

    """
    generation, encoding = (response.headers.get(name, "") for name in ("X-Goog-Generation", "Content-Encoding"))
    if generation and item.generation and generation != item.generation:
        raise ObjectChanged(url, item.generation)
    if encoding.lower() not in ("", "identity", item.encoding):
        raise ArchiveUnavailable(url, "what lies between here and the archive packed it on its way")
    if response.status_code == HTTPStatus.OK:
        if stop != item.size:
            raise RangesIgnored
        return start
    answered = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if answered is None or (int(answered[1]), int(answered[2]) + 1) != (start, stop):
        raise ArchiveUnavailable(url, "the archive sent another range than the one that it was asked for")
    return 0


def _from(before: int, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """What ``pieces`` bring behind the first bytes, so many."""
    for piece in pieces:
        if before >= len(piece):
            before -= len(piece)
            continue
        yield piece[before:] if before else piece
        before = 0
        del piece  # so that its memory serves for the next one


def _described(name: str, data: Mapping[str, Any]) -> ArchiveObject:
    """The object that the archive describes, or what is wrong with the description."""
    fault = ""
    crc32c, generation, encoding = (data.get(key) or "" for key in ("crc32c", "generation", "contentEncoding"))
    size = data.get("size", "0" if crc32c == _CRC32C_OF_NOTHING else None)
    if not _NUMBER.fullmatch(str(size)):
        fault = f"the archive states {'no' if size is None else 'a wrong'} `size` of it"
    elif not (isinstance(crc32c, str) and len(crc32c) in (0, len(_CRC32C_OF_NOTHING))):
        fault = "the archive states a wrong `crc32c` of it"
    elif data.get("customerEncryption"):
        fault = "it is encrypted with a key of its owner's (`customerEncryption`), which this devserver does not have"
    encoding = str(encoding).strip().lower()[:_LONGEST_ENCODING].removeprefix("x-")
    return ArchiveObject(name, 0 if fault else int(str(size)), str(crc32c), str(generation), encoding, fault)
