"""What the worker that stages some artifacts of a build may reach: what that takes, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from artifacts.job import StageRequest
from staging.archives import ArchiveUrl
from staging.executors.confinement import Confinement
from staging.executors.process import Bounds
from staging.executors.reach import archive_ports, port_of
from staging.layout import BuildPlaces, synchronous_lock
from staging.messages import Expected
from staging.presence import real_path


@dataclass(frozen=True)
class JobBounds:
    """Says what a worker may do, by its request.

    Attributes:
        machine: what every worker may do.
        writable: directories that workers may write to beside the static one, where links in that lead there.

    """

    machine: Confinement
    writable: tuple[Path, ...] = ()

    def __call__(self, request: dict[str, Any]) -> Bounds:
        """The bounds of the worker that is given ``request``, a :class:`StageRequest` as JSON."""
        wanted = StageRequest.from_json(request)
        options = wanted.options
        url, places = wanted.url, wanted.places
        synchronous = synchronous_lock(options.static_dir)
        _make(places, synchronous)
        confinement = replace(
            self.machine,
            writable=tuple(map(str, (*self._areas(places), *self.writable))),
            readable=(*self.machine.readable, *_sources(wanted, url)),
            lock_directories=(str(places.lock.parent),),
            shared_files=(str(synchronous),),
            ports=_ports(wanted, url),
            runs_what_it_writes=options.run_packager,
        )
        return Bounds(confinement, Expected(places.build_path, frozenset(item.entry.name for item in wanted.artifacts)))

    def _areas(self, places: BuildPlaces) -> Iterator[Path]:
        """The build's own directories; none that a link in the static directory leads out of it."""
        allowed = [real_path(places.static_dir), *map(real_path, self.writable)]
        for area in (places.published, places.staging):
            if any(real_path(area).is_relative_to(one) for one in allowed):
                yield area


def _make(places: BuildPlaces, synchronous: Path) -> None:
    """Make what the worker's bounds name: rules are about what is there."""
    for directory in (places.published, places.staging, places.lock.parent):
        directory.mkdir(parents=True, exist_ok=True)
    synchronous.touch(mode=0o644)


def _sources(wanted: StageRequest, url: ArchiveUrl) -> Iterator[str]:
    """Where the build is read from, where that is a directory; and the token to read from peers with."""
    if url.scheme == "file":
        root = Path(url.root)
        # What lies in the static directory is read where it was asked for, and that may be all of it.
        is_static = real_path(root) == real_path(wanted.options.static_dir)
        yield str(root / url.build_path if is_static else root)
    elif wanted.options.peers.urls and wanted.options.peers.token_file:
        yield str(wanted.options.peers.token_file)


def _ports(wanted: StageRequest, url: ArchiveUrl) -> tuple[int, ...]:
    """The ports of those who have the build: none, where it lies in a directory."""
    if url.scheme == "file":
        return ()
    return tuple(sorted({*archive_ports(), *map(port_of, wanted.options.peers.urls)}))
