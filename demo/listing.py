"""Sizes and lists of files, as people read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from staging.units import in_bytes

_DEPTH = 2  # directories deeper than that are counted
_FEW = 4  # so many files are named; more are counted
_COLUMN = 70


def line(name: str, size: int, indent: int = 1) -> str:
    """One file of a list."""
    return f"{'  ' * indent + name:<{_COLUMN}}{in_bytes(size):>10}"


def tree_lines(files: Mapping[str, int], depth: int = 0) -> Iterator[str]:
    """The files, by path, as an indented list: directories first, large and deep ones only counted."""
    direct = {path: size for path, size in files.items() if "/" not in path}
    for folder, below in _folders(files).items():
        if len(below) > _FEW:
            yield f"{line(folder, sum(below.values()), depth + 1)}{len(below):>8,} files"
        else:
            yield "  " * (depth + 1) + folder
        if len(below) <= _FEW or depth + 1 < _DEPTH:
            yield from tree_lines(below, depth + 1)
    if len(direct) > _FEW:
        yield f"{line('(directly here)', sum(direct.values()), depth + 1)}{len(direct):>8,} files"
        return
    for path, size in direct.items():
        yield line(path, size, depth + 1)


def _folders(files: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """What lies below each directory at the top, by the directory's name."""
    folders: dict[str, dict[str, int]] = {}
    for path, size in sorted(files.items()):
        folder, slash, rest = path.partition("/")
        if slash:
            folders.setdefault(folder + slash, {})[rest] = size
    return folders
