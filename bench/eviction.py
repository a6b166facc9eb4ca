"""``python -m bench.eviction``: what it takes to decide which of ten thousand builds go, and to take stock of them."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import process_time

import click

from bench.first_paint import write_builds
from staging.eviction import Disk, Limits, Record, decide
from staging.inventory import Stocktaker, nobody
from staging.usage import LastUse

_SIZE = 5_000_000_000  # bytes of a build


@click.command()
@click.option("--builds", type=click.IntRange(min=1), default=10_000, show_default=True, help="Builds on the disk.")
@click.option("--rounds", type=click.IntRange(min=1), default=15, show_default=True, help="Decisions.")
def command_line(builds: int, rounds: int) -> None:
    """Decide from records alone, half of the builds having to go; then take stock of as many on the disk.

    What is said is time of a processor, whatever else the machine does.
    """
    chance = random.Random(1)  # noqa: S311 - nothing is secret
    holds = ((), (), (), ("pinned",))
    records = [Record(f"board/R{n}", _SIZE, chance.random() * 1e9, chance.choice(holds)) for n in range(builds)]
    limits = Limits(max_bytes=builds * _SIZE // 2, min_free=builds * _SIZE // 4)
    took = [_seconds(lambda: decide(records, limits, Disk(0), 1e9, _SIZE)) for _ in range(rounds)]
    click.echo(f"deciding {builds} records: {_told(took)}")
    with tempfile.TemporaryDirectory() as directory:
        static_dir = Path(directory)
        write_builds(static_dir, builds)
        stocktaker = Stocktaker(static_dir, LastUse(static_dir), nobody, None)
        first = _seconds(stocktaker.take)
        took = [_seconds(stocktaker.take) for _ in range(max(rounds // 5, 1))]
    click.echo(f"taking stock of {builds} builds: {_told(took)}; the first time, {1000 * first:.0f} ms")


def _seconds(work: Callable[[], object]) -> float:
    began = process_time()
    work()
    return process_time() - began


def _told(took: list[float]) -> str:
    return f"{1000 * median(took):.0f} ms ({1000 * min(took):.0f} to {1000 * max(took):.0f})"


if __name__ == "__main__":
    command_line()
