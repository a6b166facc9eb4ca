"""Runs scenarios, each in a process of its own that is forked off this one: a fault costs no more than that."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from campaigns.faults.disk import open_files, untidy, wrong_now
from campaigns.faults.interposer import Fault, Interposer, Met, Mode
from campaigns.faults.scenarios import Scenario
from campaigns.faults.world import BUILDS, Server
from staging.errors import DevServerError, InternalFailure

_LONGEST = 60.0  # seconds of one run
_NEVER = 2**40  # the number of a call that never comes
_CRASHED, _HUNG = "crashed", "hung"


class Ran(NamedTuple):
    """What came of one run.

    Attributes:
        met: what the fault met.
        told: the cause that the caller was told; empty where there was none.
        violations: what must never be.

    """

    met: Met
    told: str
    violations: tuple[str, ...]


class Runner:
    """Runs scenarios below a directory of its own; the interposer is preloaded."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._static_dir = directory / "static"
        self._interposer = Interposer.of_this_process(self._static_dir)
        self._prepared: set[str] = set()

    def calls_of(self, scenario: Scenario, error: str) -> int:
        """How many calls of a scenario can have that error."""
        return self.run(scenario, Fault(_NEVER, error, Mode.ONCE), False).met.calls

    def run(self, scenario: Scenario, fault: Fault, restarts: bool) -> Ran:
        """Do what the scenario says with a fault, look at the disk, and do it again on a disk that works: in the same
        process, or where it crashed or ``restarts``, in another.
        """
        self._bring(scenario)
        known: dict[str, Any] = {}

        def first() -> dict[str, Any]:
            return self._with_fault(scenario, fault, restarts)

        told = self._forked(first)
        met = self._interposer.switch_off()
        if told in (_HUNG, _CRASHED) and not (told == _CRASHED and fault.mode is Mode.CRASH and met.failed):
            return Ran(met, str(told), (f"{told} in the first attempt",))
        violations = list(wrong_now(self._static_dir, BUILDS, scenario.damaged)) if told == _CRASHED else []
        if isinstance(told, dict):
            known = told
            violations += known["violations"]
        if told == _CRASHED or restarts:
            again = self._forked(lambda: {"violations": self._made_good(self._server(scenario), scenario, True)})
            violations += again["violations"] if isinstance(again, dict) else [f"{again} in the second attempt"]
        return Ran(met, known.get("told", ""), tuple(dict.fromkeys(violations)))

    def _server(self, scenario: Scenario) -> Server:
        return Server(self._directory, scenario.limits)

    def _bring(self, scenario: Scenario) -> None:
        """Put onto the disk what there is before the scenario."""
        shutil.rmtree(self._static_dir, ignore_errors=True)
        template = self._directory / f"before-{scenario.name}"
        if scenario.name not in self._prepared:
            shutil.rmtree(template, ignore_errors=True)
            self._prepare(scenario)
            shutil.copytree(self._static_dir, template, symlinks=True)
            self._prepared.add(scenario.name)
        else:
            shutil.copytree(template, self._static_dir, symlinks=True)

    def _prepare(self, scenario: Scenario) -> None:
        self._prepare_by(scenario.prepare, scenario, None)
        if scenario.cut_off is None:
            return
        do, part = scenario.cut_off
        self._prepare_by(do, scenario, Fault(_NEVER, "EIO", Mode.CRASH))
        calls = self._interposer.switch_off().calls
        shutil.rmtree(self._static_dir)
        self._prepare_by(scenario.prepare, scenario, None)
        self._prepare_by(do, scenario, Fault(int(calls * part), "EIO", Mode.CRASH))
        self._interposer.switch_off()

    def _prepare_by(self, do: Callable[[Server], None], scenario: Scenario, fault: Fault | None) -> None:
        def prepared() -> dict[str, Any]:
            self._static_dir.mkdir(exist_ok=True)
            server = Server(self._directory)
            if fault is not None:
                self._interposer.switch_on(fault)
            do(server)
            server.stop()
            return {}

        came = self._forked(prepared)
        if came != {} and not (came == _CRASHED and fault is not None):
            raise RuntimeError(f"{scenario.name} could not be prepared: {came}")

    def _with_fault(self, scenario: Scenario, fault: Fault, restarts: bool) -> dict[str, Any]:
        server = self._server(scenario)
        told = ""
        self._interposer.switch_on(fault)
        try:
            scenario.do(server)
        except Exception as error:
            told = _told(error)
        finally:
            server.wait_for_the_end()
            self._interposer.switch_off()
        violations = list(wrong_now(self._static_dir, BUILDS, scenario.damaged if told else ()))
        if not told:
            violations += [f"{one} (and nobody was told)" for one in scenario.wrong(server)]
        if told.startswith((InternalFailure.__name__, "!")):
            violations.append(f"TOLD: {told}")
        if restarts:
            server.stop()
        else:
            violations += self._made_good(server, scenario, False)
        return {"told": told, "violations": violations}

    def _made_good(self, server: Server, scenario: Scenario, restarted: bool) -> list[str]:
        """Do it again on a disk that works; what is wrong then."""
        try:
            if restarted:
                server.downloader.start()
            scenario.do(server)
            server.settle()
        except Exception as error:
            return [f"AGAIN: {_told(error)}"]
        violations = [*wrong_now(self._static_dir, BUILDS), *scenario.wrong(server)]
        server.stop()
        return [*violations, *untidy(self._static_dir), *open_files(self._static_dir)]

    def _forked(self, work: Callable[[], dict[str, Any]]) -> dict[str, Any] | str:
        """What ``work`` gives in a process of its own, or what became of that."""
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            _work(work, writing)
        os.close(writing)
        try:
            text = b"".join(_pieces(reading))
        except TimeoutError:
            os.kill(child, signal.SIGKILL)
            return _HUNG
        finally:
            os.close(reading)
            os.waitpid(child, 0)
        result: dict[str, Any] | str = json.loads(text) if text else _CRASHED
        return result


def _pieces(reading: int) -> Iterator[bytes]:
    while True:
        if not select.select([reading], [], [], _LONGEST)[0]:
            raise TimeoutError
        piece = os.read(reading, 65536)
        if not piece:
            return
        yield piece


def _work(work: Callable[[], dict[str, Any]], writing: int) -> None:
    """Do the work of a forked process, and end it."""
    try:
        text = json.dumps(work())
    except BaseException:
        text = json.dumps({"told": "", "violations": [f"BROKEN: {traceback.format_exc()}"]})
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(text.encode())
    os._exit(0)


def _told(error: Exception) -> str:
    """The cause as a client gets it, with an exclamation mark before errors that no code raises on purpose."""
    if isinstance(error, InternalFailure):
        return f"{error.kind}: {error}: {error.args[-1].strip().splitlines()[-1]}"
    if isinstance(error, DevServerError):
        return f"{error.kind}: {error}"
    return f"{'' if isinstance(error, (OSError, RuntimeError)) else '!'}{type(error).__name__}: {error}"
