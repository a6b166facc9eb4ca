"""What has to be true of the disk after a fault, and again once all was made good."""

from __future__ import annotations

import gc
import os
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from time import monotonic, sleep

from campaigns.checks import leftovers
from campaigns.faults.world import FOREIGN
from staging.layout import RESERVED_NAME, BuildPlaces
from staging.manifest import Manifest
from tests.builds import Build

_LAST_LOOK = 1.0  # seconds that a thread may take for its last look at a build
_ALIVE = "alive"  # the lock of a devserver that lives

OF_ARTIFACT = {
    "full_payload": ("update.gz",),
    "stateful": ("stateful.tgz",),
    "test_suites": ("autotest/test_suites/",),
    "autotest": ("autotest/packages/", "autotest/client/", "autotest/packages.checksum", "autotest/test.tar"),
    "nton_payload": ("au/",),
}


def wrong_now(static_dir: Path, builds: Iterable[Build], damaged: Container[str] = ()) -> Iterator[str]:
    """Files that are visible and wrong, and files that a manifest says are staged and that are missing, but for the
    ``damaged`` paths; and other people's files that are gone.
    """
    for build in builds:
        directory = static_dir / build.path
        for path, content in _visible(directory):
            if path in FOREIGN or path in damaged:
                continue
            if content != build.files.get(path, build.objects.get(path)):
                yield f"WRONG: {build.path}/{path} is visible, and not as it should be: {len(content)} bytes"
        yield from (f"LOST: {path}" for path in _lost_of_others(directory))
        yield from _not_there(static_dir, build, damaged)


def _not_there(static_dir: Path, build: Build, damaged: Container[str]) -> Iterator[str]:
    manifest = Manifest.if_readable(BuildPlaces(static_dir, build.path))
    for name, record in manifest.artifacts.items() if manifest is not None else ():
        if record.state != "staged":
            continue
        expected = (path for path in build.files if path.startswith(OF_ARTIFACT.get(name, ("?",))))
        for path in expected:
            file = static_dir / build.path / path
            if path not in damaged and not file.is_file() and not file.is_symlink():
                yield f"LOST: {build.path}: {name} counts as staged, and {path} is not there"


def _lost_of_others(directory: Path) -> Iterator[str]:
    if (directory.parent / f"{directory.name}.foreign").exists():
        for path, content in FOREIGN.items():
            if not (directory / path).is_file() or (directory / path).read_bytes() != content:
                yield f"{directory.name}/{path}, which is somebody else's"


def put_foreign(directory: Path) -> None:
    """Put other people's files beside those of a build."""
    for path, content in FOREIGN.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(content)
    (directory.parent / f"{directory.name}.foreign").touch()


def not_whole(static_dir: Path, build: Build) -> Iterator[str]:
    """What a build that is staged wholly lacks, and what lies there beside it."""
    found = dict(_visible(static_dir / build.path))
    for path in build.files.keys() - found.keys():
        yield f"LOST: {build.path}/{path} is not there after all was made good"
    for path in found.keys() - build.files.keys() - FOREIGN.keys() - build.objects.keys():
        yield f"ORPHAN: {build.path}/{path} belongs to nothing"


def not_gone(static_dir: Path, build: Build) -> Iterator[str]:
    """What is left of a build that was removed."""
    directory = static_dir / build.path
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if not any(one == name or one.startswith(f"{name}/") for one in FOREIGN):
            yield f"ORPHAN: {build.path}/{name} is left of a build that was removed"
    if directory.is_dir() and not any(path.is_file() for path in directory.rglob("*")):
        yield f"ORPHAN: {build.path} is left, an empty directory"


def untidy(static_dir: Path) -> Iterator[str]:
    """What is left of work that is over."""
    own = static_dir / RESERVED_NAME
    paths = [*own.glob("orders/*/*.json"), *own.glob("on-its-way/*/*")]
    left = [*leftovers(static_dir), *(path.relative_to(static_dir).as_posix() for path in paths)]
    yield from (f"ORPHAN: {name}" for name in left)


def open_files(static_dir: Path) -> list[str]:
    """What of the static directory this process has open for good: a lock that holds, or a leak."""
    deadline = monotonic() + _LAST_LOOK
    while (found := list(_open_now(static_dir))) and monotonic() < deadline:
        sleep(0.01)
    return found


def _open_now(static_dir: Path) -> Iterator[str]:
    gc.collect()  # a walk that an error ended may wait for it
    for descriptor in os.listdir("/proc/self/fd"):  # noqa: PTH208
        try:
            target = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115
        except OSError:
            continue
        if target.startswith(f"{static_dir}/") and not target.endswith(f"/{_ALIVE}"):
            yield f"OPEN: {target.removeprefix(str(static_dir))}"


def _visible(directory: Path) -> Iterator[tuple[str, bytes]]:
    for path in directory.rglob("*"):
        name = path.relative_to(directory)
        if RESERVED_NAME not in name.parts and path.is_file():
            yield name.as_posix(), path.read_bytes()
