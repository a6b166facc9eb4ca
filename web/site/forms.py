"""Forms that change something carry a token, which the pages of other sites cannot know.

It is in a cookie too, and the two are compared: nothing of it is kept here, so that a form outlives a restart.
"""

from __future__ import annotations

import secrets
from typing import Any

import cherrypy

from web.visitors import is_of_other_site

_COOKIE = "devserver-form"
_BYTES = 16
_LONGEST = 64


def token() -> str:
    """The token of the browser that asks, made if it has none."""
    sent = cherrypy.serving.request.cookie.get(_COOKIE)
    if sent is not None and _LONGEST >= len(sent.value) >= _BYTES and sent.value.isascii():
        return str(sent.value)
    made = secrets.token_urlsafe(_BYTES)
    cookie = cherrypy.serving.response.cookie
    cookie[_COOKIE] = made
    cookie[_COOKIE].update({"path": "/", "httponly": True, "samesite": "Strict"})
    cherrypy.serving.request.cookie[_COOKIE] = made  # for who asks again in this request
    return made


def is_ours(given: Any) -> bool:
    """Whether the token that came with a form is the browser's own, and the form a page's of this devserver.

    The second is asked beside the first because the page of another port, or of a neighbouring host, can set cookies.
    """
    if is_of_other_site(cherrypy.serving.request.headers):
        return False
    sent = cherrypy.serving.request.cookie.get(_COOKIE)
    is_there = sent is not None and isinstance(given, str) and len(given) >= _BYTES and given.isascii()
    return is_there and secrets.compare_digest(sent.value.encode(), given.encode())
