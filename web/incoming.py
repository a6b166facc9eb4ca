"""CherryPy's request, where headers, cookies and bodies are read leniently or refused with 400, and never a failure.

CherryPy decodes headers as mail has them, and fails where it cannot; it answers what goes wrong before a handler is
found with a page of its own.
"""

from __future__ import annotations

from typing import Any

import cherrypy
from cherrypy import _cpreqbody, _cprequest

from web.cookies import cookies_of
from web.errors import error_page
from web.http.request import DUMPS
from web.methods import refuse_encoded_body

_MOST_PARTS = 100  # of a multipart body
# What CherryPy fails to read, and nobody needs: the one is a part's of a body, the other of a time before UTF-8.
_NOT_READ = ("Content-Disposition", "Accept-Charset")
_UNREADABLE = (ValueError, LookupError, EOFError)  # what CherryPy's readers of bodies raise of what is none


class IncomingRequest(_cprequest.Request):  # type: ignore[misc]
    """A request to CherryPy's applications."""

    # Those of CherryPy's configuration hold only from when a handler was found.
    show_tracebacks = False
    error_page = {"default": error_page}  # noqa: RUF012 - CherryPy copies it for each request

    def process_headers(self) -> None:
        """Take the headers as they came: nothing in HTTP is written as mail encodes words (RFC 9110, 5.5)."""
        for name, value in self.header_list:
            self.headers[name.title()] = value.strip()
        for name in _NOT_READ:
            self.headers.pop(name, None)
        self.cookie = cookies_of(self.headers.get("Cookie", ""))
        self.base = f"{self.scheme}://{self.headers.get('Host') or self.local.name or self.local.ip}"


def install() -> None:
    """Make the tool ``tools.devserver_bodies``, which reads the body of a form."""
    cherrypy.tools.devserver_bodies = cherrypy.Tool("before_request_body", _read_body, name="devserver_bodies")


def _read_body() -> None:
    """Do what CherryPy does next, and tell a client whose body cannot be read that it is the body."""
    request = cherrypy.serving.request
    if not request.process_request_body:
        return
    request.process_request_body = False
    if request.path_info == DUMPS:  # whose handler reads it
        return
    refuse_encoded_body()
    request.body.processors = {
        "application/x-www-form-urlencoded": _cpreqbody.process_urlencoded,
        "multipart": _process_multipart,
    }
    request.body.part_class = Part
    try:
        request.body.process()
    except _UNREADABLE:
        raise cherrypy.HTTPError(400, "the body is not what its Content-Type says") from None


class Part(_cpreqbody.Part):  # type: ignore[misc]
    """A part of a multipart body, which has no parts of its own."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.processors: dict[str, Any] = {}

    @classmethod
    def from_fp(cls, fp: Any, boundary: bytes) -> Any:
        """Read the next part."""
        fp.parts_left = getattr(fp, "parts_left", _MOST_PARTS) - 1
        if fp.parts_left < 0:
            raise cherrypy.HTTPError(400, f"the body has more than {_MOST_PARTS} parts")
        return super().from_fp(fp, boundary)


def _process_multipart(body: Any) -> None:
    if not body.content_type.value.startswith("multipart/"):
        raise ValueError("there is no such type")
    _cpreqbody.process_multipart_form_data(body)
    if not body.parts and not body.params:
        raise ValueError("there is no part")
