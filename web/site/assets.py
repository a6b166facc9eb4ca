"""What the pages are made with: styles, scripts, the icon. All of it is held in memory."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, NamedTuple

import cherrypy

from web import rendering
from web.files.validators import Validators, is_known
from web.methods import answers

_TYPES = {".css": "text/css;charset=utf-8", ".js": "text/javascript;charset=utf-8", ".svg": "image/svg+xml"}
_ICON = "icon.svg"
_CONDITIONS = ("If-None-Match", "If-Modified-Since")


class _Asset(NamedTuple):
    content: bytes
    content_type: str
    validators: Validators


class AssetHandlers:
    """The addresses of the assets."""

    @answers("GET", "HEAD")
    def assets(self, /, *path: str, **_ignored: Any) -> bytes:
        """One of them."""
        if (name := "/".join(path)) not in _ASSETS:
            raise cherrypy.NotFound
        return _answered(_ASSETS[name])

    @answers("GET", "HEAD")
    def favicon_ico(self, /, **_ignored: Any) -> bytes:
        """The icon, for browsers that look for it where none of the pages says that it is."""
        return _answered(_ASSETS[_ICON])


def _answered(asset: _Asset) -> bytes:
    request, response = cherrypy.serving.request, cherrypy.serving.response
    response.headers.update({"ETag": asset.validators.etag, "Last-Modified": asset.validators.last_modified})
    if is_known({name: request.headers[name] for name in _CONDITIONS if name in request.headers}, asset.validators):
        response.status = 304
        return b""
    response.headers["Content-Type"] = asset.content_type
    return asset.content


def _read() -> dict[str, _Asset]:
    found = {}
    for path in rendering.ASSETS.iterdir():
        if path.suffix in _TYPES:
            content = path.read_bytes()
            etag = f'"{sha256(content).hexdigest()[:16]}"'
            found[path.name] = _Asset(content, _TYPES[path.suffix], Validators(etag, int(path.stat().st_mtime)))
    return found


_ASSETS = _read()
