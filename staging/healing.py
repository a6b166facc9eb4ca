"""What is not as it was staged counts as staged no more, so that whoever asks for it has it staged anew."""

from __future__ import annotations

from contextlib import suppress

from staging.build_removal import files_of_its_own
from staging.errors import RecordError, RecordMalformed
from staging.file_lists import list_of, set_list_aside
from staging.inspection import Check, Inspection, inspect
from staging.layout import BuildPlaces
from staging.manifest import Manifest
from staging.presence import directories_in, exists
from staging.publishing_lock import publishing
from staging.records.files import set_aside
from staging.removal import remove_files


def set_broken_manifest_aside(places: BuildPlaces) -> bool:
    """Put a manifest that cannot be understood out of the way; whether there was one. The latest such is kept."""
    if not is_broken(places):
        return False
    with publishing(places):
        if not is_broken(places):  # somebody was quicker
            return False
        set_aside(places.manifest)
        return True


def is_broken(places: BuildPlaces) -> bool:
    """Whether there is a manifest that is none. One that cannot be read now may be a good one, and a newer one is."""
    try:
        Manifest.read(places)
    except RecordMalformed:
        return True
    except RecordError:
        return False
    return False


def take_out(places: BuildPlaces, found: Inspection, check: Check) -> Inspection | None:
    """Take the artifacts that ``found`` has something against out of the manifest, where ``check`` still finds it so.

    Their wrong files are removed: nothing that is not whole is served. What a build in the static directory has as its
    own source stays.

    Returns: what was found wrong now; None where nothing is.

    """
    if not found.wrong:
        return None
    with publishing(places):
        if any(exists(area / "ready.json") for area in directories_in(places.staging)):
            return None  # a publication that a crash cut off: whoever finishes it makes it right
        still = inspect(places, check, {one.path for one in found.wrong})
        manifest = Manifest.read(places)
        if still is None or manifest is None or not still.wrong:
            return None
        records = [manifest.artifacts[name] for name in still.artifacts]
        kept = set[str]().union(*(files_of_its_own(places, manifest.archive_url, record) for record in records))
        for one in still.wrong:
            if not one.path:
                set_list_aside(list_of(places, one.artifact))
            elif one.path not in kept:
                _remove(places, one.path)
        # Last: what cuts this off leaves a build of which the next look finds the same.
        manifest.without(still.artifacts).write(places)
        return still


def _remove(places: BuildPlaces, path: str) -> None:
    with suppress(IsADirectoryError):
        remove_files(places.published, [path])
