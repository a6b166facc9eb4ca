"""What goes to a terminal or down a pipe: text that can do no harm there, columns, and JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import click

from staging.units import in_utc


def printable(text: str) -> str:
    """The text with escapes in place of what is no visible character: an archive may name things as it likes."""
    visible = "".join(letter if letter.isprintable() else _escaped(letter) for letter in text)
    encoding = sys.stdout.encoding or "utf-8"
    return visible.encode(encoding, "backslashreplace").decode(encoding)


def say(text: str) -> None:
    """Print one line, at once."""
    click.echo(printable(text))


def print_json(data: Any) -> None:
    """Print what a script reads; all but plain ASCII is escaped."""
    click.echo(json.dumps(data, indent=2).replace("\x7f", "\\u007f"))


def moment(text: str) -> str:
    """A moment that the JSON API tells, as people read it, with its zone."""
    return in_utc(datetime.fromisoformat(text).timestamp())


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The rows as lines, each column as wide as its widest cell."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode()
