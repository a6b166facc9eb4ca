"""The requests that CherryPy answers: whose each is, and that each is counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cherrypy

from staging import request_ids
from web.callers import REQUEST_ID_KEY

Count = Callable[[str, int], None]

_OTHER = "other"  # addresses that nothing is at, of which there are as many as clients think of
_FRONT_PAGE = "index"
_ASSETS = "assets"  # of the pages


def install(count: Count) -> None:
    """Make the tool ``tools.devserver_requests``, which has what a request sets off carry its id, and tells ``count``
    of the RPC and the status of every answer.
    """
    cherrypy.tools.devserver_requests = _Requests(count)


class _Requests(cherrypy.Tool):  # type: ignore[misc]
    def __init__(self, count: Count) -> None:
        super().__init__("on_start_resource", self._begin, name="devserver_requests")
        self._count = count

    def _setup(self) -> None:
        """CherryPy's hook, by which a tool joins in."""
        super()._setup()
        cherrypy.serving.request.hooks.attach("on_end_request", self._end)

    def _begin(self) -> None:
        request = cherrypy.serving.request
        request.unique_id = request.wsgi_environ[REQUEST_ID_KEY]
        request_ids.work_for(request.unique_id)

    def _end(self) -> None:
        request_ids.work_for("")  # the thread serves another client next
        status = (cherrypy.serving.response.output_status or b"500").split()[0]
        self._count(_rpc_of(cherrypy.serving.request), int(status))


def _rpc_of(request: Any) -> str:
    """What was asked for, by a name of which there are few."""
    if operation := getattr(request, "devserver_rpc", ""):
        return str(operation)
    name = request.path_info.strip("/").partition("/")[0] or _FRONT_PAGE
    is_known = getattr(getattr(request.app.root, name, None), "exposed", False)
    return name if name == _ASSETS or (is_known and name != "default") else _OTHER
