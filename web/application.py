"""The web application: what is served where."""

from __future__ import annotations

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
    cherrypy.tree.mount(StaticFiles(static_dir), "/static", {"/": settings})
