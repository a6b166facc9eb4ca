"""Sudden deaths: of the server, which is started anew, of its workers, and of the process that makes them."""

from __future__ import annotations

import random
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil

from campaigns import checks
from campaigns.disk import BALLAST
from campaigns.trouble import Event
from campaigns.world import World
from tests.servers import DevServer

SERVER, WORKER, FORK_SERVER = "kills of the server", "kills of workers", "kills of the workers' maker"


class Killer:
    """Kills a devserver's processes, and looks at what that leaves."""

    def __init__(self, world: World, server: DevServer, static_dir: Path) -> None:
        """``static_dir`` is where its static directory is found from here."""
        self._world = world
        self._server = server
        self._static_dir = static_dir

    def planned(self, numbers: random.Random, seconds: float) -> list[Event]:
        """Who dies in a round of so many seconds, and when."""
        events = []
        if numbers.random() < 0.6:
            events.append(Event(numbers.uniform(0.05, seconds), self.kill_server))
        if numbers.random() < 0.1:
            events.append(Event(numbers.uniform(0.05, seconds), self.kill_fork_server))
        workers = [(numbers.uniform(0.05, seconds), numbers.random()) for _ in range(numbers.randint(0, 3))]
        return [*events, *(Event(moment, partial(self.kill_worker, which)) for moment, which in workers)]

    def kill_server(self) -> None:
        """Kill the server; look at what is visible while nobody is there; start it again."""
        world, server = self._world, self._server
        others = server.processes()[1:]
        world.ledger.note("the server is killed")
        world.ledger.count(SERVER)
        world.goes_down()
        server.kill()
        for problem in [*checks.survivors(others), *self.visible_problems()]:
            world.ledger.violation(f"after a kill: {problem}")
        server.start_again()
        world.comes_up(server.url)
        world.ledger.note("the server is there again")

    def visible_problems(self) -> list[str]:
        """What is visible and should not be, and what was promised and is not there; nobody may be at work."""
        problems = checks.wrong_files(self._static_dir, self._world.builds, [BALLAST])
        for build in self._world.builds:
            problems += checks.missing_files(self._static_dir, build, self._world.promised(build))
        return problems

    def kill_worker(self, which: float) -> None:
        """Kill one of the workers, if there is any."""
        workers = self._server.workers()
        if workers:
            self._kill(workers[int(which * len(workers))], WORKER)

    def kill_fork_server(self) -> None:
        """Kill the process that makes the workers; its workers live on."""
        for child in psutil.Process(self._server.process.pid).children():
            with suppress(psutil.NoSuchProcess):
                if "forkserver" in " ".join(child.cmdline()):
                    self._kill(child, FORK_SERVER)

    def _kill(self, process: psutil.Process, what: str) -> None:
        with suppress(psutil.NoSuchProcess):
            process.kill()
            self._world.ledger.note(what)
            self._world.ledger.count(what)
