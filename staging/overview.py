"""What can be said of a build at one moment: what its manifest has, and what is under way."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import time

from staging.errors import DevServerError
from staging.layout import RESERVED_NAME, BuildPlaces
from staging.manifest import ArtifactRecord, Manifest
from staging.status import BuildStatus, Event, State, derived_state

_DEEPEST = 8  # directories below the static directory in which builds are looked for


@dataclass(frozen=True)
class ArtifactView:
    """One artifact of a build.

    Attributes:
        name: in the catalogue, or ``file:`` and a pattern.
        state: see :class:`~staging.status.State`.
        bytes_done, bytes_total: of its objects, as fetched from the archive.
        files: how many it published.
        staged_at: seconds since the epoch; 0 where it is not.
        cause: why it failed or was cancelled.

    """

    name: str
    state: State
    bytes_done: int = 0
    bytes_total: int = 0
    files: int = 0
    staged_at: float = 0.0
    cause: DevServerError | None = None


@dataclass(frozen=True)
class BuildView:
    """One build.

    Attributes:
        build_path: below the static directory.
        archive_url: where it comes from.
        artifacts: in the order of their names.
        began_at: when the oldest of its downloads that are under way began, in seconds since the epoch; 0 for none.
        last_used: the same of its last use; None where it is not known.

    """

    build_path: str
    archive_url: str
    artifacts: Sequence[ArtifactView]
    began_at: float = 0.0
    last_used: float | None = None

    @property
    def state(self) -> State:
        """Derived from the artifacts'."""
        return derived_state(artifact.state for artifact in self.artifacts)

    @property
    def is_under_way(self) -> bool:
        """Whether something of it is being staged."""
        return any(not artifact.state.is_final for artifact in self.artifacts)

    @property
    def bytes_done(self) -> int:
        """Of all artifacts."""
        return sum(artifact.bytes_done for artifact in self.artifacts)

    @property
    def bytes_total(self) -> int:
        """Of all artifacts whose size is known."""
        return sum(artifact.bytes_total for artifact in self.artifacts)

    @property
    def seconds_left(self) -> float | None:
        """How long what is under way will take if it goes on as it went; None where nobody can say."""
        open_ones = [artifact for artifact in self.artifacts if not artifact.state.is_final]
        done = sum(artifact.bytes_done for artifact in open_ones)
        left = sum(artifact.bytes_total for artifact in open_ones) - done
        elapsed = time() - self.began_at
        return left * elapsed / done if done and self.began_at and elapsed > 0 else None


def overview(places: BuildPlaces, downloads: Sequence[BuildStatus], last_used: float | None) -> BuildView | None:
    """What is known of a build whose ``downloads`` are shown, the newest first; None where nothing is."""
    manifest = Manifest.read(places)
    if manifest is None and not downloads:
        return None
    artifacts = {name: _staged(name, record) for name, record in (manifest.artifacts if manifest else {}).items()}
    for status in reversed(downloads):
        for name, event in status.artifacts.items():
            if name not in artifacts or not event.state.is_good:
                artifacts[name] = _shown(event)
    under_way = [status.began_at for status in downloads if not status.is_over]
    return BuildView(
        build_path=places.build_path,
        archive_url=downloads[0].archive_url if downloads else manifest.archive_url if manifest else "",
        artifacts=[artifacts[name] for name in sorted(artifacts)],
        began_at=min(under_way, default=0.0),
        last_used=last_used,
    )


def builds_below(static_dir: Path) -> Iterator[BuildPlaces]:
    """Every directory that is a build of a devserver's; the build that is a whole bucket is the last."""
    yield from _builds_in(static_dir, "", _DEEPEST)
    root = BuildPlaces(static_dir, "")
    if root.manifest.exists():
        yield root


def _builds_in(static_dir: Path, below: str, deepest: int) -> Iterator[BuildPlaces]:
    try:
        with os.scandir(static_dir / below) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return
    for name in names:
        if name == RESERVED_NAME:
            continue
        path = f"{below}/{name}" if below else name
        places = BuildPlaces(static_dir, path)
        if places.manifest.exists():
            yield places
        elif deepest > 1:
            yield from _builds_in(static_dir, path, deepest - 1)


def _staged(name: str, record: ArtifactRecord) -> ArtifactView:
    size = sum(item.size for item in record.objects)
    return ArtifactView(name, State(record.state), size, size, record.files, record.staged_at)


def _shown(event: Event) -> ArtifactView:
    return ArtifactView(event.artifact, event.state, event.bytes_done, event.bytes_total, cause=event.cause)
