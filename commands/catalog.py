"""`devserver catalog`: shows the catalogue of artifacts, or checks one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from artifacts.catalogue import DEFAULT_CATALOGUE, CatalogueEntry, read_catalogue
from commands.printing import columns, print_json, say


def show(path: Path | None, as_json: bool) -> None:
    """Show the artifacts of the catalogue in the file ``path``, or of the built-in one.

    Raises:
        ConfigurationError: it says what is wrong with the file.

    """
    entries = read_catalogue(path or DEFAULT_CATALOGUE).entries
    if as_json:
        print_json([asdict(entry) for entry in entries])
        return
    for line in columns([(entry.name, entry.pattern, _traits(entry)) for entry in entries]):
        say(line)
    if path:
        say(f"{path}: nothing is wrong with it (artifacts: {len(entries)})")


def _traits(entry: CatalogueEntry) -> str:
    when = "on request" if entry.on_request else "at once" if entry.synchronous else "in the background"
    return ", ".join([when, *(["optional"] if not entry.required else []), *(["unpacked"] if entry.unpack else [])])
