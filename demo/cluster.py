"""``python -m demo.cluster``: two devservers and two workers stage two builds, while one of each is killed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep
from typing import NamedTuple

import click

from demo import machines
from demo.archive import BUCKET, publish, use_emulator
from demo.network import in_a_network_of_its_own
from demo.reference_build import FULL_PAYLOAD, MTON_PAYLOAD, NTON_PAYLOAD, STATEFUL, TARGET, BuildSizes
from demo.running import SETTINGS, demonstrate, keep_option, size_option
from demo.served_build import Client
from demo.servers import DemoError, Server, emulator
from demo.story import make_build, say, sha256_of, step

BUILDS = tuple(f"{TARGET}/R17-{number}.0.0-a1-b1346" for number in (1413, 1414))
_PATIENCE = 60.0  # seconds that workers have to be at work
# What a devserver's log has to say of what happened.
_GIVEN_AWAY = "its job is given to another"
_EVIDENCE = (_GIVEN_AWAY, "is no more", "goes on", "staged;")


class Lab(NamedTuple):
    """What runs."""

    front: Server
    devservers: list[Server]
    workers: list[Server]


@click.command(context_settings=SETTINGS)
@size_option
@keep_option
def command_line(sizes: BuildSizes, keep: bool) -> None:
    """Have two devservers, two workers and an nginx in front stage two builds, and kill one of each on the way.

    In the end, nothing is lost.

    All of it listens in a network of its own, where the machine allows that, and else on free ports of 127.0.0.1.

    \b
    make cluster-demo
    """  # noqa: D301 - click's own mark for lines that stay as they are

    def show(directory: Path, servers: ExitStack) -> None:
        machines.check_programs()
        objects = make_build(directory / "build", sizes)
        use_emulator(servers.enter_context(emulator(directory)).url)
        with step(f"Publishing it as {' and '.join(BUILDS)}"):
            publish(objects, *BUILDS)
        lab = _started(servers, directory)
        _stage(lab)
        _check(lab, directory, objects)

    demonstrate("devserver-cluster", keep, show)


def _started(servers: ExitStack, directory: Path) -> Lab:
    with step("Starting a Redis, two devservers, two workers, and an nginx in front"):
        broker = servers.enter_context(machines.redis(directory))
        devservers = [
            servers.enter_context(machines.devserver(directory, f"devserver-{name}", broker)) for name in "AB"
        ]
        workers = [servers.enter_context(machines.worker(directory, f"worker-{name}", broker)) for name in "12"]
        front = servers.enter_context(machines.nginx(directory, devservers))
    click.echo(f"Everybody asks {front.url}; behind it are {' and '.join(server.url for server in devservers)}")
    return Lab(front, devservers, workers)


def _stage(lab: Lab) -> None:
    """Stage the builds, and kill on the way."""
    began = monotonic()

    def ask(rpc: str, build_path: str) -> None:
        url = f"{lab.front.url}/{rpc}?archive_url=gs://{BUCKET}/{build_path}"
        answer = Client(lab.front).text(url)
        click.echo(f"  {monotonic() - began:5.1f} s  {rpc} of {build_path}: {answer}")
        if answer != "Success":
            raise DemoError(f"GET {url} answered {answer!r} instead of 'Success'")

    click.echo("\nA harness asks for both builds, and waits:")
    with ThreadPoolExecutor(len(BUILDS)) as callers:
        list(callers.map(lambda path: ask("download", path), BUILDS))
        waiting = [callers.submit(ask, "wait_for_status", path) for path in BUILDS]
        for find in (_busy_worker, _devserver_that_missed_it):
            victim = find(lab)
            machines.kill(victim)
            click.secho(f"  {monotonic() - began:5.1f} s  {victim.name} is killed by SIGKILL", fg="red")
        for one in waiting:
            one.result()


def _busy_worker(lab: Lab) -> Server:
    """A worker that is in the middle of something, once one is."""
    return _first(lab.workers, machines.is_at_work, "no worker was ever at work")


def _devserver_that_missed_it(lab: Lab) -> Server:
    """A devserver that has noticed that the worker is no more, once one has, and waits for another to do its job."""
    return _first(lab.devservers, lambda server: _GIVEN_AWAY in server.log.read_text(), "nobody missed the worker")


def _first(servers: list[Server], is_so: Callable[[Server], bool], otherwise: str) -> Server:
    """The first of the servers of which something is so, once it is of one."""
    deadline = monotonic() + _PATIENCE
    while monotonic() < deadline:
        for server in servers:
            if is_so(server):
                return server
        sleep(0.01)
    raise DemoError(otherwise)


def _check(lab: Lab, directory: Path, objects: Mapping[str, Path]) -> None:
    """Show what the devservers had to say, and that what is served is what was published.

    Raises:
        DemoError: it is not.

    """
    for server in lab.devservers:
        click.echo(f"\nWhat {server.name} logged of it:")
        for line in server.log.read_text().splitlines():
            if any(words in line for words in _EVIDENCE):
                click.echo(f"  {line}")
    click.echo(f"\nFetched through {lab.front.url}:")
    for build_path in BUILDS:
        client = Client(lab.front, build_path)
        for name, path in _served_as(build_path.rpartition("/")[2]).items():
            if client.sha256(path) != sha256_of(objects[name]):
                raise DemoError(f"{client.build_url}{path} is not what was published as {name}")
            click.echo(f"  {build_path}/{path}: the bytes of {name}")
    _check_every_file(directory)


def _served_as(version: str) -> dict[str, str]:
    """Where each object that is staged as it is ends up."""
    return {
        FULL_PAYLOAD: "update.gz",
        STATEFUL: "stateful.tgz",
        NTON_PAYLOAD: f"au/{version}_nton/update.gz",
        MTON_PAYLOAD: f"au/{version}_mton/update.gz",
    }


def _check_every_file(directory: Path) -> None:
    """Have each file that was staged read again."""
    command = [sys.executable, "devserver.py", f"--static-dir={directory / 'static'}", "verify", "--json"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    if ended.returncode:
        raise DemoError(f"devserver verify found something wrong: {ended.stdout}{ended.stderr}")
    found = json.loads(ended.stdout)
    if len(found) != len(BUILDS):
        raise DemoError(f"{len(found)} builds are staged, and {len(BUILDS)} were asked for")
    files = sum(build["files"] for build in found)
    say(f"{files:,} files of {len(found)} builds were read again: all are right. Nothing was lost.")


if __name__ == "__main__":
    in_a_network_of_its_own(["-m", "demo.cluster", *sys.argv[1:]])
    command_line.main(prog_name="python -m demo.cluster")
