"""A whole build is fetched and unpacked."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import monotonic

from bench.archive.data import TARBALLS, WARM_UP_PATH
from bench.devservers import devserver
from bench.fetching import peers
from bench.fetching.checking import check_objects, check_staged, check_unpacked
from bench.processes import one_after_the_other, run, run_piped, run_together
from bench.samples import Method, Sample
from bench.setting import Setting, by_python
from demo.reference_build import BUILD_PATH


def build_methods(setting: Setting) -> list[Method]:
    """The ways to fetch and unpack a build, and what none of them can be faster than."""
    return [
        Method(
            "original",
            "the original's way: `gsutil cp` one after the other, then `tar --use-compress-program=pbzip2`",
            partial(_build_by_gsutil, setting),
        ),
        Method("rclone", "`rclone copy`, then `tar --use-compress-program=lbzip2`", partial(_build_by_rclone, setting)),
        Method("client", "`download_to_filename`, then `tarfile`", partial(_build_by_client, setting)),
        Method("curl", "floor: `curl` of all objects in parallel, nothing unpacked", partial(_build_by_curl, setting)),
        Method("untar", "floor: `lbzip2 -dc` into `tar x`, nothing fetched", partial(_unpack_only, setting)),
        Method("devserver", "**a devserver**, `/download` to `/wait_for_status`", partial(_build_by_us, setting)),
    ]


def _build_by_gsutil(setting: Setting, directory: Path) -> Sample:
    environment = peers.gsutil_environment(setting.archive, directory)
    log = directory / "log"
    copies = [
        partial(run, peers.gsutil(f"{BUILD_PATH}/{name}", directory / name), log, environment) for name in setting.build
    ]
    sample = one_after_the_other([*copies, *_unpackings(directory, "pbzip2")])
    return _checked(setting, directory, sample)


def _build_by_rclone(setting: Setting, directory: Path) -> Sample:
    copy = partial(run, peers.rclone(setting.archive, BUILD_PATH, directory), directory / "log")
    return _checked(setting, directory, one_after_the_other([copy, *_unpackings(directory, "lbzip2")]))


def _build_by_client(setting: Setting, directory: Path) -> Sample:
    sample = by_python(setting, "client-and-tarfile", BUILD_PATH, directory, list(setting.build))
    return _checked(setting, directory, sample)


def _build_by_curl(setting: Setting, directory: Path) -> Sample:
    commands = [peers.curl(setting.archive, f"{BUILD_PATH}/{name}", directory / name) for name in setting.build]
    sample = run_together(commands, directory / "log")
    check_objects(directory, setting.build)
    return sample


def _unpack_only(setting: Setting, directory: Path) -> Sample:
    target = directory / "unpacked"
    target.mkdir()
    sample = one_after_the_other(
        [
            partial(
                run_piped,
                ["lbzip2", "-dc", setting.build[name].file],
                ["tar", "-xf", "-", "-C", str(target)],
                directory / "log",
            )
            for name in TARBALLS
        ]
    )
    check_unpacked(target, setting.data)
    return sample


def _build_by_us(setting: Setting, directory: Path) -> Sample:
    with devserver(setting.archive, directory, WARM_UP_PATH, checkout=setting.checkout) as server:
        cpu = server.cpu()
        begin = monotonic()
        server.download(BUILD_PATH)
        server.wait_for_status(BUILD_PATH)
        wall = monotonic() - begin
        sample = Sample(wall, server.cpu() - cpu)
    check_staged(directory / "static" / BUILD_PATH, setting.build)
    check_unpacked(directory / "static" / BUILD_PATH, setting.data)
    return sample


def _unpackings(directory: Path, program: str) -> list[Callable[[], Sample]]:
    return [
        partial(run, peers.untar(directory / name, directory / "unpacked", program), directory / "log")
        for name in TARBALLS
    ]


def _checked(setting: Setting, directory: Path, sample: Sample) -> Sample:
    check_objects(directory, setting.build)
    check_unpacked(directory / "unpacked", setting.data)
    return sample
