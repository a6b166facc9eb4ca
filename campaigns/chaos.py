"""``python -m campaigns.chaos``: everything that may fail does, while clients check every byte that they are served."""

from __future__ import annotations

import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event as Flag
from time import monotonic

import click

from campaigns.builds import make_builds
from campaigns.disk import small_disk
from campaigns.kills import FORK_SERVER, SERVER, WORKER, Killer
from campaigns.ledger import BROKEN, BYTES, COME_BACK, REQUESTS, WRONG, Ledger
from campaigns.rounds import Round
from campaigns.trouble import DISK_FULL, REPUBLISHED, SLOWED, Trouble
from campaigns.world import World
from tests.fake_archive import FakeArchive
from tests.servers import DevServer

_BUILDS = 4
_DISK = "24m"  # room for all builds, and for what is staged beside them
_OPTIONS = ("--stall-timeout", "0.5", "--retry-deadline", "1", "--max-downloads", "3", "--production")
_COUNTS = (SERVER, WORKER, FORK_SERVER, DISK_FULL, REPUBLISHED, SLOWED, REQUESTS, BROKEN, COME_BACK, BYTES, WRONG)
_MOST_TOLD = 20  # of what must never happen; the log of the round has all
_LOG, _SERVER_LOG = "round.log", "devserver.log"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(min=1), default=200, show_default=True, help="How many.")
@click.option("--seed", type=int, default=None, help="Of all random numbers; another one each time, if left out.")
@click.option("--first", type=click.IntRange(min=1), default=1, help="The number of the first round: to repeat one.")
def command_line(rounds: int, seed: int | None, first: int) -> None:
    """Kill the devserver and its workers, break the archive's answers and fill the disk, for so many rounds.

    A signal ends it after the round that is under way. Ends with status 1 when something happened that must never
    happen; the logs of that round are kept then.
    """
    is_enough = Flag()
    for end in (signal.SIGTERM, signal.SIGINT):
        signal.signal(end, lambda *_: is_enough.set())
    seed = random.randrange(1_000_000) if seed is None else seed
    click.echo(f"seed {seed}")
    directory = Path(tempfile.mkdtemp(prefix="devserver-chaos-"))
    ledger = Ledger(directory / _LOG)
    began = monotonic()
    done = 0
    with _campaign(directory, ledger) as rounds_of:
        for number in range(first, first + rounds):
            done += 1
            rounds_of.run(number, random.Random(f"{seed} {number}"))
            if ledger.violations or is_enough.is_set():
                break
        faults = rounds_of.faults_met
    _tell(ledger, faults, done, monotonic() - began)
    if ledger.violations:
        _tell_of_violations(ledger, directory, seed, first + done - 1)
        sys.exit(1)
    shutil.rmtree(directory)


@contextmanager
def _campaign(directory: Path, ledger: Ledger) -> Iterator[Round]:
    """Everything that a round takes: an archive, a small disk, a devserver; all of it ends with the context."""
    with ExitStack() as stack:
        archive = stack.enter_context(FakeArchive())
        disk = stack.enter_context(small_disk(directory / "static", _DISK))
        builds = make_builds(_BUILDS)
        for build in builds:
            build.upload(archive, 0)
        environment = {"STORAGE_EMULATOR_HOST": archive.url}
        server = DevServer(directory, *_OPTIONS, environment=environment, wrapper=disk.wrapper)
        stack.callback(server.close)
        world = World(ledger, builds)
        world.comes_up(server.url)
        yield Round(world, server, Killer(world, server, disk.path), Trouble(ledger, archive, disk, builds))


def _tell(ledger: Ledger, faults: dict[str, int], rounds: int, seconds: float) -> None:
    """The table of the campaign."""
    rows = [("rounds", f"{rounds}"), *((what, f"{ledger.counts[what]:,}") for what in _COUNTS)]
    rows += [(f"faults of the archive: {kind}", f"{count:,}") for kind, count in sorted(faults.items())]
    rows.append(("seconds", f"{seconds:.0f}"))
    click.echo("\n| what | count |\n|---|---|")
    for name, value in rows:
        click.echo(f"| {name} | {value} |")


def _tell_of_violations(ledger: Ledger, directory: Path, seed: int, number: int) -> None:
    click.secho(f"\nWhat must never happen did, in round {number} of seed {seed}:", fg="red", err=True)
    for violation in ledger.violations[:_MOST_TOLD]:
        click.echo(f"  {violation}", err=True)
    click.echo(f"The logs of that round: {directory / _LOG} and {directory / _SERVER_LOG}", err=True)
    click.echo(f"Again: python -m campaigns.chaos --seed {seed} --first {number} --rounds 1", err=True)


if __name__ == "__main__":
    command_line()
