"""What a request has in it: any bytes are read within the grammar, or refused with an error that has words."""

from __future__ import annotations

import fnmatch
import io
import os
from pathlib import Path

import cherrypy
from cheroot.errors import MaxSizeExceeded
from cherrypy import _cpreqbody

from artifacts.patterns import Pattern
from staging.archives import ArchiveUrl
from staging.errors import InvalidArchiveUrl
from web.access.hosts import checked_name
from web.cookies import cookies_of
from web.files.ranges import NotSatisfiable, parse_ranges
from web.front.use_log import parsed as parsed_line
from web.http.request import _read_headers
from web.http.request_line import BadLine, parsed
from web.incoming import _UNREADABLE, Part, _process_multipart

_LONGEST_NAME = 60  # of what the shell's own matcher is asked of: it takes exponential time


def url(data: bytes) -> None:
    """The URL of a build."""
    text, any_depth = data[1:].decode("utf-8", "surrogateescape"), bool(data[:1] and data[0] % 2)
    try:
        read = ArchiveUrl.parse(text, (Path("/srv/archive"),), any_depth)
    except InvalidArchiveUrl:
        return
    assert ArchiveUrl.parse(str(read), (Path("/srv/archive"),), any_depth) == read, "it is not read as it is printed"
    assert not {"", ".", "..", ".devserver"} & set(read.build_path.split("/")) or not read.build_path


def ranges(data: bytes) -> None:
    """A ``Range`` header, of a file of some size."""
    size = int.from_bytes(data[:2], "little")
    try:
        found = parse_ranges(data[2:].decode("latin-1"), size)
    except NotSatisfiable:
        return
    assert found is None or found
    assert all(0 <= start < stop <= size for start, stop in found or [])
    assert sum(stop - start for start, stop in found or []) <= size, "more than the file"


def cookies(data: bytes) -> None:
    """A ``Cookie`` header."""
    for name, morsel in cookies_of(data.decode("latin-1")).items():
        assert name == morsel.key
        assert "\n" not in morsel.OutputString().replace("\\012", ""), "a header would end there"


def request(data: bytes) -> None:
    """A request line, and the headers behind it."""
    line, _, rest = data.partition(b"\n")
    try:
        read = parsed(line + b"\n")
    except BadLine as error:
        assert str(error), "nothing is said"
    else:
        assert read.address, "no address"
    headers: dict[bytes, bytes] = {}
    try:
        _read_headers(io.BytesIO(rest), headers)
    except (ValueError, MaxSizeExceeded):
        return
    assert not any(b"\n" in value or b"\0" in value for value in headers.values()), "a value has more than one line"


def host(data: bytes) -> None:
    """A name that ``--allow-host`` has."""
    try:
        name = checked_name(data.decode("utf-8", "replace"))
    except ValueError:
        return
    assert name.isprintable()
    assert name == name.lower()


def multipart(data: bytes) -> None:
    """A form with parts; its first line says where they end."""
    boundary, _, body = data.partition(b"\n")
    headers = cherrypy.lib.httputil.HeaderMap()
    headers["Content-Type"] = "multipart/form-data; boundary=" + boundary.decode("latin-1")
    headers["Content-Length"] = str(len(body))
    entity = _cpreqbody.RequestBody(io.BytesIO(body), headers, request_params={})
    entity.part_class = Part
    entity.processors = {"multipart": _process_multipart}
    try:
        entity.process()
    except (cherrypy.HTTPError, *_UNREADABLE):
        return


def pattern(data: bytes) -> None:
    """A pattern, and a name that may be of it: as the shell has it, where that can be asked in time."""
    text, _, name = data.decode("utf-8", "replace").partition("\n")
    matches = Pattern(text, has_fields=False).matches(name)
    Pattern(text).matches(name)
    plain = not set("[]/") & set(text + name) and text.count("*") <= 3 and len(name) <= _LONGEST_NAME
    if plain and "\n" not in name:
        assert matches == fnmatch.fnmatchcase(name, text), "the shell has it otherwise"


def use_log(data: bytes) -> None:
    """A line of the log of an nginx in front."""
    read = parsed_line(data)
    if read is not None and not data.startswith(b"{"):
        assert os.fsencode(read.path) in data
