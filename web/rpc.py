"""The RPCs: what a test harness calls. Each one parses, asks one thing, and answers."""

from __future__ import annotations

import json
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any

import cherrypy

from downloader import Downloader
from web.health import HealthSampler
from web.http.clients import WaitingRoom
from web.http.gateway import SOCKET_KEY
from web.methods import answers
from web.parameters import flag, seconds, text

_EXAMPLE_URL = "gs://chromeos-image-archive/x86-mario-release/R17-1413.0.0-a1-b1346"

_WELCOME = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>devserver</title></head>
<body>
<h1>Welcome to the Dev Server!</h1>
<p>It stages builds from an archive, and serves them:</p>
<dl>
<dt><code>/download?archive_url=gs://bucket/target/version</code></dt>
<dd>stages a build; answers <code>Success</code> once what devices need first is there</dd>
<dt><code>/wait_for_status?archive_url=gs://bucket/target/version</code></dt>
<dd>answers <code>Success</code> once all of it is</dd>
<dt><a href="/static/">/static/target/version/</a></dt>
<dd>the builds' files</dd>
<dt><a href="/check_health">/check_health</a></dt>
<dd>how the server is doing</dd>
</dl>
</body>
</html>
"""


class Rpcs:
    """The methods of the web application's root."""

    def __init__(self, downloader: Downloader, health: HealthSampler, waiting_room: WaitingRoom) -> None:
        self._downloader = downloader
        self._health = health
        self._waiting_room = waiting_room

    @answers("GET", "HEAD")
    def index(self, /, **_ignored: Any) -> str:
        """The front page, and a liveness probe."""
        return _WELCOME

    @answers("GET", "POST")
    def download(self, /, archive_url: Any = None, background: Any = None, **_ignored: Any) -> str:
        """Stage a build; answers ``Success`` once its synchronous artifacts are staged, the others following in the
        background. With ``background=false``, once everything is.
        """
        url = text("archive_url", archive_url, _EXAMPLE_URL)
        in_background = flag("background", background, default=True)
        with self._seat() as gone:
            self._downloader.download(url, in_background, gone)
        return _success()

    @answers("GET", "POST")
    def wait_for_status(self, /, archive_url: Any = None, timeout: Any = None, **_ignored: Any) -> str:
        """Wait until a build that was asked for is staged; answers ``Success`` then, or the cause of its failure. With
        ``timeout``, 504 after so many seconds.
        """
        url = text("archive_url", archive_url, _EXAMPLE_URL)
        longest = seconds("timeout", timeout)
        with self._seat() as gone:
            self._downloader.get_status_of_background_downloads(url, longest, gone)
        return _success()

    @answers("GET", "HEAD")
    def check_health(self, /, **_ignored: Any) -> bytes:
        """How the server is doing, as JSON."""
        cherrypy.response.headers["Content-Type"] = "application/json"
        return json.dumps(self._health.latest()).encode()

    def _seat(self) -> AbstractContextManager[Future[None]]:
        """Room for the client to wait in; what it gives is done once the client went away."""
        return self._waiting_room.seat(cherrypy.serving.request.wsgi_environ[SOCKET_KEY])


def _success() -> str:
    cherrypy.response.headers["Content-Type"] = "text/plain;charset=utf-8"
    return "Success"
