"""HTML from templates: whatever is put into one is text, and stays text."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2

from staging import units
from staging.build_names import has_own_place
from staging.clock import CLOCK

ASSETS = Path(__file__).with_name("assets")
HTML = "text/html;charset=utf-8"
SERVER_NAME = "devserver"  # what every answer calls itself; which version is nobody's business but /api/v1/version's
# Nothing comes from elsewhere, nothing is inline, and nobody frames a page.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Type": HTML,
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}

_CUT = "<!-- -->\n"
_IN_MIND = 4_000  # results of each filter, for lists of a thousand builds that are shown again and again
_AGES = ((86400.0, "day"), (3600.0, "hour"), (60.0, "minute"), (1.0, "second"))


def offer_login() -> None:
    """Have every page lead to where people log in."""
    _ENVIRONMENT.globals["has_tokens"] = True


in_bytes = lru_cache(maxsize=_IN_MIND)(units.in_bytes)
utc = lru_cache(maxsize=_IN_MIND)(units.in_utc)


def pieces(template: str, **values: Any) -> Iterator[bytes]:
    """The same in two pieces, cut at the mark: a browser shows the first while the second is made."""
    waiting: list[str] = []
    for text in _ENVIRONMENT.get_template(template).generate(values):
        waiting.append(text)
        if text.endswith(_CUT):
            yield _encoded("".join(waiting))
            waiting.clear()
    yield _encoded("".join(waiting))


def page(template: str, **values: Any) -> bytes:
    """The page that a template makes of ``values``."""
    return _encoded(_ENVIRONMENT.get_template(template).render(values))


def in_time(seconds: float) -> str:
    """A time as people say it, in its largest unit: ``3 minutes``."""
    for length, unit in _AGES:
        if seconds >= length:
            count = int(seconds / length)
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return "less than a second"


def ago(moment: float) -> str:
    """How long a moment, in seconds since the epoch, is past: ``3 minutes ago``."""
    seconds = CLOCK.now() - moment
    return "just now" if seconds < 1 else f"{in_time(seconds)} ago"


@lru_cache(maxsize=_IN_MIND)
def iso(moment: float) -> str:
    """The same as programs write it."""
    return datetime.fromtimestamp(int(moment), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


@lru_cache(maxsize=_IN_MIND)
def address(path: str) -> str:
    """A path, with its slashes, as it stands in a URL: names are bytes."""
    return quote(path, safe="/", errors="surrogateescape")


def shown(name: str) -> str:
    """A file's name as text; what of it is not UTF-8 is shown as question marks."""
    return name if name.isascii() else name.encode(errors="surrogateescape").decode(errors="replace")


def _encoded(text: str) -> bytes:
    """The bytes of a page; whatever is no text in it is shown as a question mark."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace")


@lru_cache(maxsize=_IN_MIND)
def build_page(name: str) -> str:
    """The address of the page of a build."""
    path, query = _path_and_query(name)
    return f"/builds/{address(path)}" + (f"?{query}" if query else "")


def build_file(name: str, file: str = "") -> str:
    """The address of a file of a build, or of its directory; empty where there is none: of a build of a directory's
    whose path another build has.
    """
    path, query = _path_and_query(name)
    if name.startswith("file:"):
        return ""
    return f"/static/{address(f'{path}/{file}'.lstrip('/'))}" + (f"?{query}" if query else "")


def _path_and_query(name: str) -> tuple[str, str]:
    """The path of a build in an address, and what has to be asked besides where another build has that path."""
    if not has_own_place(name):
        return name, ""
    if name.startswith("gs://"):
        bucket, _, path = name.removeprefix("gs://").partition("/")
        return path, f"gs_bucket={bucket}"
    return name.removeprefix("file:///"), f"archive_url={quote(name, safe='/:')}"


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_ENVIRONMENT.globals["has_tokens"] = False
_ENVIRONMENT.filters.update(
    {
        "in_bytes": in_bytes,
        "in_time": in_time,
        "ago": ago,
        "utc": utc,
        "iso": iso,
        "address": address,
        "build_page": build_page,
        "build_file": build_file,
        "shown": shown,
    }
)
