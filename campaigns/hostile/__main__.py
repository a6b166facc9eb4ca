"""Send hostile requests and files to a devserver in every way there is, and look at what it answers and writes."""

from __future__ import annotations

import random
import shutil
import signal
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from time import monotonic

import click

from campaigns.hostile.crowd import HealthWatch, silent_crowd
from campaigns.hostile.files import HostileFile, hostile_files
from campaigns.hostile.lab import Lab, make_lab
from campaigns.hostile.ledger import Ledger
from campaigns.hostile.outcome import outside, stage_file, wrong_afterwards
from campaigns.hostile.requests import HostileRequest, hostile_requests
from campaigns.hostile.verdict import ask_and_judge

_AT_ONCE = 6
_LONGEST_HEALTH = 1.0  # seconds, at the 99th percentile


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--seed", type=int, default=1, show_default=True, help="Of all random numbers.")
@click.option("--one-in", type=click.IntRange(min=1), default=1, help="Take one request and one file in so many.")
@click.option(
    "--silent", type=click.IntRange(min=0), default=5000, show_default=True, help="Connections that say nothing."
)
def command_line(seed: int, one_in: int, silent: int) -> None:
    """Ask every way to a devserver what nobody should ask, and stage what nobody should pack.

    Ends with status 1 when something happened that must never happen.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # no server outlives the campaign
    directory = Path(tempfile.mkdtemp(prefix="devserver-hostile-"))
    ledger = Ledger()
    began = monotonic()
    with ExitStack() as stack:
        lab = stack.enter_context(make_lab(directory))
        before = outside(directory)
        stack.enter_context(silent_crowd(lab.ways, silent))
        health = stack.enter_context(HealthWatch(lab.ways))
        _send_requests(lab, ledger, list(hostile_requests(random.Random(seed)))[::one_in])
        _stage_files(lab, ledger, list(hostile_files(random.Random(seed)))[::one_in])
        for problem in wrong_afterwards(lab, before):
            ledger.violation(problem)
        slowest = health.percentile(0.99)
        if slowest > _LONGEST_HEALTH:
            ledger.violation(f"/check_health took {slowest:.2f} s at the 99th percentile")
    ledger.tell(silent, slowest, monotonic() - began)
    if ledger.violations:
        click.echo(f"The logs: {directory}", err=True)
        sys.exit(1)
    shutil.rmtree(directory)


def _send_requests(lab: Lab, ledger: Ledger, requests: list[HostileRequest]) -> None:
    """Send each request on each way."""
    paths = (str(lab.directory), str(Path(__file__).parents[2]))

    def send(request: HostileRequest) -> None:
        for way in lab.ways:
            ledger.count_request(request.kind)
            for problem in ask_and_judge(way, request, paths):
                ledger.violation(f"{request.kind}: {problem}", f"{way.name}: {request.content[:200]!r}")

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(send, requests))


def _stage_files(lab: Lab, ledger: Ledger, files: list[HostileFile]) -> None:
    """Have each file staged, by one way after the other."""

    def stage(numbered: tuple[int, HostileFile]) -> None:
        number, file = numbered
        ledger.count_file(file.kind)
        for problem in stage_file(lab, number, file):
            ledger.violation(f"{file.kind}: {problem}", f"file {number}")

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(stage, enumerate(files)))


if __name__ == "__main__":
    command_line()
