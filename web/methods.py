"""Which HTTP methods an address takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import cherrypy

Handler = TypeVar("Handler", bound=Callable[..., Any])


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
