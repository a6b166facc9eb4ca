"""What handlers have in common: which HTTP methods they take, and how they answer in plain text."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from itertools import pairwise
from typing import Any, TypeVar

import cherrypy

from staging.errors import InvalidParameter, OtherSite
from web import rendering
from web.error_pages import prefers_json
from web.visitors import is_of_other_site

Handler = TypeVar("Handler", bound=Callable[..., Any])


def answers(*methods: str, changes: bool = False) -> Callable[[Handler], Handler]:
    """Expose a handler to requests of these ``methods``, and answer 405 to all others.

    CherryPy's own tool lets HEAD through wherever GET is allowed; a HEAD must not start a download. What ``changes``
    something is not done for the page of another site.
    """

    def decorate(handler: Handler) -> Handler:
        takes = inspect.signature(handler)

        @wraps(handler)
        def checked(*args: Any, **parameters: Any) -> Any:
            if cherrypy.request.method not in methods:
                cherrypy.response.headers["Allow"] = ", ".join(methods)
                raise cherrypy.HTTPError(405)
            if changes:
                refuse_other_sites()
            try:
                takes.bind(*args, **parameters)
            except TypeError:  # more parts of a path than the handler has places for
                raise cherrypy.NotFound() from None
            return handler(*args, **parameters)

        return cherrypy.expose(checked)  # type: ignore[no-any-return]

    return decorate


def refuse_other_sites() -> None:
    """Go on unless the page of another site may have made a browser ask.

    Raises:
        OtherSite

    """
    if is_of_other_site(cherrypy.request.headers):
        raise OtherSite(cherrypy.request.script_name + cherrypy.request.path_info)


def refuse_encoded_body() -> None:
    """Go on unless the body is compressed, or written in another way that nothing here reads (RFC 9110, 8.4)."""
    coding = cherrypy.serving.request.headers.get("Content-Encoding", "").strip().lower()
    if coding not in ("", "identity"):
        raise cherrypy.HTTPError(415, f"the body has the Content-Encoding {coding[:40]!r}, and should have none")


def documented(handler: Handler) -> Handler:
    """Have a handler of several parameters answer with its documentation where it is given none of them; a program
    that prefers JSON is told that it forgot them.
    """

    @wraps(handler)
    def answered(self: Any, /, **parameters: Any) -> Any:
        if not parameters and prefers_json(cherrypy.request.headers.get("Accept", "")):
            raise InvalidParameter("parameters", f"none was given; /doc/{handler.__name__} says which there are")
        if not parameters:
            return documentation_page({handler.__name__: inspect.getdoc(handler) or ""})
        return handler(self, **parameters)

    return answered  # type: ignore[return-value]


def documentation_page(documentation: Mapping[str, str]) -> bytes:
    """The documentation of some RPCs, by their names, as a page."""
    cherrypy.response.headers.update(rendering.HEADERS)
    title = f"/{next(iter(documentation))}" if len(documentation) == 1 else "What can be asked"
    blocks = {name: _blocks(text) for name, text in documentation.items()}
    return rendering.page("documentation.html", title=title, documentation=blocks)


def _blocks(text: str) -> list[tuple[str, Any]]:
    """The paragraphs of a docstring, as ``("text", …)``, and its lists of parameters, as ``("list", [(name, …), …])``.

    A parameter is a line of one word, and what it means stands below it, indented.
    """
    blocks: list[tuple[str, Any]] = []
    lines = [*text.splitlines(), ""]
    for line, following in pairwise(lines):
        if line.startswith("    ") and blocks and blocks[-1][0] == "list":
            parameter = blocks[-1][1][-1]
            parameter[1] = f"{parameter[1]} {line.strip()}".lstrip()
        elif following.startswith("    "):
            if not blocks or blocks[-1][0] != "list":
                blocks.append(("list", []))
            blocks[-1][1].append([line, ""])
        elif line and blocks and blocks[-1][0] == "paragraph":
            blocks[-1] = ("paragraph", f"{blocks[-1][1]} {line}")
        elif line:
            blocks.append(("paragraph", line))
        else:
            blocks.append(("gap", ""))
    return [block for block in blocks if block[0] != "gap"]


def as_text(content: str | bytes) -> bytes:
    """The body of an answer in plain text; a name in it is the bytes that it has on the disk."""
    cherrypy.response.headers["Content-Type"] = "text/plain;charset=utf-8"
    return content.encode(errors="surrogateescape") if isinstance(content, str) else content
