"""What a shell completes: names of artifacts, and the paths of the builds that a devserver has."""

from __future__ import annotations

import click

_PATIENCE = 0.5  # seconds; somebody has pressed Tab
_MOST = "100"


def artifact_names(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """The names of the built-in catalogue."""
    from artifacts.catalogue import read_catalogue

    return [entry.name for entry in read_catalogue().entries if entry.name.startswith(incomplete)]


def build_paths(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """The builds on the devservers that the command would ask; none of one that does not answer at once."""
    return sorted({path for url in context.params["server"] for path in _paths_at(url, incomplete)})


def _paths_at(url: str, incomplete: str) -> list[str]:
    import json
    from http.client import HTTPException
    from urllib.parse import urlencode
    from urllib.request import urlopen

    query = urlencode({"prefix": incomplete, "limit": _MOST})
    try:
        # The option takes no other scheme than HTTP's.
        with urlopen(f"{url}/api/v1/builds?{query}", timeout=_PATIENCE) as answer:  # noqa: S310
            return [build["build"] for build in json.load(answer)["builds"]]
    except (OSError, HTTPException, ValueError, KeyError, TypeError, RecursionError):
        return []
