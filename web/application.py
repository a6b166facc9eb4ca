"""The web application: what is served where."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cherrypy

from downloader import Downloader
from web import errors
from web.health import HealthSampler
from web.rpc import Rpcs
from web.static_files import StaticFiles


def mount(downloader: Downloader, health: HealthSampler, static_dir: Path) -> None:
    """Put the RPCs and the static directory into CherryPy's tree."""
    errors.install()
    settings: dict[str, Any] = {"tools.devserver_errors.on": True}
    cherrypy.tree.mount(Rpcs(downloader, health), "/", {"/": settings})
    everything = OneHandler(StaticFiles(static_dir).serve)
    cherrypy.tree.mount(None, "/static", {"/": {**settings, "request.dispatch": everything}})


class OneHandler(cherrypy.dispatch.Dispatcher):  # type: ignore[misc]
    """Gives every path to one handler, its parts as arguments: no file's name is taken for the name of a method."""

    def __init__(self, handler: Callable[..., Any]) -> None:
        super().__init__()
        self._handler = handler

    def find_handler(self, path: str) -> tuple[Callable[..., Any], list[str]]:
        """See CherryPy's own: the handler, and its arguments."""
        request = cherrypy.serving.request
        request.config = {**cherrypy.config, **request.app.config["/"]}
        return self._handler, [part for part in path.split("/") if part]
