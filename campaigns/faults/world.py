"""What a fault happens in: builds in a directory archive, and a devserver's parts in one process, without its HTTP."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from threading import Event as Flag
from time import sleep
from typing import Any, ClassVar

from artifacts.catalogue import DEFAULT_CATALOGUE, read_catalogue
from artifacts.job import StagingOptions
from downloader import Downloader, Wish
from staging.admission import Admission
from staging.board import StatusBoard
from staging.eviction import Limits
from staging.executors.base import Job
from staging.holds import BuildHolds
from staging.inventory import Stocktaker, nobody
from staging.locks import FileLock
from staging.recovery import clear_up
from staging.retry import Patience
from staging.room import Room
from staging.status import Report
from staging.usage import LastUse
from tests.builds import FULL_PAYLOAD, NTON_PAYLOAD, TARGET, Build, noise, tarball

ARCHIVE = "archive"  # the directory of all builds' objects
NO_LIMITS = Limits()
FOREIGN = {"mine": b"of somebody else", "autotest/client/mine": b"of somebody else, too"}
_TIME_TO_STOP = 10.0  # seconds


def make_small_build(version: str) -> Build:
    """A build of few and small files, with what each behaviour of an artifact makes: every call counts."""
    build = Build(TARGET, version)
    suites = {"autotest/test_suites/control.bvt": b"SUITE = 'bvt'\n"}
    packages = {f"autotest/packages/{name}": noise(300, version + name) for name in ("packages.checksum", "test.tar")}
    tests = {f"autotest/client/site_tests/t{n}/control": noise(200, f"{version}{n}") for n in range(2)}
    build.objects = {
        FULL_PAYLOAD: noise(40_000, version + "full"),
        "stateful.tgz": noise(3000, version + "stateful"),
        "test_suites.tar.bz2": tarball(suites, ""),
        NTON_PAYLOAD: noise(2000, version + "nton"),
        "autotest.tar": tarball({**packages, **tests}, ""),
        "other.bin": noise(1000, version + "other"),
    }
    linked = {f"au/{version}_nton/{name}" for name in ("update.gz", "stateful.tgz", "chromiumos_test_image.bin")}
    nton, stateful, image = sorted(linked, key=lambda path: ("image" in path, "stateful" in path))
    build.files = {
        "chromiumos_test_image.bin": b"",
        "update.gz": build.objects[FULL_PAYLOAD],
        "stateful.tgz": build.objects["stateful.tgz"],
        **suites,
        **packages,
        **{name.replace("autotest/packages/", "autotest/"): content for name, content in packages.items()},
        **tests,
        nton: build.objects[NTON_PAYLOAD],
        stateful: build.objects["stateful.tgz"],
        image: b"",
    }
    return build


BUILDS = tuple(make_small_build(f"R17-{number}.0.0") for number in range(1, 5))


class InThisProcess:
    """An executor whose worker is the thread that asks."""

    takes_parts = False
    worker_count = 0
    figures: ClassVar[dict[str, float]] = {}

    def run(
        self,
        job: Job,
        request: dict[str, Any],
        report: Report,
        lock: FileLock,
        cancelled: Flag,
        is_urgent: bool = False,
    ) -> None:
        """See :class:`~staging.executors.base.Executor`."""
        del lock, is_urgent
        job(request, report, cancelled)

    def start(self) -> None:
        """See :class:`~staging.executors.base.Executor`."""

    def stop(self) -> None:
        """See :class:`~staging.executors.base.Executor`."""


class Server:
    """The parts of a devserver that change the disk."""

    def __init__(self, directory: Path, limits: Limits = NO_LIMITS) -> None:
        """Its static directory and the archive lie in ``directory``."""
        self.static_dir = directory / "static"
        self.archive = directory / ARCHIVE
        board = StatusBoard()
        last_use = LastUse(self.static_dir)
        self.room = Room(self.static_dir, limits, last_use, Stocktaker(self.static_dir, last_use, nobody, board))
        options = StagingOptions(
            self.static_dir,
            archive_roots=(self.archive, self.static_dir),
            patience=Patience(retry_deadline=0.3),
            artifacts_at_once=1,
        )
        catalogue = read_catalogue(DEFAULT_CATALOGUE)
        admission = Admission(4)
        self.downloader = Downloader(catalogue, options, InThisProcess(), board, last_use, self.room, admission)
        self.holds = BuildHolds(self.static_dir, self.downloader.build)

    def url(self, build: Build) -> str:
        """The archive URL of a build."""
        return f"file://{self.archive}/{build.path}"

    def stage(self, build: Build, artifacts: Iterable[str] = (), clean: bool = False) -> None:
        """Stage all of a build, or some artifacts of it."""
        url = self.url(build)
        if clean or artifacts:
            self.downloader.stage(url, Wish(artifacts=tuple(artifacts)), clean=clean)
        else:
            self.downloader.download(url)

    def wait_for_the_end(self) -> None:
        """Wait for what is under way: other artifacts of a build, one of which failed."""
        for build in BUILDS:
            while self.downloader.is_under_way(build.path):
                sleep(0.002)
            self.downloader.downloads.wait_for_the_end(build.path)

    def settle(self) -> None:
        """Wait for the same, and clear up behind it as a devserver does once a minute."""
        self.wait_for_the_end()
        for problem in clear_up(self.static_dir).values():
            raise problem
        self.room.tend()

    def stop(self) -> None:
        """End what is under way."""
        self.downloader.stop(_TIME_TO_STOP)
