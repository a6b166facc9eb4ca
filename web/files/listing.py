"""A directory as a list, for people and for programs."""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

from staging.layout import RESERVED_NAME
from web import rendering


def as_json(directory: Path, root: Path) -> bytes:
    """The entries of a directory below ``root``: name, link, size and time of the last change of each."""
    return json.dumps(_entries(directory, root)).encode()


def as_page(directory: Path, root: Path, title: str) -> bytes:
    """The same as a page."""
    return rendering.page("listing.html", title=shown(title), entries=_entries(directory, root))


def shown(name: str) -> str:
    """A file's name as text; what of it is not UTF-8 is shown as question marks."""
    return os.fsencode(name).decode(errors="replace")


def _entries(directory: Path, root: Path) -> list[dict[str, Any]]:
    described = (_described(path, root) for path in sorted(directory.iterdir()) if path.name != RESERVED_NAME)
    return [entry for entry in described if entry is not None]


def _described(path: Path, root: Path) -> dict[str, Any] | None:
    """One line of a list; None for what is gone by now, or a link to nowhere, or out of the static directory."""
    try:
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            return None
        status = path.stat()
    except OSError:
        return None
    is_directory = path.is_dir()
    return {
        "name": shown(path.name) + ("/" if is_directory else ""),
        "href": "./" + quote(os.fsencode(path.name)) + ("/" if is_directory else ""),
        "size": None if is_directory else status.st_size,
        "modified": datetime.fromtimestamp(int(status.st_mtime), timezone.utc).isoformat(),
    }
