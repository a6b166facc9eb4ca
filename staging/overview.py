"""What can be said of a build at one moment: what its manifest has, and what is under way."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from staging.build_names import BUCKETS, fault_of_name, name_of
from staging.clock import CLOCK
from staging.errors import Cancelled, DevServerError, NewerFormat
from staging.holds import Holds, holds_of
from staging.in_mind import InMind
from staging.layout import RESERVED_NAME, BuildPlaces
from staging.manifest import ArtifactRecord, Manifest
from staging.newer import glimpsed
from staging.presence import directories_in, is_absence
from staging.status import BuildStatus, Event, State, derived_state

_DEEPEST = 8  # directories below the static directory in which builds are looked for
_DEEPEST_SOURCE = 40  # directories of a build's URL, where it came from a directory


@dataclass(frozen=True)
class ArtifactView:
    """One artifact of a build.

    Attributes:
        name: in the catalogue, or ``file:`` and a pattern.
        state: see :class:`~staging.status.State`.
        bytes_done, bytes_total: of its objects, as fetched from the archive.
        files: how many it published.
        size: bytes of those files.
        staged_at: seconds since the epoch; 0 where it is not.
        cause: why it failed or was cancelled.
        trouble: what of it is being tried again at the moment, and why; empty where all goes well.

    """

    name: str
    state: State
    bytes_done: int = 0
    bytes_total: int = 0
    files: int = 0
    size: int = 0
    staged_at: float = 0.0
    cause: DevServerError | None = None
    trouble: str = ""

    @property
    def is_bad(self) -> bool:
        """Whether it failed, or was cancelled."""
        return self.state.is_final and not self.state.is_good

    @property
    def is_given_up(self) -> bool:
        """Whether it was not tried because another one had failed, whose cause it has."""
        return self.state is State.CANCELLED and self.cause is not None and not isinstance(self.cause, Cancelled)


@dataclass(frozen=True)
class BuildView:
    """One build.

    Attributes:
        build_path: below the static directory.
        archive_url: where it comes from.
        artifacts: in the order of their names.
        began_at: when the oldest of its downloads that are under way began, in seconds since the epoch; 0 for none.
        last_used: the same of its last use; None where it is not known.
        asked_at: the same of when the newest of its downloads that are shown began; 0 for none.
        holds: for whom it is kept.
        of_a_download: the artifacts that ``/download`` stages, and whether a build has to have them.

    """

    build_path: str
    archive_url: str
    artifacts: Sequence[ArtifactView]
    began_at: float = 0.0
    last_used: float | None = None
    asked_at: float = 0.0
    holds: Holds = field(default_factory=Holds)
    of_a_download: Mapping[str, bool] = field(default_factory=dict)

    @cached_property
    def state(self) -> State:
        """Derived from the artifacts'; what was asked for by name, and failed, makes no complete build a bad one."""
        counted = (one.state for one in self.artifacts if not (one.is_bad and self.is_complete))
        return derived_state(counted)

    @cached_property
    def is_complete(self) -> bool:
        """Whether all that ``/download`` stages is here."""
        states = {artifact.name: artifact.state for artifact in self.artifacts}
        return bool(self.of_a_download) and all(
            states.get(name) is State.STAGED or (states.get(name) is State.ABSENT and not required)
            for name, required in self.of_a_download.items()
        )

    @property
    def is_in_part(self) -> bool:
        """Whether some of what ``/download`` stages is here and not all, though nothing is under way or went wrong."""
        has_some = any(one.name in self.of_a_download for one in self.artifacts)
        return has_some and self.state is State.STAGED and not self.is_complete

    @property
    def is_under_way(self) -> bool:
        """Whether something of it is being staged."""
        return any(not artifact.state.is_final for artifact in self.artifacts)

    @property
    def trouble(self) -> str:
        """What of it is being tried again at the moment, and why; empty where all goes well."""
        return next((one.trouble for one in self.artifacts if one.trouble and not one.state.is_final), "")

    @property
    def bytes_done(self) -> int:
        """Of all artifacts."""
        return sum(artifact.bytes_done for artifact in self.artifacts)

    @property
    def bytes_total(self) -> int:
        """Of all artifacts whose size is known."""
        return sum(artifact.bytes_total for artifact in self.artifacts)

    @property
    def size(self) -> int:
        """Bytes of all files that were published."""
        return sum(artifact.size for artifact in self.artifacts)

    @property
    def staged_at(self) -> float:
        """When the newest of its artifacts was staged, in seconds since the epoch; 0 where none is."""
        return max((artifact.staged_at for artifact in self.artifacts), default=0.0)

    @property
    def seconds_left(self) -> float | None:
        """How long what is under way will take if it goes on as it went; None where nobody can say."""
        of_this_time = [one for one in self.artifacts if not one.state.is_final or one.staged_at >= self.began_at]
        done = sum(artifact.bytes_done for artifact in of_this_time)
        left = sum(artifact.bytes_total for artifact in of_this_time) - done
        elapsed = CLOCK.now() - self.began_at
        return left * elapsed / done if done and self.began_at and elapsed > 0 else None


def overview(
    places: BuildPlaces, downloads: Sequence[BuildStatus], last_used: float | None, of_a_download: Mapping[str, bool]
) -> BuildView | None:
    """What is known of a build whose ``downloads`` are shown, the newest first; None where nothing is."""
    staged = _STAGED.of(places)
    if staged is None and not downloads:
        return None
    artifacts = dict(staged.artifacts) if staged else {}
    downloads = [status for status in downloads if status.archive_url == downloads[0].archive_url]
    for status in reversed(downloads):
        for name, event in status.shown.items():
            if name not in artifacts or not event.state.is_good:
                artifacts[name] = _shown(event)
    under_way = [status.began_at for status in downloads if not status.is_over]
    return BuildView(
        build_path=places.build_path,
        archive_url=downloads[0].archive_url if downloads else staged.archive_url if staged else "",
        artifacts=[artifacts[name] for name in sorted(artifacts)],
        began_at=min(under_way, default=0.0),
        last_used=last_used,
        asked_at=max((status.began_at for status in downloads), default=0.0),
        holds=holds_of(places),
        of_a_download=of_a_download,
    )


def staged_view(places: BuildPlaces) -> BuildView | None:
    """What the manifest alone says of a build; None where it has none."""
    staged = _STAGED.of(places)
    if staged is None:
        return None
    return BuildView(places.build_path, staged.archive_url, list(staged.artifacts.values()))


def builds_below(static_dir: Path, below: str = "") -> Iterator[BuildPlaces]:
    """Every directory that is a build of a devserver's, or that is and lies below the directory ``below``. Those in
    places of their own come after the others; a build that is a whole bucket is the last of its bucket.

    Raises:
        OSError: nothing can be told. What cannot be read of it, such as a ``lost+found``, is left out.

    """
    yield from _builds_in(static_dir, below, _DEEPEST)
    if below:
        return
    if _is_build(f"{static_dir}/{RESERVED_NAME}"):
        yield BuildPlaces(static_dir, "")
    for directory in directories_in(static_dir / BUCKETS):
        yield from _own_places(static_dir, f"{BUCKETS}/{directory.name}")


def _own_places(static_dir: Path, bucket: str) -> Iterator[BuildPlaces]:
    """The builds of a bucket, or those of all directories, that lie in places of their own."""
    name = name_of(bucket)
    if name.startswith("file:"):
        yield from _builds_in(static_dir, bucket, _DEEPEST_SOURCE)
    elif not fault_of_name(name):
        yield from _builds_in(static_dir, bucket, _DEEPEST)
        if _is_build(f"{static_dir}/{bucket}/{RESERVED_NAME}"):
            yield BuildPlaces(static_dir, name)


def _builds_in(static_dir: Path, below: str, deepest: int, depth: int = 0) -> Iterator[BuildPlaces]:
    try:
        with os.scandir(static_dir / below) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError as error:
        if below or is_absence(error):
            return
        raise  # nobody may take it for empty
    for name in names:
        if name == RESERVED_NAME:
            continue
        path = f"{below}/{name}" if below else name
        is_build = _is_build(f"{static_dir}/{path}/{RESERVED_NAME}")
        if is_build:
            yield BuildPlaces(static_dir, name_of(path))
        # What a caller named by one part alone may hold builds; within others, there are only their files.
        if deepest > 1 and not (is_build and depth):
            yield from _builds_in(static_dir, path, deepest - 1, depth + 1)


def _is_build(records: str) -> bool:
    """Whether a directory of records is there that has a manifest, and is no link of a worker's to another."""
    return os.path.exists(f"{records}/manifest.json") and not os.path.islink(records)  # noqa: PTH110, PTH114


class _Staged(NamedTuple):
    """What the manifest of a build says."""

    archive_url: str
    artifacts: Mapping[str, ArtifactView]


def _read(places: BuildPlaces, _status: os.stat_result) -> _Staged | None:
    try:
        manifest = Manifest.read(places)
    except NewerFormat:
        manifest = glimpsed(places)
    if manifest is None:
        return None
    views = {name: _staged_view(name, record) for name, record in manifest.artifacts.items()}
    return _Staged(manifest.archive_url, views)


_STAGED = InMind(_read)


def _staged_view(name: str, record: ArtifactRecord) -> ArtifactView:
    size = sum(item.size for item in record.objects)
    return ArtifactView(name, State(record.state), size, size, record.files, record.size, record.staged_at)


def _shown(event: Event) -> ArtifactView:
    done, total = event.bytes_done, event.bytes_total
    return ArtifactView(event.artifact, event.state, done, total, cause=event.cause, trouble=event.trouble)
