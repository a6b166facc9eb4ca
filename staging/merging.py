"""One tree moved into another, by the fewest renames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from staging.layout import RESERVED_NAME
from staging.presence import exists, is_directory


def in_the_way(tree: Path, published: Path, below: str = "") -> Iterator[tuple[str, bool]]:
    """What the tree would replace: its path, and whether it is a file to be replaced by a file."""
    for entry in tree.iterdir():
        target = published / entry.name
        # A record is always ours: a removal that a crash cut off leaves some that no manifest speaks of.
        if entry.name == RESERVED_NAME or not exists(target):
            continue
        path = f"{below}{entry.name}"
        kinds = (is_directory(entry), is_directory(target))
        if all(kinds):
            yield from in_the_way(entry, target, f"{path}/")
        else:
            yield path, not any(kinds)


def merge(source: Path, target: Path) -> None:
    """Move everything below ``source`` into ``target``, by the fewest renames; doing it again finishes what is left."""
    # The records first: what is published has a list of files that says whose it is, at every moment.
    for entry in sorted(source.iterdir(), key=lambda entry: (entry.name != RESERVED_NAME, entry.name)):
        destination = target / entry.name
        if is_directory(entry) and is_directory(destination):
            merge(entry, destination)
        else:
            entry.replace(destination)
