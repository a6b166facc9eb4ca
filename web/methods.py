"""What handlers have in common: which HTTP methods they take, and how they answer in plain text."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from html import escape
from typing import Any, TypeVar

import cherrypy

Handler = TypeVar("Handler", bound=Callable[..., Any])

_DOCUMENTATION = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>devserver: {title}</title></head>
<body>
{entries}
<p><a href="/doc">All that can be asked</a></p>
</body>
</html>
"""


def answers(*methods: str) -> Callable[[Handler], Handler]:
    """Expose a handler to requests of these ``methods``, and answer 405 to all others.

    CherryPy's own tool lets HEAD through wherever GET is allowed; a HEAD must not start a download.
    """

    def decorate(handler: Handler) -> Handler:
        takes = inspect.signature(handler)

        @wraps(handler)
        def checked(*args: Any, **parameters: Any) -> Any:
            if cherrypy.request.method not in methods:
                cherrypy.response.headers["Allow"] = ", ".join(methods)
                raise cherrypy.HTTPError(405)
            try:
                takes.bind(*args, **parameters)
            except TypeError:  # more parts of a path than the handler has places for
                raise cherrypy.NotFound() from None
            return handler(*args, **parameters)

        return cherrypy.expose(checked)  # type: ignore[no-any-return]

    return decorate


def documented(handler: Handler) -> Handler:
    """Have a handler of several parameters answer with its documentation where it is given none of them."""

    @wraps(handler)
    def answered(self: Any, /, **parameters: Any) -> Any:
        if not parameters:
            cherrypy.response.headers["Content-Type"] = "text/html;charset=utf-8"
            return documentation_page({handler.__name__: inspect.getdoc(handler) or ""}).encode()
        return handler(self, **parameters)

    return answered  # type: ignore[return-value]


def documentation_page(documentation: Mapping[str, str]) -> str:
    """The documentation of some RPCs, by their names, as a page."""
    entries = [
        f"<h2><code>/{escape(name)}</code></h2>\n<pre>{escape(text)}</pre>" for name, text in documentation.items()
    ]
    return _DOCUMENTATION.format(title=escape(", ".join(documentation)[:60]), entries="\n".join(entries))


def as_text(content: str | bytes) -> bytes:
    """The body of an answer in plain text."""
    cherrypy.response.headers["Content-Type"] = "text/plain;charset=utf-8"
    return content.encode() if isinstance(content, str) else content
