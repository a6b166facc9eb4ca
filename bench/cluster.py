"""``python -m bench.cluster``: how much sooner builds are staged by two workers of a cluster than by one.

What bounds them is the archive, whose every connection is slow, as it is for machines that have a line each. A
processor that is busy bounds both alike: measure on a machine that has nothing else to do.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic

import click

from tests.builds import make_build
from tests.clusters import Worker
from tests.fake_archive import FakeArchive
from tests.redis_server import RedisServer
from tests.servers import DevServer, eventually

_LATENCY = 0.05  # seconds before every answer
_LIMIT = 400_000  # bytes in a second of each connection
_GOAL = 1.7


@click.command()
@click.option("--builds", type=click.IntRange(min=1), default=8, show_default=True, help="Builds to stage.")
@click.option("--scale", type=click.IntRange(min=1), default=4, show_default=True, help="Size of each, in megabytes.")
@click.option("--at-once", type=click.IntRange(min=1), default=2, show_default=True, help="Artifacts of one worker.")
def command_line(builds: int, scale: int, at_once: int) -> None:
    """Stage the builds by one worker, and by two; all of them at once, and all artifacts by workers.

    Exit status: 1 two are not 1.7 times as fast as one.
    """
    took = {count: _seconds(builds, scale, at_once, count) for count in (1, 2)}
    for count, seconds in took.items():
        click.echo(f"{builds} builds by {count} worker{'s' * (count > 1)}: {seconds:.1f} s")
    ratio = took[1] / took[2]
    click.echo(f"ratio: {ratio:.2f} (goal: {_GOAL})")
    raise SystemExit(ratio < _GOAL)


def _seconds(builds: int, scale: int, at_once: int, workers: int) -> float:
    """How long it takes to stage the builds."""
    with tempfile.TemporaryDirectory() as directory, FakeArchive(_LATENCY, _LIMIT) as archive:
        wanted = [make_build(scale, version=f"R17-{number}.0.0").upload(archive) for number in range(builds)]
        warm_up = make_build(version="R1-0.0.0").upload(archive)
        with _cluster(Path(directory), archive, at_once, workers) as server:
            server.stage(warm_up.url)
            began = monotonic()
            with ThreadPoolExecutor(builds) as callers:
                list(callers.map(lambda build: server.stage(build.url), wanted))
            return monotonic() - began


@contextmanager
def _cluster(directory: Path, archive: FakeArchive, at_once: int, workers: int) -> Iterator[DevServer]:
    """A devserver with so many workers, which are ready."""
    environment = {"STORAGE_EMULATOR_HOST": archive.url}
    with ExitStack() as stack:
        broker = stack.enter_context(RedisServer(directory))
        options = ("--executor", "celery", "--broker", broker.url, "--no-stage-inline", "--max-downloads", "100")
        server = DevServer(directory, *options, environment=environment)
        stack.callback(server.close)
        for number in range(workers):
            worker = Worker(directory, broker.url, environment, name=f"worker-{number}", at_once=at_once)
            stack.callback(worker.close)
        eventually(lambda: broker.count_keys("devserver:worker:*") == workers, 60.0)
        yield server


if __name__ == "__main__":
    command_line()
