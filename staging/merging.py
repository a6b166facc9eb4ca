"""One tree moved into another, by the fewest renames."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from staging.layout import RESERVED_NAME


def in_the_way(tree: Path, published: Path, below: str = "") -> Iterator[tuple[str, bool]]:
    """What the tree would replace: its path, and whether it is a file to be replaced by a file."""
    for entry in tree.iterdir():
        target = published / entry.name
        # A record is always ours: a removal that a crash cut off leaves some that no manifest speaks of.
        if entry.name == RESERVED_NAME or not os.path.lexists(target):
            continue
        path = f"{below}{entry.name}"
        kinds = (_is_plain_directory(entry), _is_plain_directory(target))
        if all(kinds):
            yield from in_the_way(entry, target, f"{path}/")
        else:
            yield path, not any(kinds)


def merge(source: Path, target: Path) -> None:
    """Move everything below ``source`` into ``target``, by the fewest renames; doing it again finishes what is left."""
    for entry in sorted(source.iterdir()):
        destination = target / entry.name
        if _is_plain_directory(entry) and _is_plain_directory(destination):
            merge(entry, destination)
        else:
            entry.replace(destination)


def _is_plain_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
