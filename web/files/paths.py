"""From the path of a URL to a file of the static directory, and to nothing else."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from staging.layout import RESERVED_NAME

_REFUSED = ("..", ".", RESERVED_NAME)


class NothingThere(Exception):
    """There is no file or directory at that path that may be seen."""


def find(directory: str, url_path: str) -> tuple[str, os.stat_result]:
    """The real path of what ``url_path``, decoded, names below ``directory``, and its status.

    Links are followed as long as they stay below ``directory``, a real path itself; the devserver's own records are
    not shown.

    Raises:
        NothingThere

    """
    parts = [part for part in url_path.split("/") if part]
    if any(part in _REFUSED or "\\" in part or "\0" in part for part in parts):
        raise NothingThere
    try:
        path = os.path.realpath("/".join([directory, *parts]), strict=True)
        status = os.stat(path)  # noqa: PTH116 - asked for with every request
    except (OSError, ValueError) as error:
        raise NothingThere from error
    inside = path == directory or path.startswith(f"{directory}/")
    if not inside or RESERVED_NAME in path[len(directory) :].split("/"):
        raise NothingThere
    if not stat.S_ISDIR(status.st_mode) and (not stat.S_ISREG(status.st_mode) or url_path.endswith("/")):
        raise NothingThere
    return path, status


def text_of(environment_path: str) -> str:
    """A path as WSGI gives it, bytes in the guise of Latin-1, as Python names files."""
    return os.fsdecode(environment_path.encode("latin-1"))


def relative(directory: str, path: str) -> Path:
    """``path`` from ``directory`` on."""
    return Path(path).relative_to(directory)
