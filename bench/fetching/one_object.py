"""One large object becomes a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from bench.archive.data import OBJECT, OBJECT_PATH
from bench.fetching import peers
from bench.fetching.checking import check_objects
from bench.processes import run
from bench.samples import Method, Sample
from bench.setting import NO_SETTINGS, Setting, by_python

_MEBIBYTE = 1024**2
# Slice size in MiB, threads, slices ahead.
_SETTINGS = ((1, 4, 8), (4, 4, 8), (4, 8, 12), (8, 1, 2), (8, 2, 4), (8, 4, 6), (8, 8, 10), (16, 4, 6), (32, 4, 6))


def object_methods(setting: Setting) -> list[Method]:
    """The ways to make one object a file."""

    def fetched(fetch: Callable[[Path], Sample], directory: Path) -> Sample:
        sample = fetch(directory)
        check_objects(directory, setting.data.objects(OBJECT_PATH))
        return sample

    ways: list[tuple[str, str, Callable[[Path], Sample]]] = [
        ("curl", "`curl` into a file, unverified", partial(_object_by_curl, setting)),
        ("rclone", "`rclone copy`, which verifies md5", partial(_object_by_rclone, setting)),
        (
            "rclone unverified",
            "`rclone copy --ignore-checksum`",
            partial(_object_by_rclone, setting, options=("--ignore-checksum",)),
        ),
        (
            "client",
            "`download_to_filename`, which verifies crc32c",
            partial(_object_by_python, setting, "client", NO_SETTINGS),
        ),
        (
            "devserver",
            "**`Transfer.fetch`**, which verifies crc32c",
            partial(_object_by_python, setting, "transfer", NO_SETTINGS),
        ),
    ]
    return [Method(name, label, partial(fetched, way)) for name, label, way in ways]


def settings_methods(setting: Setting) -> list[Method]:
    """The same by ours, with other settings."""
    methods = []
    for slice_mib, threads, ahead in _SETTINGS[:2] if setting.is_quick else _SETTINGS:
        values = {"slice_bytes": slice_mib * _MEBIBYTE, "threads": threads, "slices_ahead": ahead}
        label = f"{slice_mib} MiB, {threads} threads, {ahead} ahead: {slice_mib * ahead} MiB at most"
        run_it = partial(_object_by_python, setting, "transfer", values)
        methods.append(Method(f"{slice_mib}/{threads}/{ahead}", label, run_it))
    return methods


def _object_by_curl(setting: Setting, directory: Path) -> Sample:
    return run(peers.curl(setting.archive, f"{OBJECT_PATH}/{OBJECT}", directory / OBJECT), directory / "log")


def _object_by_rclone(setting: Setting, directory: Path, options: Sequence[str] = ()) -> Sample:
    return run(peers.rclone(setting.archive, OBJECT_PATH, directory, *options), directory / "log")


def _object_by_python(setting: Setting, way: str, settings: Mapping[str, int], directory: Path) -> Sample:
    return by_python(setting, way, OBJECT_PATH, directory, [OBJECT], settings)
