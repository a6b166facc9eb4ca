"""/static: the files of the static directory, and its directories as lists."""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cherrypy
from cherrypy.lib.static import serve_file

from staging.layout import RESERVED_NAME
from web.errors import wants_json
from web.methods import answers

_LIST_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title></head>
<body>
<h1>{title}</h1>
<p><a href="../">Up</a></p>
<table>
<tr><th>Name</th><th>Bytes</th><th>Changed (UTC)</th></tr>
{rows}
</table>
</body>
</html>
"""


class StaticFiles:
    """Serves what lies below a directory, and nothing else: links that leave it are not followed, the devserver's own
    records are not shown.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory.resolve()

    @answers("GET", "HEAD")
    def serve(self, /, *parts: str, **_ignored: Any) -> Any:
        """The file or the list of files at a path."""
        path = self._resolved(parts)
        if path.is_dir():
            return self._listing(path)
        return serve_file(str(path), content_type=_content_type(path))

    def _resolved(self, parts: tuple[str, ...]) -> Path:
        """The file or directory that the URL's parts name."""
        for part in parts:
            if part in ("..", RESERVED_NAME) or "/" in part or "\\" in part or "\0" in part:
                raise cherrypy.NotFound()
        try:
            path = self._directory.joinpath(*parts).resolve(strict=True)
        except (OSError, RuntimeError):
            raise cherrypy.NotFound() from None
        if not path.is_relative_to(self._directory) or RESERVED_NAME in path.relative_to(self._directory).parts:
            raise cherrypy.NotFound()
        if not (path.is_dir() or path.is_file()):
            raise cherrypy.NotFound()
        return path

    def _listing(self, directory: Path) -> bytes:
        entries = [_described(entry) for entry in sorted(directory.iterdir()) if entry.name != RESERVED_NAME]
        shown = [entry for entry in entries if entry is not None]
        headers = cherrypy.response.headers
        headers["Vary"] = "Accept"
        if wants_json():
            headers["Content-Type"] = "application/json"
            return json.dumps(shown).encode()
        if not cherrypy.request.path_info.endswith("/"):
            request = cherrypy.request
            raise cherrypy.HTTPRedirect(quote(f"{request.script_name}{request.path_info}/"))
        headers["Content-Type"] = "text/html;charset=utf-8"
        title = escape("/static/" + _shown(directory.relative_to(self._directory).as_posix().removeprefix(".")))
        return _LIST_PAGE.format(title=title, rows="\n".join(_row(entry) for entry in shown)).encode()


def _described(path: Path) -> dict[str, Any] | None:
    """One line of a list; None for what is gone by now, or a link to nowhere."""
    try:
        status = path.stat()
    except OSError:
        return None
    is_directory = path.is_dir()
    return {
        "name": _shown(path.name) + ("/" if is_directory else ""),
        "href": "./" + quote(os.fsencode(path.name)) + ("/" if is_directory else ""),
        "size": None if is_directory else status.st_size,
        "modified": datetime.fromtimestamp(int(status.st_mtime), timezone.utc).isoformat(),
    }


def _row(entry: dict[str, Any]) -> str:
    name, size = entry["name"], "" if entry["size"] is None else f"{entry['size']:,}"
    changed = entry["modified"].replace("T", " ").removesuffix("+00:00")
    return (
        f'<tr><td><a href="{entry["href"]}">{escape(name)}</a></td><td align="right">{size}</td><td>{changed}</td></tr>'
    )


def _shown(name: str) -> str:
    """A file's name as text; what of it is not UTF-8 is shown as question marks."""
    return os.fsencode(name).decode(errors="replace")


def _content_type(path: Path) -> str | None:
    """Bytes are bytes: a browser should save a payload, and show what is text."""
    return None if path.suffix in (".html", ".txt", ".json", ".xml", ".log") else "application/octet-stream"
