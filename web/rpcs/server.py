"""The server's health, and the RPCs' documentation."""

from __future__ import annotations

import inspect
import json
from typing import Any

import cherrypy

from web.health import HealthSampler
from web.methods import answers, documentation_page
from web.metrics.page import MetricsPage

_NO_RPCS = ("index", "builds", "login", "assets", "favicon_ico")  # but pages, and what they are made with


class ServerRpcs:
    """The RPCs of who wants to know something of the server."""

    def __init__(self, health: HealthSampler, metrics: MetricsPage) -> None:
        self._health = health
        self._metrics = metrics

    @answers("GET", "HEAD")
    def check_health(self, /, **_ignored: Any) -> bytes:
        """How the server is doing, as JSON: free_disk (GiB), cpu_percent, disk_total_bytes_per_second,
        network_total_bytes_per_second, staging_thread_count, apache_client_count (clients being served).

        queued_downloads
            Downloads that wait for a place.
        waiting_clients, free_seats
            Clients that wait for something, and how many more may.
        overloaded
            1 where new work would be refused or would wait for long: as many downloads are under way as may; four times
            as many wait as are staged at once, or one has for a minute; no seat is free; all threads are at work; less
            than 3 % of the disk's room, or of its files, is free; less than 5 % of the memory is available. Else 0.
        figures_age_seconds
            How old the figures of the machine are; they are renewed every two seconds, unless it cannot be done.
        broker_reachable
            In a cluster alone: 0 where the broker between devservers and workers does not answer, else 1.
        """
        cherrypy.response.headers["Content-Type"] = "application/json"
        return json.dumps(self._health.latest()).encode()

    @answers("GET", "HEAD")
    def metrics(self, /, **_ignored: Any) -> bytes:
        """What this server has done and does, for Prometheus: as OpenMetrics for who accepts that, else as its text."""
        accept = cherrypy.request.headers.get("Accept", "")
        cherrypy.response.headers["Content-Type"], page = self._metrics.answer(accept)
        return page

    @answers("GET", "HEAD")
    def doc(self, /, *path: str, **_ignored: Any) -> bytes:
        """What the RPCs are for: all of them at /doc, one at /doc/stage."""
        rpcs = {
            name: inspect.getdoc(method) or ""
            for name, method in inspect.getmembers(self, callable)
            if getattr(method, "exposed", False) and name not in _NO_RPCS
        }
        name = "/".join(path)
        if name and name not in rpcs:
            raise cherrypy.NotFound
        return documentation_page({name: rpcs[name]} if name else rpcs)
