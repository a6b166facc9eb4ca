"""The demonstrations' servers, each a process with a log, that do not outlive them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic, sleep

_PROJECT = Path(__file__).resolve().parent.parent
_TIME_TO_START = 30.0  # seconds
_TIME_TO_END = 6.0  # seconds; the devserver gives its workers three
_LOG_LINES = 25


class DemoError(Exception):
    """What went wrong, in one line."""


@dataclass(frozen=True)
class Server:
    """A server that runs.

    Attributes:
        name: what to call it.
        process: its process, the leader of a process group.
        port: where it listens, on localhost.
        log: the file with its output.

    """

    name: str
    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def url(self) -> str:
        """Where it is, without a slash at the end."""
        return f"http://localhost:{self.port}"

    def check(self, patience: float = 0.0) -> None:
        """Raise :class:`DemoError` if it has ended, or does so within ``patience`` seconds."""
        with suppress(subprocess.TimeoutExpired):
            raise DemoError(f"the {self.name} ended with status {self.process.wait(patience)}")


@contextmanager
def emulator(directory: Path) -> Iterator[Server]:
    """An empty archive; its log and port file are in ``directory``."""
    portfile = directory / "emulator.port"
    command = [sys.executable, "-m", "demo.emulator", str(portfile)]
    with _running("storage emulator", command, portfile, directory / "emulator.log") as server:
        yield server


@contextmanager
def devserver(directory: Path, port: int) -> Iterator[Server]:
    """A devserver that stages into ``directory / "static"``; port 0 is a free one."""
    portfile = directory / "devserver.port"
    options = [f"--port={port}", f"--portfile={portfile}", f"--static-dir={directory / 'static'}"]
    command = [sys.executable, "devserver.py", *options]
    with _running("devserver", command, portfile, directory / "devserver.log") as server:
        yield server


def tail(log: Path) -> str:
    """The last lines of ``log``; empty where there is none."""
    with suppress(OSError):
        return "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_LINES:])
    return ""


@contextmanager
def running(
    name: str, command: Sequence[str], log: Path, port: Callable[[], int | None], executable: str | None = None
) -> Iterator[Server]:
    """A server that ``command`` starts, once ``port`` knows where it listens; 0 where it does not.

    ``executable`` is the program, where that goes by the name that is the command's first word.
    """
    process = _started(command, log, executable)
    try:
        yield Server(name, process, _port(name, process, port), log)
    finally:
        end(process)


@contextmanager
def _running(name: str, command: Sequence[str], portfile: Path, log: Path) -> Iterator[Server]:
    with running(name, command, log, partial(port_in, portfile)) as server:
        yield server


def port_in(portfile: Path) -> int | None:
    """The port that a server wrote into its file; None where it has not."""
    return int(portfile.read_text()) if portfile.exists() else None


def _started(command: Sequence[str], log: Path, executable: str | None) -> subprocess.Popen[bytes]:
    # What the user has set for a devserver of their own is not for this one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DEVSERVER_")}
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            executable=executable,
            cwd=_PROJECT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the demonstration alone, which then ends its servers in order
        )


def _port(name: str, process: subprocess.Popen[bytes], port: Callable[[], int | None]) -> int:
    deadline = monotonic() + _TIME_TO_START
    while (found := port()) is None:
        if (status := process.poll()) is not None:
            raise DemoError(f"the {name} could not start: it ended with status {status}")
        if monotonic() > deadline:
            raise DemoError(f"the {name} was not up after {_TIME_TO_START:g} s")
        sleep(0.02)
    return found


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to end, and see to it that neither it nor one of its group is left."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_TIME_TO_END)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
