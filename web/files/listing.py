"""A directory as a list, for people and for programs."""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote

from staging.layout import RESERVED_NAME
from staging.presence import names_in, real_path
from web import rendering
from web.files.buckets import PARAMETER, may_be_shown, own_place

MOST = 1000  # entries on one page


class Page(NamedTuple):
    """A part of a list.

    Attributes:
        entries: name, link, size and time of the last change of each.
        following: the link to the next part, relative to the directory; empty where this is the last one.

    """

    entries: list[dict[str, Any]]
    following: str


def page_of(directory: Path, root: Path, query: str, bucket: str = "") -> Page:
    """The entries of a directory below ``root`` whose names come after the one that ``query`` gives, if any; where a
    ``bucket`` is named, those that it may have files in, wherever they lie.
    """
    given = parse_qs(query, errors="surrogateescape").get("after", [""])
    paths = _of_bucket(directory, root, bucket) if bucket else {name: directory / name for name in _names(directory)}
    names = sorted(name for name in paths if name > given[0] and name != RESERVED_NAME)
    described = (_described(paths[name], root) for name in names[:MOST])
    following = f"?after={quote(os.fsencode(names[MOST - 1]), safe='')}" if len(names) > MOST else ""
    entries = [entry for entry in described if entry is not None]
    if not bucket:
        return Page(entries, following)
    kept = f"{PARAMETER}={bucket}"
    linked = [{**entry, "href": f"{entry['href']}?{kept}"} for entry in entries]
    return Page(linked, following and f"{following}&{kept}")


def _names(directory: Path) -> list[str]:
    return os.listdir(directory)  # noqa: PTH208 - many thousand


def _of_bucket(directory: Path, root: Path, bucket: str) -> dict[str, Path]:
    """What a bucket has in a directory, by name: at the builds' own paths, or in the place of its own."""
    own = Path(own_place(str(root), bucket))
    below = directory.relative_to(own if directory.is_relative_to(own) else root)
    paths = {name: own / below / name for name in names_in(own / below)}
    for name in names_in(root / below):
        path = os.path.realpath(root / below / name)
        if may_be_shown(str(root), path, bucket, is_directory=os.path.isdir(path)):  # noqa: PTH112
            paths[name] = root / below / name
    return paths


def as_json(page: Page) -> bytes:
    """A list as JSON."""
    return json.dumps(page.entries).encode()


def as_page(page: Page, title: str) -> bytes:
    """The same for people."""
    return rendering.page("listing.html", title=title, entries=page.entries, following=page.following)


def _described(path: Path, root: Path) -> dict[str, Any] | None:
    """One line of a list; None for what is gone by now, or a link to nowhere, or out of the static directory."""
    try:
        if path.is_symlink() and not real_path(path).is_relative_to(root):
            return None
        status = path.stat()
    except OSError:
        return None
    is_directory = path.is_dir()
    return {
        "name": rendering.shown(path.name) + ("/" if is_directory else ""),
        "href": "./" + quote(os.fsencode(path.name)) + ("/" if is_directory else ""),
        "size": None if is_directory else status.st_size,
        "modified": datetime.fromtimestamp(int(status.st_mtime), timezone.utc).isoformat(),
    }
