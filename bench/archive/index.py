"""What the benchmark's archive holds: a JSON file that names every object, and the file that it is."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import google_crc32c

BUCKET = "bench"
_PIECE = 1024 * 1024


@dataclass(frozen=True)
class IndexedObject:
    """One object.

    Attributes:
        file: where its bytes are.
        size: bytes.
        crc32c: as the archive states it.
        md5: as the archive states it; empty where it does not, as of an object that was composed of parts.
        generation: names these very bytes.

    """

    file: str
    size: int
    crc32c: str
    md5: str
    generation: str = "1000001"


def indexed(path: Path, with_md5: bool = True) -> IndexedObject:
    """The file ``path`` as an object."""
    md5 = hashlib.md5(usedforsecurity=False)
    crc32c = google_crc32c.Checksum()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            crc32c.update(piece)
            if with_md5:
                md5.update(piece)
    stated_md5 = base64.b64encode(md5.digest()).decode() if with_md5 else ""
    return IndexedObject(str(path), path.stat().st_size, base64.b64encode(crc32c.digest()).decode(), stated_md5)


def write_index(path: Path, objects: Mapping[str, IndexedObject]) -> None:
    """Write the index of ``objects``, by name."""
    data = {name: {**asdict(item), "file": os.path.relpath(item.file, path.parent)} for name, item in objects.items()}
    path.write_text(json.dumps(data, indent=1))


def read_index(path: Path) -> dict[str, IndexedObject]:
    """What :func:`write_index` wrote."""
    return {
        name: IndexedObject(**{**item, "file": str(path.parent / item["file"])})
        for name, item in json.loads(path.read_text()).items()
    }
