"""The WSGI application of /static.

Not a handler of CherryPy's: what that does around each request takes longer than a small file takes to be sent.
"""

from __future__ import annotations

import math
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import cherrypy

from staging.build_names import has_own_place
from staging.errors import DevServerError, InternalFailure, InvalidParameter, OutOfResources, as_devserver_error
from staging.threads import in_a_line
from web import rendering
from web.answers import Observer, Read, Served
from web.error_pages import RETRY_AFTER, error_answer, prefers_json
from web.files import buckets, listing, paths
from web.files.decoded import DecodedBody
from web.files.objects import StagedFile, staged_file
from web.files.ranges import NotSatisfiable, parse_ranges
from web.files.readers import Readers
from web.files.validators import Validators, is_failed_precondition, is_known, is_range_wanted
from web.http.gateway import FileBody, FileRange

Environment = Mapping[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]

_REFUSED = re.compile(r"q\s*=\s*0(\.0*)?")  # the quality that means never
_CONDITIONS = ("If-Match", "If-Unmodified-Since", "If-None-Match", "If-Modified-Since", "If-Range")
# What a browser may show, by what the name ends with, in whichever case; it saves all else.
TYPES = {
    "html": "text/html;charset=utf-8",
    "txt": "text/plain;charset=utf-8",
    "log": "text/plain;charset=utf-8",
    "json": "application/json",
    "xml": "application/xml",
}
DEFAULT_TYPE = "application/octet-stream"
# Whatever a file is called: what a browser makes of it is none of the devserver's pages, and runs no script.
FILE_POLICY = "sandbox"


class _Answer(NamedTuple):
    status: HTTPStatus
    headers: dict[str, str]
    body: Iterable[bytes] = ()
    size: int = 0
    staged: StagedFile | None = None
    file_size: int = 0


class StaticFiles:
    """Serves what lies below a directory, and nothing else: links that leave it are not followed, the devserver's own
    records are not shown.
    """

    tells_encodings = True  # whether a file is served as what its object is encoded as, or for what it is stored as

    def __init__(
        self,
        directory: Path,
        observers: Sequence[Observer],
        on_use: Callable[[str], None],
        readers: Readers | None = None,
    ) -> None:
        """The ``observers`` are told of every answer, ``on_use`` of every file of a build that is asked for, by the
        build's path. ``readers`` counts those who are being sent one.
        """
        self.directory = str(directory.resolve())
        self._observers = observers
        self._on_use = on_use
        self.readers = readers or Readers(directory.resolve())

    def note_use(self, url_path: str) -> Read | None:
        """Take note that somebody else served the file at ``url_path``; what that is, if it is of a build."""
        with suppress(paths.NothingThere, PermissionError):
            found = buckets.find_where_it_lies(self.directory, url_path.removeprefix(buckets.INTERNAL))
            os.close(found.descriptor)
            staged = staged_file(self.directory, found.path, found.status.st_size)
            if staged:
                self._on_use(staged.build_path)
                return Read(staged.build_path, staged.file, found.status.st_size)
        return None

    def __call__(self, environ: Environment, start_response: StartResponse) -> Iterable[bytes]:
        """See PEP 3333."""
        answer = self._answered(environ)
        headers = {"Server": rendering.SERVER_NAME, "X-Content-Type-Options": "nosniff", **answer.headers}
        start_response(f"{answer.status.value} {answer.status.phrase}", list(headers.items()))
        if buckets.ACCEL in answer.headers:  # nginx tells of what it sends
            return ()
        served = _served(environ, answer)
        is_head = environ["REQUEST_METHOD"] == "HEAD"
        if isinstance(answer.body, (FileBody, DecodedBody)):
            answer.body.on_end = partial(self._ended, served)
            if is_head:
                answer.body.close()
        else:
            self._ended(served, 0 if is_head else answer.size)
        return () if is_head else answer.body

    def _ended(self, served: Served, sent: int) -> None:
        for observer in self._observers:
            observer.ends(served, sent)

    def _answered(self, environ: Environment) -> _Answer:
        try:
            return self._answered_from_disk(environ)
        except OSError as error:
            cause = as_devserver_error(error, f"{environ['SCRIPT_NAME']}{paths.text_of(environ['PATH_INFO'])}")
            if isinstance(cause, InternalFailure):
                raise
        cherrypy.log(in_a_line(cause), "STATIC")
        if isinstance(cause, OutOfResources):
            return _error(environ, HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": str(RETRY_AFTER)}, cause)
        return _error(environ, HTTPStatus.INTERNAL_SERVER_ERROR, cause=cause)

    def _answered_from_disk(self, environ: Environment) -> _Answer:
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _error(environ, HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "GET, HEAD"})
        url_path = paths.text_of(environ["PATH_INFO"])
        try:
            found = self.find(environ, url_path)
        except paths.NothingThere:
            return _error(environ, HTTPStatus.NOT_FOUND)
        except PermissionError:
            return _error(environ, HTTPStatus.FORBIDDEN)
        except InvalidParameter as error:
            return _error(environ, HTTPStatus.BAD_REQUEST, cause=error)
        if not stat.S_ISDIR(found.status.st_mode):
            return self._file(environ, found)
        os.close(found.descriptor)
        try:
            return self._listed(environ, Path(found.path), url_path)
        except (FileNotFoundError, NotADirectoryError):
            return _error(environ, HTTPStatus.NOT_FOUND)
        except PermissionError:
            return _error(environ, HTTPStatus.FORBIDDEN)

    def find(self, environ: Environment, url_path: str) -> paths.Found:
        """What is asked for, opened; raises like :func:`web.files.paths.find`, and `InvalidParameter`."""
        bucket = buckets.bucket_of(environ.get("QUERY_STRING", ""))
        return buckets.find(self.directory, url_path, bucket) if bucket else paths.find(self.directory, url_path)

    def _listed(self, environ: Environment, directory: Path, url_path: str) -> _Answer:
        headers = {"Vary": "Accept"}
        query = environ.get("QUERY_STRING", "")
        bucket = buckets.bucket_of(query)
        page = listing.page_of(directory, Path(self.directory), query, bucket)
        if page.following:
            headers["Link"] = f'<{page.following}>; rel="next"'
        if prefers_json(environ.get("HTTP_ACCEPT", "")):
            body, headers["Content-Type"] = listing.as_json(page), "application/json"
        elif not url_path.endswith("/"):
            location = quote(os.fsencode(f"{environ['SCRIPT_NAME']}{url_path}/"))
            location += f"?{buckets.PARAMETER}={bucket}" if bucket else ""
            headers |= {"Location": location, "Content-Length": "0"}
            return _Answer(HTTPStatus.MOVED_PERMANENTLY, headers)
        else:
            title = f"{environ['SCRIPT_NAME']}{url_path}"
            body = listing.as_page(page, title)
            headers |= rendering.HEADERS
        headers["Content-Length"] = str(len(body))
        return _Answer(HTTPStatus.OK, headers, (body,), len(body))

    def _file(self, environ: Environment, found: paths.Found) -> _Answer:
        try:
            answer = self._file_answer(environ, found)
        except BaseException:
            os.close(found.descriptor)
            raise
        if not isinstance(answer.body, (FileBody, DecodedBody)):
            os.close(found.descriptor)
        return answer

    def _file_answer(self, environ: Environment, found: paths.Found) -> _Answer:
        descriptor, path, status = found
        size = status.st_size
        staged = staged_file(self.directory, path, size)
        if staged:
            self._on_use(staged.build_path)
        is_encoded = bool(staged and staged.encoding and self.tells_encodings)
        if staged and is_encoded and not accepts(environ.get("HTTP_ACCEPT_ENCODING", ""), staged.encoding):
            return self._decoded_answer(environ, found, staged)
        validators = _validators_of(staged, status)
        headers = {**_headers_of(staged, validators), "Accept-Ranges": "bytes"}
        if staged:
            headers |= _headers_of_bytes(staged, is_encoded)
        content_type = content_type_of(path)
        asked = {name: environ[key] for name, key in _CONDITION_KEYS.items() if key in environ}
        if environ.get(_ACCEL_KEY) == buckets.ACCEL and not (asked or is_encoded) and _is_of_bucket(environ):
            return _Answer(HTTPStatus.OK, {**headers, **self._for_nginx(path)})
        if is_failed_precondition(asked, validators):
            of_file = {"Last-Modified": validators.last_modified, "ETag": validators.etag}
            return _error(environ, HTTPStatus.PRECONDITION_FAILED, of_file)
        if is_known(asked, validators):
            return _Answer(HTTPStatus.NOT_MODIFIED, headers, staged=staged, file_size=size)
        try:
            ranges = parse_ranges(environ.get("HTTP_RANGE"), size) if is_range_wanted(asked, validators) else None
        except NotSatisfiable:
            return _error(environ, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, {"Content-Range": f"bytes */{size}"})
        code, headers, count, parts = _with_ranges(size, ranges, content_type, headers)
        on_close = self.readers.begin(staged.build_path) if staged else _nothing
        return _Answer(code, headers, FileBody(descriptor, parts, on_close), count, staged, size)

    def _for_nginx(self, path: str) -> dict[str, str]:
        """Where an nginx in front finds the file, which it sends as it does those that it need not ask for."""
        address = f"/static/{buckets.INTERNAL}{path[len(self.directory) + 1 :]}"
        located = quote(os.fsencode(address))
        return {buckets.ACCEL: located, "Content-Type": content_type_of(path), "Content-Length": "0"}

    def _decoded_answer(self, environ: Environment, found: paths.Found, staged: StagedFile) -> _Answer:
        """A file that is stored encoded, for a client that does not take it so: all of it, of a length unknown yet."""
        generation = staged.item.generation if staged.item else ""
        modified = int(found.status.st_mtime)
        validators = Validators(f'"{generation}-decoded"', modified, changed=modified)
        headers = {**_headers_of(staged, validators), "Accept-Ranges": "none", "Vary": "Accept-Encoding"}
        asked = {name: environ[key] for name, key in _CONDITION_KEYS.items() if key in environ}
        if is_failed_precondition(asked, validators):
            return _error(environ, HTTPStatus.PRECONDITION_FAILED, headers)
        if is_known(asked, validators):
            return _Answer(HTTPStatus.NOT_MODIFIED, headers, staged=staged)
        headers["Content-Type"] = content_type_of(found.path)
        body = DecodedBody(found.descriptor, self.readers.begin(staged.build_path))
        return _Answer(HTTPStatus.OK, headers, body, staged=staged)


def _headers_of(staged: StagedFile | None, validators: Validators) -> dict[str, str]:
    """What every answer says that brings a file, or some of it."""
    headers = {
        "Content-Security-Policy": FILE_POLICY,
        "Last-Modified": validators.last_modified,
        "ETag": validators.etag,
    }
    if staged and has_own_place(staged.build_path):
        headers["Cache-Control"] = "no-store"  # without its query, the address is another build's
    return headers


def _headers_of_bytes(staged: StagedFile, is_encoded: bool) -> dict[str, str]:
    """What is said of a file's bytes as they are stored."""
    encoding = {"Content-Encoding": staged.encoding, "Vary": "Accept-Encoding"} if is_encoded else {}
    return {**encoding, "X-Goog-Hash": f"crc32c={staged.crc32c}"} if staged.crc32c else encoding


def accepts(accept_encoding: str, encoding: str) -> bool:
    """Whether a client says that it takes ``encoding``; one that says nothing of encodings knows of none."""
    for one in accept_encoding.lower().split(","):
        name, _, quality = one.partition(";")
        if name.strip() in (encoding, "*"):
            return not _REFUSED.fullmatch(quality.strip())
    return False


def _is_of_bucket(environ: Environment) -> bool:
    """Whether the request names a bucket."""
    return bool(buckets.bucket_of(environ.get("QUERY_STRING", "")))


def _validators_of(staged: StagedFile | None, status: os.stat_result) -> Validators:
    """What names the state of a file.

    A file of a build is named by its checksum, and where that is not in mind by when it came to lie here. Its time is
    no name: that of what was unpacked is its tarball's, and many pack with one time for all; and two builds may be
    staged within a second.
    """
    size, modified = status.st_size, int(status.st_mtime)
    if staged is None:
        return Validators(f'"{status.st_mtime_ns:x}-{size:x}"', modified, (f'"{modified:x}-{size:x}"',))
    if staged.item is not None:
        return Validators(f'"{staged.item.crc32c}-{staged.item.generation}"', modified, changed=modified)
    state = staged.crc32c or f"{status.st_ctime_ns:x}"
    return Validators(f'"{state}-{status.st_mtime_ns:x}-{size:x}"', modified, changed=math.ceil(status.st_ctime))


def content_type_of(path: str) -> str:
    """The type of the file at ``path``, which nginx in front finds in the same way."""
    stem, dot, ending = path.rpartition("/")[2].rpartition(".")
    return TYPES.get(ending.lower(), DEFAULT_TYPE) if stem.strip(".") and dot else DEFAULT_TYPE


# In the words of Rack's and of Rails' servers: how who is in front sends files.
_ACCEL_KEY = "HTTP_X_SENDFILE_TYPE"
_CONDITION_KEYS = {name: f"HTTP_{name.upper().replace('-', '_')}" for name in _CONDITIONS}


def _nothing() -> None:
    pass


def _served(environ: Environment, answer: _Answer) -> Served:
    build, file = (answer.staged.build_path, answer.staged.file) if answer.staged else ("", "")
    return Served(environ, answer.status, answer.size, build, file, answer.file_size)


def _with_ranges(
    size: int, ranges: list[FileRange] | None, content_type: str, headers: dict[str, str]
) -> tuple[HTTPStatus, dict[str, str], int, list[bytes | FileRange]]:
    """The status, headers, length and parts of an answer that brings a file, or ranges of it."""
    parts: list[bytes | FileRange]
    if ranges is None:
        status, count, parts = HTTPStatus.OK, size, [FileRange(0, size)]
    elif len(ranges) == 1:
        (start, stop), status, parts = ranges[0], HTTPStatus.PARTIAL_CONTENT, [*ranges]
        count = stop - start
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    else:
        boundary = secrets.token_hex(10)
        status, parts = HTTPStatus.PARTIAL_CONTENT, _multipart(ranges, size, content_type, boundary)
        count = sum(len(part) if isinstance(part, bytes) else part.stop - part.start for part in parts)
        content_type = f"multipart/byteranges; boundary={boundary}"
    headers |= {"Content-Type": content_type, "Content-Length": str(count)}
    return status, headers, count, parts


def _multipart(ranges: list[FileRange], size: int, content_type: str, boundary: str) -> list[bytes | FileRange]:
    """The ranges as one body (RFC 9110, 14.6)."""
    parts: list[bytes | FileRange] = []
    for start, stop in ranges:
        head = f"\r\n--{boundary}\r\nContent-Type: {content_type}\r\nContent-Range: bytes {start}-{stop - 1}/{size}"
        parts += [f"{head}\r\n\r\n".encode(), FileRange(start, stop)]
    parts.append(f"\r\n--{boundary}--\r\n".encode())
    return parts


def _error(
    environ: Environment,
    status: HTTPStatus,
    headers: Mapping[str, str] | None = None,
    cause: DevServerError | None = None,
) -> _Answer:
    told = (cause.kind, str(cause)) if cause is not None else ()
    content_type, body = error_answer(status, environ.get("HTTP_ACCEPT", ""), *told)
    more = {**rendering.HEADERS, "Content-Type": content_type, "Content-Length": str(len(body))}
    return _Answer(status, {**(headers or {}), **more}, (body,), len(body))
