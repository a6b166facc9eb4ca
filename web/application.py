"""The web application: what is served where."""

from __future__ import annotations

import cherrypy

from downloader import Downloader
from web import errors
from web.files.application import StaticFiles
from web.health import HealthSampler
from web.http.clients import WaitingRoom
from web.rpc import Rpcs


def mount(
    downloader: Downloader, health: HealthSampler, files: StaticFiles, waiting_room: WaitingRoom, is_proxied: bool
) -> None:
    """Put the RPCs and the static directory into CherryPy's tree."""
    errors.install()
    settings = {"tools.devserver_errors.on": True, "tools.proxy.on": is_proxied}
    cherrypy.tree.mount(Rpcs(downloader, health, waiting_room), "/", {"/": settings})
    cherrypy.tree.graft(files, "/static")
