"""A build whose manifest a later version wrote: it is shown, served and counted, and nothing of it is changed here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from staging.errors import RecordMalformed
from staging.layout import RESERVED_NAME, BuildPlaces
from staging.manifest import ArtifactRecord, Manifest
from staging.paths import UNPRINTABLE, fault_of_artifact
from staging.records.files import read_bytes
from staging.records.text import data_of

_NOT_UNDERSTOOD = "other"  # stands for all artifacts, where not even their names are understood


def glimpsed(places: BuildPlaces) -> Manifest:
    """What this version understands of the manifest; the bytes that it cannot assign are one artifact's.

    Raises:
        RecordMalformed, RecordUnreadable

    """
    try:
        data = data_of(read_bytes(places.manifest) or b"")
    except (ValueError, RecursionError):
        raise RecordMalformed(f"the manifest of {places.build_path}", "it is no JSON") from None
    url = data.get("archive_url")
    records = _understood(data.get("artifacts"))
    unknown = next((name for name, record in records.items() if not record.files), None)
    if unknown is not None:
        size = sum(record.size for record in records.values())
        records[unknown] = replace(records[unknown], size=max(sum(_sizes(places)) - size, 0))
    return Manifest(url if isinstance(url, str) and not UNPRINTABLE.search(url) else "", records)


def _understood(data: Any) -> dict[str, ArtifactRecord]:
    """The records that can be read, and an empty one for each that cannot."""
    named = data if isinstance(data, dict) else {}
    records = {name: _record(one) for name, one in named.items() if not fault_of_artifact(name)}
    return records or {_NOT_UNDERSTOOD: ArtifactRecord("staged")}


def _record(data: Any) -> ArtifactRecord:
    try:
        return ArtifactRecord.from_json(data)
    except RecordMalformed:
        return ArtifactRecord("staged")


def _sizes(places: BuildPlaces) -> Iterator[int]:
    """The sizes of all files of the build; those of builds that lie within it are not its own."""
    for folder, folders, names in os.walk(places.published):
        folders[:] = [one for one in folders if not os.path.lexists(f"{folder}/{one}/{RESERVED_NAME}")]
        for name in names:
            try:
                yield os.lstat(f"{folder}/{name}").st_size
            except OSError:
                continue
