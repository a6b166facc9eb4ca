"""Logging in: a browser keeps a token in a cookie, which no script and no other site can make use of."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

import cherrypy

from web.access import grants
from web.access.gate import COOKIE
from web.access.tokens import TokenFile
from web.methods import answers, refuse_other_sites
from web.parameters import optional_text
from web.site import forms
from web.site.pages import show

_ADDRESS = re.compile(r"/(?![/\\])[\x21-\x7e]*")  # of this server; a browser takes //elsewhere for another one


class LoginHandlers:
    """The page where people log in, and out again."""

    def __init__(self, tokens: TokenFile | None) -> None:
        """With None, there is no such page: nobody needs a token."""
        self._tokens = tokens

    @answers("GET", "HEAD", "POST")
    def login(
        self, /, *, secret: Any = None, action: Any = None, to: Any = None, token: Any = None, **_ignored: Any
    ) -> bytes:
        """Take a token from a form, and go on ``to`` where somebody wanted to go; or forget the one there is."""
        if self._tokens is None:
            raise cherrypy.NotFound
        wanted = optional_text("to", to)
        address = wanted if _ADDRESS.fullmatch(wanted) else "/"
        if cherrypy.request.method != "POST":
            return self._form(address)
        refuse_other_sites()
        if not forms.is_ours(token):
            return self._form(address)
        if optional_text("action", action) == "logout":
            _set_cookie("", {"max-age": 0})
            raise cherrypy.HTTPRedirect("/login", int(HTTPStatus.SEE_OTHER))
        given = optional_text("secret", secret).strip()
        if self._tokens.find(given) is None:
            cherrypy.response.status = int(HTTPStatus.FORBIDDEN)
            return self._form(address, "This devserver knows no such token.")
        _set_cookie(given, {})
        raise cherrypy.HTTPRedirect(address, int(HTTPStatus.SEE_OTHER))

    def _form(self, address: str, problem: str = "") -> bytes:
        return show("login.html", address=address, problem=problem, grant=grants.present())


def _set_cookie(value: str, more: dict[str, Any]) -> None:
    """Have the browser keep the token until it is closed, and send it to this server's own pages alone."""
    cookie = cherrypy.serving.response.cookie
    cookie[COOKIE] = value
    cookie[COOKIE].update({"path": "/", "httponly": True, "samesite": "Strict", **more})
    if cherrypy.request.scheme == "https":
        cookie[COOKIE]["secure"] = True
