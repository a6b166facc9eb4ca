"""The addresses of the pages that people see, but for /download, which programs ask for too."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import cherrypy

from staging.errors import NotStaged
from web.methods import answers, refuse_other_sites
from web.parameters import optional_text
from web.site.pages import Pages


class SiteHandlers:
    """The front page, and the builds' pages."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    @cherrypy.config(**{"response.stream": True})  # type: ignore[untyped-decorator]
    @answers("GET", "HEAD")
    def index(self, /, *, after: Any = None, before: Any = None, name: Any = None, **_ignored: Any) -> Iterator[bytes]:
        """The front page, and a liveness probe."""
        given = {"after": after, "before": before, "name": name}
        return self._pages.front(*(optional_text(key, value) for key, value in given.items()))

    @answers("GET", "HEAD", "POST")
    def builds(
        self,
        /,
        *path: str,
        ask: Any = None,
        action: Any = None,
        artifact: Any = None,
        token: Any = None,
        gs_bucket: Any = None,
        archive_url: Any = None,
        **_ignored: Any,
    ) -> bytes:
        """The page of one build; a POST does what one of its buttons says, to the build or to one artifact of it."""
        url = optional_text("archive_url", archive_url)
        if not (any(path) or url):
            raise cherrypy.HTTPRedirect("/", int(HTTPStatus.SEE_OTHER))  # the list of them
        try:
            build_path = self._pages.name_of(url or "/".join(path), optional_text("gs_bucket", gs_bucket))
            if cherrypy.request.method == "POST":
                refuse_other_sites()
                of_it = optional_text("artifact", artifact)
                return self._pages.act(build_path, optional_text("action", action), of_it, token)
            if optional_text("ask", ask) == "remove":
                return self._pages.remove_form(build_path)
            return self._pages.build(build_path)
        except NotStaged as error:
            cherrypy.serving.request.devserver_error = error  # as the RPCs' errors are told, but for the status
            raise cherrypy.HTTPError(404) from error
