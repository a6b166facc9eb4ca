"""A directory as a list, for people and for programs."""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote

from staging.layout import RESERVED_NAME
from web import rendering

MOST = 1000  # entries on one page


class Page(NamedTuple):
    """A part of a list.

    Attributes:
        entries: name, link, size and time of the last change of each.
        following: the link to the next part, relative to the directory; empty where this is the last one.

    """

    entries: list[dict[str, Any]]
    following: str


def page_of(directory: Path, root: Path, query: str) -> Page:
    """The entries of a directory below ``root`` whose names come after the one that ``query`` gives, if any."""
    given = parse_qs(query, errors="surrogateescape").get("after", [""])
    names = sorted(name for name in os.listdir(directory) if name > given[0] and name != RESERVED_NAME)  # noqa: PTH208
    described = (_described(directory / name, root) for name in names[:MOST])
    following = f"?after={quote(os.fsencode(names[MOST - 1]), safe='')}" if len(names) > MOST else ""
    return Page([entry for entry in described if entry is not None], following)


def as_json(page: Page) -> bytes:
    """A list as JSON."""
    return json.dumps(page.entries).encode()


def as_page(page: Page, title: str) -> bytes:
    """The same for people."""
    return rendering.page("listing.html", title=shown(title), entries=page.entries, following=page.following)


def shown(name: str) -> str:
    """A file's name as text; what of it is not UTF-8 is shown as question marks."""
    return os.fsencode(name).decode(errors="replace")


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
