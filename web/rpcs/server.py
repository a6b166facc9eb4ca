"""The front page, the server's health, and the RPCs' documentation."""

from __future__ import annotations

import inspect
import json
from typing import Any

import cherrypy

from web.health import HealthSampler
from web.methods import answers, documentation_page

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
<dt><a href="/doc">/doc</a></dt>
<dd>all that can be asked</dd>
</dl>
</body>
</html>
"""


class ServerRpcs:
    """The RPCs of who wants to know something of the server."""

    def __init__(self, health: HealthSampler) -> None:
        self._health = health

    @answers("GET", "HEAD")
    def index(self, /, **_ignored: Any) -> str:
        """The front page, and a liveness probe."""
        return _WELCOME

    @answers("GET", "HEAD")
    def check_health(self, /, **_ignored: Any) -> bytes:
        """How the server is doing, as JSON: free_disk (GiB), cpu_percent, disk_total_bytes_per_second,
        network_total_bytes_per_second, staging_thread_count, apache_client_count (clients being served).
        """
        cherrypy.response.headers["Content-Type"] = "application/json"
        return json.dumps(self._health.latest()).encode()

    @answers("GET", "HEAD")
    def doc(self, /, *path: str, **_ignored: Any) -> str:
        """What the RPCs are for: all of them at /doc, one at /doc/stage."""
        rpcs = {
            name: inspect.getdoc(method) or ""
            for name, method in inspect.getmembers(self, callable)
            if getattr(method, "exposed", False)
        }
        name = "/".join(path)
        if name and name not in rpcs:
            raise cherrypy.NotFound
        return documentation_page({name: rpcs[name]} if name else rpcs)
