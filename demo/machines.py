"""The machines of a small lab, each a process: a Redis, devservers, workers, and an nginx in front."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from demo.servers import DemoError, Server, port_in, running

# In Debian one program is all of Redis' own, and acts by the name that it is called by. Its package of tools has it
# too, and starts no service.
_REDIS = "/usr/bin/redis-check-rdb"
_SILENCE = 3.0  # seconds after which a machine is taken for dead: a demonstration has less patience than a lab


def check_programs() -> None:
    """Raise :class:`DemoError` where the machine has no Redis or no nginx."""
    if not Path(_REDIS).exists():
        raise DemoError("it needs a Redis: install Debian's redis-tools")
    if shutil.which("nginx") is None:
        raise DemoError("it needs an nginx: install Debian's nginx-light")


@contextmanager
def redis(directory: Path) -> Iterator[Server]:
    """A Redis that keeps nothing on the disk."""
    port = _free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with running("Redis", command, directory / "redis.log", partial(_listening, port), executable=_REDIS) as server:
        yield server


@contextmanager
def devserver(directory: Path, name: str, broker: Server) -> Iterator[Server]:
    """A devserver of the cluster, which stages nothing itself into ``directory / "static"``."""
    portfile = directory / f"{name}.port"
    options = ["--port=0", f"--portfile={portfile}", "--executor=celery", "--no-stage-inline"]
    command = _command(directory, broker, *options)
    with running(name, command, directory / f"{name}.log", partial(port_in, portfile)) as server:
        yield server


@contextmanager
def worker(directory: Path, name: str, broker: Server) -> Iterator[Server]:
    """A worker of the cluster, which listens nowhere."""
    command = [*_command(directory, broker), "worker", "--at-once", "2"]
    with running(name, command, directory / f"{name}.log", lambda: 0) as server:
        yield server


@contextmanager
def nginx(directory: Path, devservers: Sequence[Server]) -> Iterator[Server]:
    """An nginx in front of the devservers, as `devserver nginx-config` sets it up."""
    port, run_dir = _free_port(), directory / "nginx"
    run_dir.mkdir()
    upstreams = [f"--upstream=localhost:{server.port}" for server in devservers]
    arguments = ["nginx-config", *upstreams, "--listen", f"127.0.0.1:{port}", "--run-dir", str(run_dir)]
    configuration = run_dir / "nginx.conf"
    with configuration.open("wb") as file:
        subprocess.run([*_command(directory, None), *arguments], check=True, stdout=file)
    command = ["nginx", "-e", str(run_dir / "error.log"), "-p", str(run_dir), "-c", str(configuration)]
    log = directory / "nginx.log"
    with running("nginx", [*command, "-g", "daemon off;"], log, partial(_listening, port)) as server:
        yield server


def kill(server: Server) -> None:
    """What befalls a machine that loses its power: all that ran on it is gone at once."""
    for process in [*_descendants(server.process.pid), server.process.pid]:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    server.process.wait()


def is_at_work(worker: Server) -> bool:
    """Whether a worker has a job: a child of its fork server, which is a child of its own."""
    return any(_children(child) for child in _children(worker.process.pid))


def _command(directory: Path, broker: Server | None, *options: str) -> list[str]:
    of_cluster = [f"--broker=redis://127.0.0.1:{broker.port}/0", f"--worker-silence={_SILENCE:g}"] if broker else []
    return [sys.executable, "devserver.py", f"--static-dir={directory / 'static'}", *of_cluster, *options]


def _descendants(process: int) -> list[int]:
    below = _children(process)
    return [*below, *(deeper for child in below for deeper in _descendants(child))]


def _children(process: int) -> list[int]:
    """The processes that a process started, as Linux knows them."""
    children: list[int] = []
    with suppress(OSError):  # it ends at this very moment
        for thread in Path(f"/proc/{process}/task").iterdir():
            children += [int(child) for child in (thread / "children").read_text().split()]
    return children


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listening(port: int) -> int | None:
    with socket.socket() as probe:
        return port if probe.connect_ex(("127.0.0.1", port)) == 0 else None
