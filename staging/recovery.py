"""What a crash or a failing disk left of work that is over is finished, or removed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from staging.areas import areas_of, nobodys
from staging.build_removal import discard_half_written, finish_removal
from staging.errors import RecordError
from staging.layout import (
    BuildPlaces,
    holds_directory,
    holds_lock_of,
    locks_directory,
    places_in_use,
    promises_directory,
)
from staging.locks import if_free
from staging.presence import directories_in, exists, names_in, remove_file, remove_tree
from staging.publishing import finish_or_remove

Problems = dict[str, "OSError | RecordError"]


def recover(places: BuildPlaces) -> None:
    """Finish what had become ready or was being removed, keep files that can be gone on with, and remove the rest.

    The caller holds the build's lock. Areas in which somebody works are left alone.

    Raises:
        OSError, RecordUnreadable: something could not be read or removed; it is left for the next recovery.

    """
    discard_half_written(places)  # first: by what else is left, the next recovery finds the build where this fails
    if exists(places.removing):
        finish_removal(places)
    for path in directories_in(places.staging):
        _recover_area(places, path)
    if not directories_in(places.staging):
        remove_tree(places.staging)


def recover_artifacts(places: BuildPlaces, names: Iterable[str]) -> None:
    """The same for the areas of some artifacts."""
    for name in names:
        for path in areas_of(places, name):
            _recover_area(places, path)


def _recover_area(places: BuildPlaces, path: Path) -> None:
    with nobodys(places, path) as is_nobodys:
        if is_nobodys:
            finish_or_remove(places, path)


def clear_up(static_dir: Path) -> Problems:
    """Do so for every build that nobody is at work on, and remove what else is left of those who are no more.

    Returns:
        The build paths where that was not possible, and why.

    """
    problems: Problems = {}
    try:
        for places in places_in_use(static_dir):
            try:
                _clear_up_build(places)
            except (OSError, RecordError) as error:
                problems[places.build_path] = error
        _sweep(static_dir)
    except OSError as error:
        problems["(all)"] = error
    return problems


def _clear_up_build(places: BuildPlaces) -> None:
    with if_free(places.lock) as is_nobodys:
        if is_nobodys:
            recover(places)


def _sweep(static_dir: Path) -> None:
    """Remove what is promised to builds that nobody stages, what was half-written of pins and leases, and the files of
    locks that nobody holds.
    """
    locks, promises, holds = (find(static_dir) for find in (locks_directory, promises_directory, holds_directory))
    for key in names_in(promises):
        with if_free(locks / key) as is_nobodys:
            if is_nobodys:
                remove_tree(promises / key)
    for name in names_in(holds):
        if name.endswith(".tmp"):
            with if_free(locks / holds_lock_of(name)) as is_nobodys:
                if is_nobodys:
                    remove_file(holds / name)
    for name in names_in(locks):
        with if_free(locks / name):  # who takes a lock removes its file in the end
            pass
