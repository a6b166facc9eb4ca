"""Whose request it is: its id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from staging import request_ids

# Where a WSGI application finds the request's id in its environment.
REQUEST_ID_KEY = "devserver.request_id"
REQUEST_ID_HEADER = "X-Request-ID"
# Where it finds the host that the connection itself asked for, if a proxy of this machine named another: a browser of
# this machine can pass for one.
OWN_HOST_KEY = "devserver.own_host"
# As clients send it: the usual one first, then those of Tast.
_HEADERS = ("HTTP_X_REQUEST_ID", "HTTP_X_SWARMING_TASK_ID", "HTTP_X_BBID")


def request_id_of(environ: Mapping[str, Any]) -> str:
    """The id that the client gave its request, or a new one."""
    for header in _HEADERS:
        if given := environ.get(header):
            return request_ids.cleaned(given.strip(" \t")) or request_ids.new()
    return request_ids.new()
