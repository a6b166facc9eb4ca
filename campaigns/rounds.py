"""One round of the crash campaign: clients at work while things break, then quiet, and a look at what is left."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import monotonic, sleep

from campaigns import checks, clients
from campaigns.asking import ask
from campaigns.builds import EXTRA_FILE, WHOLE, CampaignBuild
from campaigns.clients import Client
from campaigns.disk import BALLAST
from campaigns.kills import Killer
from campaigns.trouble import Event, Trouble
from campaigns.world import World
from tests.servers import DevServer

_CLIENTS = 8
_SHORTEST, _LONGEST = 0.4, 0.9  # seconds in which things break
_TIME_TO_ANSWER = 120.0  # seconds in which every client has its answer, once nothing breaks any more
_TIME_TO_REST = 120.0  # seconds in which what is under way then has ended
_TIME_TO_TIDY = 10.0  # seconds
_BUSY, _NO_CONTENT = 409, 204
_FAULTS_OF_THE_SERVER = ("Traceback", "InternalFailure")


class Round:
    """One round after the other, on one devserver."""

    def __init__(self, world: World, server: DevServer, killer: Killer, trouble: Trouble) -> None:
        self._world = world
        self._server = server
        self._killer = killer
        self._trouble = trouble

    @property
    def faults_met(self) -> dict[str, int]:
        """How often the archive answered wrongly, by the kind of the fault."""
        return dict(self._trouble.archive.faults_met)

    def run(self, number: int, numbers: random.Random) -> None:
        """Run the round of that number."""
        self._world.ledger.begin_round(f"round {number}")
        os.truncate(self._server.log_file, 0)
        self._prepare(numbers)
        seconds = numbers.uniform(_SHORTEST, _LONGEST)
        events = [*self._trouble.planned(numbers, seconds), *self._killer.planned(numbers, seconds)]
        at_work = clients.start([Client(self._world, random.Random(numbers.random())) for _ in range(_CLIENTS)])
        _let_happen(events, seconds)
        self._trouble.end()
        self._settle(at_work)
        self._check()

    def _prepare(self, numbers: random.Random) -> None:
        """Remove half of the builds, so that there is something to be staged, and choose those that nobody removes."""
        builds = self._world.builds
        self._world.begin(())
        for build in numbers.sample(builds, len(builds) // 2):
            self._until(f"{build.path} can be removed", partial(self._is_removed, build), _TIME_TO_REST)
        self._world.begin(build.path for build in numbers.sample(builds, len(builds) // 2))

    def _settle(self, at_work: list[threading.Thread]) -> None:
        """Nothing breaks any more: every client has its answer, and everything ends; then all can be staged."""
        self._world.is_over.set()
        deadline = monotonic() + _TIME_TO_ANSWER
        for thread in at_work:
            thread.join(max(0.0, deadline - monotonic()))
            if thread.is_alive():
                self._world.ledger.violation(f"{thread.name} has had no answer for {_TIME_TO_ANSWER:g} s")
        self._until("nothing is under way", self._is_at_rest, _TIME_TO_REST)
        self._world.ledger.note("all is quiet; everything is staged")
        with ThreadPoolExecutor(len(self._world.builds)) as pool:
            list(pool.map(self._stage, self._world.builds))

    def _check(self) -> None:
        """Look at what is there when all is staged and nothing is under way."""
        static_dir = self._trouble.disk.path
        problems = checks.wrong_files(static_dir, self._world.builds, [BALLAST])
        for build in self._world.builds:
            problems += checks.missing_files(static_dir, build, (*WHOLE, EXTRA_FILE))
        self._until("no lock, area or temporary file is left", lambda: not checks.leftovers(static_dir), _TIME_TO_TIDY)
        self._until("no worker is left", lambda: not self._server.workers(), _TIME_TO_TIDY)
        if self._server.process.poll() is not None:
            problems.append(f"the server ended by itself, with status {self._server.process.returncode}")
        problems += [
            line for line in self._server.log.splitlines() if any(map(line.__contains__, _FAULTS_OF_THE_SERVER))
        ]
        for problem in problems:
            self._world.ledger.violation(f"at the end of the round: {problem}")

    def _stage(self, build: CampaignBuild) -> None:
        """Have all of a build staged, which nothing keeps from being so."""
        client = Client(self._world, random.Random(build.path))
        for answer in (client.download(build), client.wait(build), client.stage(build, files=[EXTRA_FILE])):
            if answer is None or not answer.is_good:
                self._world.ledger.violation(f"{build.path} cannot be staged, though nothing is broken any more")

    def _is_removed(self, build: CampaignBuild) -> bool:
        answer = ask(self._world, f"/api/v1/builds/{build.path}", {}, "DELETE")
        return answer is not None and answer.status != _BUSY

    def _is_at_rest(self) -> bool:
        answer = ask(self._world, "/api/v1/builds", {})
        return answer is not None and b'"under_way": true' not in answer.content

    def _until(self, what: str, question: Callable[[], bool], seconds: float) -> None:
        deadline = monotonic() + seconds
        while not question():
            if monotonic() > deadline:
                left = ", ".join(checks.leftovers(self._trouble.disk.path)[:5])
                self._world.ledger.violation(f"it did not come about within {seconds:g} s that {what} ({left})")
                return
            sleep(0.02)


def _let_happen(events: list[Event], seconds: float) -> None:
    """Let everything happen at its moment, and return when the time is over."""
    began = monotonic()
    for event in sorted(events, key=lambda event: event.moment):
        sleep(max(0.0, began + event.moment - monotonic()))
        event.happens()
    sleep(max(0.0, began + seconds - monotonic()))
