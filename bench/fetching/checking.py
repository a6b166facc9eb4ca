"""Whether a method did the work: what it left on disk is what the archive has."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from bench.archive.data import TARBALLS, BenchData
from bench.archive.index import IndexedObject, indexed
from bench.samples import BenchError


def check_objects(directory: Path, objects: Mapping[str, IndexedObject]) -> None:
    """Raise unless every object is a file in ``directory`` with the right bytes, by their crc32c."""
    for name, item in objects.items():
        check_file(directory / name, item)


def check_file(path: Path, item: IndexedObject) -> None:
    """Raise unless ``path`` has the bytes of ``item``."""
    found = indexed(path, with_md5=False) if path.is_file() else None
    if found is None or (found.size, found.crc32c) != (item.size, item.crc32c):
        raise BenchError(f"{path.name} was not fetched rightly: {found} instead of {item}")


def check_unpacked(directory: Path, data: BenchData) -> None:
    """Raise unless ``directory`` holds the files of all the build's tarballs; one path may be in two of them."""
    wanted = max(data.unpacked_files(name) for name in TARBALLS)
    found = sum(len(names) for _, _, names in os.walk(directory))
    if found < wanted:
        raise BenchError(f"{found} files were unpacked instead of {wanted} at least")


def check_staged(build_directory: Path, objects: Mapping[str, IndexedObject]) -> None:
    """Raise unless a build's manifest says that all of ``objects`` are staged, with their crc32c."""
    manifest = json.loads((build_directory / ".devserver" / "manifest.json").read_bytes())
    found = {
        item["name"]: (item["size"], item["crc32c"])
        for record in manifest["artifacts"].values()
        if record["state"] == "staged"
        for item in record["objects"]
    }
    for name, item in objects.items():
        if found.get(name) != (item.size, item.crc32c):
            raise BenchError(f"the manifest of {build_directory.name} has {name} as {found.get(name)}")
