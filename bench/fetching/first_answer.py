"""What a test harness waits for: the answer of ``/download``."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from time import monotonic, sleep

from bench.archive.data import OTHER_BUILD_PATH, SYNCHRONOUS, WARM_UP_PATH
from bench.devservers import Devserver, devserver
from bench.fetching import peers
from bench.fetching.checking import check_objects, check_staged
from bench.processes import finished, run, started
from bench.samples import Method, Sample
from bench.setting import Setting
from demo.reference_build import BUILD_PATH, TEST_SUITES

# Seconds that autotest has been unpacked for when the answer is asked for: the decompressor keeps all cores busy then,
# and goes on doing so for seconds. Sooner, the answer falls into the one or the other by chance.
_TIME_FOR_BACKGROUND = 1.0


def answer_methods(setting: Setting) -> list[Method]:
    """How long a test harness waits for what it needs first."""
    return [
        Method(
            "curl",
            "`curl` of the synchronous artifacts' objects in parallel, and `tar` of `test_suites` once it is there",
            partial(_synchronous_by_curl, setting),
        ),
        Method("devserver", "**`/download`** on an idle devserver", partial(_answer_when_idle, setting)),
        Method(
            "busy devserver",
            "**`/download`** while another build's background artifacts are being staged",
            partial(_answer_when_busy, setting),
        ),
    ]


def _synchronous_by_curl(setting: Setting, directory: Path) -> Sample:
    log = directory / "log"
    commands = {name: peers.curl(setting.archive, f"{BUILD_PATH}/{name}", directory / name) for name in SYNCHRONOUS}
    untar = peers.untar(directory / TEST_SUITES, directory / "unpacked", "lbzip2")
    begin = monotonic()
    with ExitStack() as stack:
        running = {name: stack.enter_context(started(command, log)) for name, command in commands.items()}
        cpu = finished(running.pop(TEST_SUITES), log) + run(untar, log).cpu
        cpu += sum(finished(process, log) for process in running.values())
        sample = Sample(monotonic() - begin, cpu)
    check_objects(directory, {name: setting.build[name] for name in SYNCHRONOUS})
    return sample


def _answer_when_idle(setting: Setting, directory: Path) -> Sample:
    with devserver(setting.archive, directory, WARM_UP_PATH, checkout=setting.checkout) as server:
        return _answer(setting, server)


def _answer_when_busy(setting: Setting, directory: Path) -> Sample:
    with (
        devserver(setting.archive, directory, WARM_UP_PATH, checkout=setting.checkout) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        other = pool.submit(server.download, OTHER_BUILD_PATH)
        other.result()
        if not setting.is_quick:  # in which it is over as soon as it begins
            server.wait_for_program("lbzip2")
            sleep(_TIME_FOR_BACKGROUND)
        sample = _answer(setting, server)
        note = "" if server.is_staging(OTHER_BUILD_PATH) else "the other build was staged before the answer"
        return Sample(sample.wall, sample.cpu, note=note)


def _answer(setting: Setting, server: Devserver) -> Sample:
    """The time alone: processor time cannot be told from that of what goes on behind it."""
    begin = monotonic()
    server.download(BUILD_PATH)
    wall = monotonic() - begin
    build_directory = server.static_dir / BUILD_PATH
    check_staged(build_directory, {name: setting.build[name] for name in SYNCHRONOUS})
    return Sample(wall, 0.0)
