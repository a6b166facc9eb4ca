"""What has to be true of a static directory, and of a devserver's processes, whatever happened to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import psutil

from campaigns.builds import WHOLE, CampaignBuild

_RESERVED = ".devserver"
# What no devserver leaves behind when nothing is under way; other records of its own are its own affair.
_LEFTOVERS = ("*.tmp", "*.devserver-mark")
# Seconds that a server's processes have to notice that it is gone; the workers' maker first ends its imports.
_TIME_TO_DIE = 20.0


def wrong_files(static_dir: Path, builds: Iterable[CampaignBuild], others: Sequence[str] = ()) -> list[str]:
    """What is visible and is not a whole file of a build; ``others`` are files that somebody else put there."""
    found = []
    known = {build.path: build for build in builds}
    for path in _visible_files(static_dir):
        name = path.relative_to(static_dir).as_posix()
        build_path, below = _split(name)
        build = known.get(build_path)
        if build is not None and below:
            if not build.is_whole(below, path.read_bytes()):
                found.append(f"{name} is visible, and not as it should be: {path.stat().st_size} bytes")
        elif name not in others:
            found.append(f"{name} is visible, and belongs to nothing")
    return found


def missing_files(static_dir: Path, build: CampaignBuild, artifacts: Iterable[str] = WHOLE) -> list[str]:
    """What is not there of artifacts that are staged, or is of several versions."""
    found = []
    for name in artifacts:
        paths = build.of_artifact(name)
        absent = [path for path in paths if not (static_dir / build.path / path).is_file()]
        if absent:
            found.append(f"{build.path}: {name} was called staged; {', '.join(absent[:3])} of it is not there")
        elif not any(_is_of(static_dir, build, version, paths) for version in (0, 1)):
            found.append(f"{build.path}: {name} is not wholly of one version")
    return found


def leftovers(static_dir: Path) -> list[str]:
    """What is left of work that is over: locks, staging areas, temporary files."""
    own = static_dir / _RESERVED
    paths = [*own.glob("locks/*"), *own.glob("staging/*")]
    for pattern in _LEFTOVERS:
        paths += static_dir.rglob(pattern)
    return [path.relative_to(static_dir).as_posix() for path in paths]


def survivors(processes: Sequence[psutil.Process]) -> list[str]:
    """Those of a devserver's processes that outlive it."""
    return [f"process {process.pid} outlives its server" for process in psutil.wait_procs(processes, _TIME_TO_DIE)[1]]


def _is_of(static_dir: Path, build: CampaignBuild, version: int, paths: Iterable[str]) -> bool:
    return all((static_dir / build.path / path).read_bytes() == build.content(version, path) for path in paths)


def _visible_files(static_dir: Path) -> Iterator[Path]:
    """Every file that /static would serve, links followed; a link to what is not there yet serves nothing."""
    for path in static_dir.rglob("*"):
        if _RESERVED not in path.relative_to(static_dir).parts and path.is_file():
            yield path


def _split(name: str) -> tuple[str, str]:
    """The build path, of two parts, and what is below it."""
    parts = name.split("/")
    return "/".join(parts[:2]), "/".join(parts[2:])
