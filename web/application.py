"""The web application: what is served where."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cherrypy

from downloader import Downloader
from staging.archives.peers import OBJECTS
from staging.stackwalker import Stackwalker
from web import errors, incoming, redirects, requests
from web.access.tokens import TokenFile
from web.api.application import Api
from web.api.operations import PREFIX
from web.files.application import StaticFiles
from web.files.kept_objects import KeptObjects
from web.health import HealthSampler
from web.http.clients import WaitingRoom
from web.metrics.page import MetricsPage
from web.requests import Count
from web.rpcs.builds import BuildRpcs
from web.rpcs.server import ServerRpcs
from web.rpcs.staging import StagingRpcs
from web.rpcs.symbols import SymbolRpcs
from web.site.assets import AssetHandlers
from web.site.handlers import SiteHandlers
from web.site.login import LoginHandlers
from web.site.pages import Pages

_INNER = re.compile(r"__\w+__")


class Dispatcher(cherrypy.dispatch.Dispatcher):  # type: ignore[misc]
    """CherryPy's dispatcher, but for the insides of Python's objects, which it takes for handlers: a class has the
    attributes of its instances, and a method leads to both.
    """

    def find_handler(self, path: str) -> Any:
        """The handler of a path, and what of it is left."""
        found = super().find_handler(path)
        is_inner = any(_INNER.fullmatch(part.translate(self.translate)) for part in path.split("/"))
        if is_inner:
            cherrypy.serving.request.is_index = None
            return None, []
        return found


class Root(StagingRpcs, BuildRpcs, SymbolRpcs, ServerRpcs, SiteHandlers, AssetHandlers, LoginHandlers):
    """The root of the web application: every RPC, and the pages."""

    def __init__(
        self,
        downloader: Downloader,
        health: HealthSampler,
        waiting_room: WaitingRoom,
        static_dir: Path,
        pages: Pages,
        metrics: MetricsPage,
        tokens: TokenFile | None = None,
        stackwalker: Stackwalker | None = None,
    ) -> None:
        LoginHandlers.__init__(self, tokens)
        SiteHandlers.__init__(self, pages)
        StagingRpcs.__init__(self, downloader, waiting_room, pages)
        BuildRpcs.__init__(self, downloader, static_dir)
        SymbolRpcs.__init__(self, downloader, static_dir, waiting_room, stackwalker)
        ServerRpcs.__init__(self, health, metrics)


def mount(root: Root, api: Api, files: StaticFiles, objects: KeptObjects, count: Count) -> None:
    """Put the RPCs and the static directory into CherryPy's tree; ``count`` is told of every answer but of files."""
    errors.install()
    incoming.install()
    requests.install(count)
    redirects.install()
    settings = {
        "request.dispatch": Dispatcher(),
        "tools.devserver_bodies.on": True,
        "tools.devserver_errors.on": True,
        "tools.devserver_requests.on": True,
    }
    cherrypy.tree.mount(root, "/", {"/": settings}).request_class = incoming.IncomingRequest
    # Bodies are read by the operations that take one.
    of_api = {**settings, "request.process_request_body": False, "response.stream": True}
    cherrypy.tree.mount(api, PREFIX, {"/": of_api}).request_class = incoming.IncomingRequest
    cherrypy.tree.graft(files, "/static")
    cherrypy.tree.graft(objects, OBJECTS)
