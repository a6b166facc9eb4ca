"""Files that builds of one bucket share: where one build lies within another, an object of both is one file.

``gs://bucket/target/version`` with ``payloads/x.bin`` and ``gs://bucket/target/version/payloads`` with ``x.bin`` have
one address for one object. Each publishes it, and neither takes it from the other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from staging.build_names import BUCKETS, directory_of, has_own_place, name_of, root_of
from staging.file_lists import FileRecord, all_lists, list_if_understood
from staging.layout import BuildPlaces
from staging.manifest import Manifest


class SharedFiles:
    """What other builds of the same bucket published in the directory of one."""

    def __init__(self, places: BuildPlaces, archive_url: str) -> None:
        self._places = places
        self._root = _root_of(places, archive_url)
        self._known: dict[str, Mapping[str, FileRecord]] = {}  # by directory, what the build that it is published

    def record_of(self, path: str) -> FileRecord | None:
        """What another build noted of the file at ``path`` of this one; None where none published it.

        Raises:
            OSError, RecordUnreadable

        """
        own = directory_of(self._places.build_path)
        full = f"{own}/{path}".lstrip("/")
        for directory in _above(full):
            if directory != own:
                record = self._published(directory).get(full[len(directory) :].lstrip("/"))
                if record is not None:
                    return record
        return None

    def among(self, paths: Collection[str]) -> set[str]:
        """Which of the files at ``paths`` another build published, too; raises the same."""
        own = directory_of(self._places.build_path)
        folders = {folder for path in paths for folder in _above(f"{own}/{path}".lstrip("/"))} - {own}
        published = {f"{one}/{path}".lstrip("/") for one in folders for path in self._published(one)}
        return {path for path in paths if f"{own}/{path}".lstrip("/") in published} if published else set()

    def _published(self, directory: str) -> Mapping[str, FileRecord]:
        if directory not in self._known:
            self._known[directory] = self._read(BuildPlaces(self._places.static_dir, name_of(directory)))
        return self._known[directory]

    def _read(self, places: BuildPlaces) -> Mapping[str, FileRecord]:
        manifest = Manifest.if_readable(places)
        if manifest is None or _root_of(places, manifest.archive_url) != self._root:
            return {}
        lists = (list_if_understood(one) or {} for one in all_lists(places))
        return {path: record for one in lists for path, record in one.items()}


def _root_of(places: BuildPlaces, archive_url: str) -> str:
    name = places.build_path
    if not has_own_place(name):
        return root_of(archive_url, name)
    return "file:" if name.startswith("file:") else "/".join(name.split("/")[:3])


def _above(path: str) -> Iterator[str]:
    """The directories that ``path`` lies in which may be builds, the innermost first."""
    top = f"{BUCKETS}/" if path.startswith(f"{BUCKETS}/") else ""
    while "/" in path[len(top) :]:
        path = path.rpartition("/")[0]
        yield path
    if not top:
        yield ""
