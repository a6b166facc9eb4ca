"""``python -m campaigns.soak``: a lab's mixed load for a while, and what of the devserver grows over it."""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import threading
from collections import deque
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep

import click

from campaigns import checks, clients
from campaigns.asking import ask
from campaigns.builds import CampaignBuild, make_campaign_build
from campaigns.clients import Client
from campaigns.figures import Figures, compared
from campaigns.ledger import BYTES, REQUESTS, WRONG, Ledger
from campaigns.trouble import random_fault
from campaigns.world import World
from tests.fake_archive import FakeArchive
from tests.servers import DevServer

_BUILDS = 8  # that are in use at a time
_CLIENTS = 10
_PAUSE = 0.05  # seconds that a client rests
_BETWEEN_BUILDS = 0.5  # seconds after which a new build takes the place of the oldest
_BETWEEN_FAULTS = 1.0  # seconds
_TIME_TO_REST = 180.0  # seconds: downloads end, and threads that have nothing to do
_THREADS_GO_AFTER = 17.0  # seconds, the pool's own fifteen and a little
_SHORTEST_WARM_UP = 60.0  # seconds, of a soak of a few minutes or more
_OPTIONS = ("--stall-timeout", "2", "--retry-deadline", "2", "--production")
_BUSY = 409
_NEW, _MET = "builds that were new", "faults of the archive"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), default=10.0, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="Of all random numbers.")
def command_line(minutes: float, seed: int) -> None:
    """Load a devserver as a lab does, and compare what it holds at rest after a fifth of the time and at the end.

    The first mark comes after a minute at least, where there is time for it. Ends with status 1 when a figure grew by
    more than its bound, or when an answer was wrong.
    """
    seconds = minutes * 60
    warm_up = max(seconds / 5, min(_SHORTEST_WARM_UP, seconds / 2))
    directory = Path(tempfile.mkdtemp(prefix="devserver-soak-"))
    # In a short one, threads that have nothing to do are not waited for.
    soak = Soak(directory, random.Random(seed), min(_THREADS_GO_AFTER, warm_up))
    try:
        soak.load(warm_up)
        first = soak.figures()
        click.echo(f"first mark after {warm_up:.0f} s of load")
        soak.load(seconds - warm_up)
        last = soak.figures()
    finally:
        soak.close()
    if not _told(soak.ledger, first, last, seconds):
        click.echo(f"The logs: {directory}", err=True)
        sys.exit(1)
    shutil.rmtree(directory)


class Soak:
    """A devserver, its archive and its clients."""

    def __init__(self, directory: Path, numbers: random.Random, threads_go_after: float) -> None:
        self.ledger = Ledger(directory / "log")
        self.ledger.begin_round("soak")
        self._stack = ExitStack()
        self._random = numbers
        self._threads_go_after = threads_go_after
        self._archive = self._stack.enter_context(FakeArchive())
        self._model = make_campaign_build("R17-0.0.0")
        self._world = World(self.ledger, [self._new_build() for _ in range(_BUILDS)])
        self._retired: deque[CampaignBuild] = deque()
        environment = {"STORAGE_EMULATOR_HOST": self._archive.url}
        self._server = DevServer(directory, *_OPTIONS, environment=environment)
        self._stack.callback(self._server.close)
        self._world.comes_up(self._server.url)

    def close(self) -> None:
        """End everything."""
        self._stack.close()

    def load(self, seconds: float) -> None:
        """Let clients work for so long, while builds come and go and the archive fails now and then."""
        self._world.begin(())
        at_work = clients.start(
            [Client(self._world, random.Random(self._random.random()), _PAUSE) for _ in range(_CLIENTS)]
        )
        at_work.append(threading.Thread(target=self._break_answers, name="archive", daemon=True))
        at_work[-1].start()
        deadline = monotonic() + seconds
        while monotonic() < deadline:
            self._replace_the_oldest()
            sleep(_BETWEEN_BUILDS)
        self._world.is_over.set()
        for thread in at_work:
            thread.join()

    def figures(self) -> Figures:
        """What the devserver holds, once it is at rest."""
        self._archive.heal()
        self._archive.forget()
        deadline = monotonic() + _TIME_TO_REST
        while not self._is_at_rest():
            if monotonic() > deadline:
                self.ledger.violation(f"it is not at rest after {_TIME_TO_REST:g} s")
                break
            sleep(0.2)
        sleep(self._threads_go_after)
        return Figures.taken(self._server.process.pid, self._server.static_dir)

    def _is_at_rest(self) -> bool:
        """Whether nothing is under way, and what is out of use is removed; what was cut off is staged to its end."""
        for build in self._world.builds:
            Client(self._world, self._random).download_and_wait(build)
            Client(self._world, self._random).stage(build, files=[build.files[-1]])
        while self._retired:
            if not self._is_removed(self._retired[0]):
                return False
            self._retired.popleft()
        return not self._server.workers() and not checks.leftovers(self._server.static_dir)

    def _replace_the_oldest(self) -> None:
        oldest, *others = self._world.builds
        self._world.builds = [*others, self._new_build()]
        oldest.take_back(self._archive)
        self._retired.append(oldest)
        if len(self._retired) > _BUILDS and self._is_removed(self._retired[0]):
            self._retired.popleft()

    def _is_removed(self, build: CampaignBuild) -> bool:
        answer = ask(self._world, f"/api/v1/builds/{build.path}", {}, "DELETE")
        return answer is not None and answer.status != _BUSY

    def _new_build(self) -> CampaignBuild:
        self.ledger.count(_NEW)
        build = self._model.renamed(f"R17-{self.ledger.counts[_NEW]}.0.0")
        build.upload(self._archive, 0)
        return build

    def _break_answers(self) -> None:
        while not self._world.is_over.wait(_BETWEEN_FAULTS):
            self._archive.fail_once(*random_fault(self._random, self._world.builds))
            self.ledger.counts[_MET] = sum(self._archive.faults_met.values())


def _told(ledger: Ledger, first: Figures, last: Figures, seconds: float) -> bool:
    """Print what was seen; whether all of it is as it should be."""
    click.echo("\n| at rest | first mark | end | ratio | may grow by | |\n|---|---|---|---|---|---|")
    rows = compared(first, last)
    for name, before, after, ratio, bound, holds in rows:
        click.echo(f"| {name} | {before} | {after} | {ratio} | {bound} | {'holds' if holds else 'GREW'} |")
    click.echo("\n| what | count |\n|---|---|")
    for what in (_NEW, _MET, REQUESTS, BYTES, WRONG):
        click.echo(f"| {what} | {ledger.counts[what]:,} |")
    click.echo(f"| seconds of load | {seconds:.0f} |")
    for violation in ledger.violations[:20]:
        click.secho(violation, fg="red", err=True)
    return not ledger.violations and all(holds for *_, holds in rows)


if __name__ == "__main__":
    command_line()
