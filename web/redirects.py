"""Redirects, which lead to a path of this server and name no host: nobody can have them name another."""

from __future__ import annotations

from urllib.parse import quote

import cherrypy

_AS_THEY_ARE = "%/:?#[]@!$&'()*+,;=~"  # all that may stand in a URL, and is encoded there already (RFC 3986, 2)


class _Redirect(cherrypy.HTTPRedirect):  # type: ignore[misc]
    """CherryPy's redirect, which would make of an address an absolute one, by the host that a client says it asks."""

    def __init__(self, urls: str, status: int | None = None, encoding: str | None = None) -> None:
        del encoding
        self.urls = [relative(urls)]
        cherrypy.CherryPyException.__init__(self, self.urls, status or self.default_status)

    def set_response(self) -> None:
        """CherryPy's hook, which makes the answer."""
        response = cherrypy.serving.response
        response.status = self.status
        response.headers["Location"] = self.urls[0]
        response.headers.pop("Content-Type", None)
        response.headers["Content-Length"] = "0"
        response.body = b""


def install() -> None:
    """Have every redirect be relative, CherryPy's own as well."""
    cherrypy.HTTPRedirect = _Redirect


def relative(url: str) -> str:
    """What of ``url`` stands behind this server's name, with one slash: two would lead a browser to another host."""
    path = url.removeprefix(cherrypy.serving.request.base)
    return "/" + quote(path.lstrip("/\\"), safe=_AS_THEY_ARE)
