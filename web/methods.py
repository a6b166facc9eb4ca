"""What handlers have in common: which HTTP methods they take, and how they answer in plain text."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar

import cherrypy

from staging.errors import OtherSite
from web import rendering
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


def documented(handler: Handler) -> Handler:
    """Have a handler of several parameters answer with its documentation where it is given none of them."""

    @wraps(handler)
    def answered(self: Any, /, **parameters: Any) -> Any:
        if not parameters:
            return documentation_page({handler.__name__: inspect.getdoc(handler) or ""})
        return handler(self, **parameters)

    return answered  # type: ignore[return-value]


def documentation_page(documentation: Mapping[str, str]) -> bytes:
    """The documentation of some RPCs, by their names, as a page."""
    cherrypy.response.headers.update(rendering.HEADERS)
    title = f"/{next(iter(documentation))}" if len(documentation) == 1 else "What can be asked"
    return rendering.page("documentation.html", title=title, documentation=documentation)


def as_text(content: str | bytes) -> bytes:
    """The body of an answer in plain text."""
    cherrypy.response.headers["Content-Type"] = "text/plain;charset=utf-8"
    return content.encode() if isinstance(content, str) else content
