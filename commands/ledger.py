"""`devserver ledger`: which files of which builds were served to whom."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import click

from commands.printing import say
from staging.archives import ArchiveUrl
from staging.errors import InvalidArchiveUrl
from web.ledger.records import Row, rows_of


def show(path: Path, build: str, client: str, since: float, as_json: bool) -> None:
    """Print the rows of the ledger in the file ``path``: of a build, of a client, and since a moment, where given."""
    with _told(path):
        for row in rows_of(path, _path_of(build), client, since):
            say(json.dumps(row._asdict()) if as_json else _line(row))


def _path_of(build: str) -> str:
    """The build path that is meant; of an archive's URL, what of it is below the bucket."""
    if "://" not in build:
        return build.strip("/")
    try:
        return ArchiveUrl.parse(build, any_depth=True).build_path
    except InvalidArchiveUrl as error:
        raise click.UsageError(f"--build: {error}") from None


def _line(row: Row) -> str:
    moment = datetime.fromtimestamp(row.time).astimezone().isoformat(timespec="seconds")
    amount = "whole" if row.whole else "part" if row.bytes else "known"
    return f"{moment}  {row.client:15}  {row.status}  {row.bytes:>12} {amount:5}  {row.build}/{row.file}"


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say in one line why a ledger cannot be read."""
    if not path.exists():
        raise click.ClickException(f"{path}: there is no ledger; a devserver with --ledger {path} writes one")
    try:
        yield
    except sqlite3.Error as error:
        raise click.ClickException(f"{path} cannot be read as a ledger ({error})") from error
