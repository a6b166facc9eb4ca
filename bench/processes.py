"""Processes that are started, measured, and do not outlive what they are for."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import IO

import psutil

from bench.samples import BenchError, Sample

PROJECT = Path(__file__).resolve().parent.parent
_TIME_TO_START = 30.0  # seconds
_TIME_TO_END = 6.0  # seconds
_LOG_BYTES = 2000  # of a failed program's output that are told

Command = Sequence[str]
Process = subprocess.Popen[bytes]


@contextmanager
def started(
    command: Command, log: Path, environment: Mapping[str, str] | None = None, source: IO[bytes] | None = None
) -> Iterator[Process]:
    """A process, the leader of its group, which is killed when the context ends; what it says goes to ``log``."""
    with log.open("ab") as output:
        process = _popen(command, environment, source or subprocess.DEVNULL, output, output)
    try:
        yield process
    finally:
        _kill_group(process)


@contextmanager
def server(
    command: Command, portfile: Path, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[Process, int]]:
    """A server that writes its port to ``portfile``, and that port; it ends in good order, with all that it started."""
    portfile.unlink(missing_ok=True)
    with started(command, log, environment) as process:
        try:
            yield process, _port(process, portfile, log)
        finally:
            _end(process)


def run(command: Command, log: Path, environment: Mapping[str, str] | None = None) -> Sample:
    """Run one program to its end."""
    return run_together([command], log, environment)


def run_together(commands: Sequence[Command], log: Path, environment: Mapping[str, str] | None = None) -> Sample:
    """Run programs at the same time, all to their end."""
    begin = monotonic()
    with ExitStack() as stack:
        processes = [stack.enter_context(started(command, log, environment)) for command in commands]
        cpu = sum(finished(process, log) for process in processes)
    return Sample(monotonic() - begin, cpu)


def run_piped(first: Command, second: Command, log: Path) -> Sample:
    """Run two programs, the first one's output being the second one's input."""
    begin = monotonic()
    with log.open("ab") as output:
        process = _popen(first, None, subprocess.DEVNULL, subprocess.PIPE, output)
    try:
        with started(second, log, source=process.stdout) as other:
            if process.stdout:
                process.stdout.close()
            cpu = finished(other, log) + finished(process, log)
    finally:
        _kill_group(process)
    return Sample(monotonic() - begin, cpu)


def finished(process: Process, log: Path) -> float:
    """Wait for ``process``; the processor time of it and of those that it waited for.

    Raises:
        BenchError: it failed.

    """
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BenchError(f"{_shown(process)} ended with status {process.returncode}:\n{_tail(log)}")
    return usage.ru_utime + usage.ru_stime


def one_after_the_other(steps: Sequence[Callable[[], Sample]]) -> Sample:
    """The sum of steps that are done in order."""
    begin = monotonic()
    cpu = sum(step().cpu for step in steps)
    return Sample(monotonic() - begin, cpu)


def descendants(process: Process) -> list[psutil.Process]:
    """The process and all that it started, as far as they run."""
    try:
        leader = psutil.Process(process.pid)
        return [leader, *leader.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _popen(
    command: Command,
    environment: Mapping[str, str] | None,
    source: int | IO[bytes],
    output: int | IO[bytes],
    complaints: IO[bytes],
) -> Process:
    # What the user has set for a devserver of their own is not for this one.
    own = {name: value for name, value in os.environ.items() if not name.startswith("DEVSERVER_")}
    return subprocess.Popen(  # noqa: S603 - a list of words, made here; no shell sees them
        command,
        cwd=PROJECT,
        env={**own, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", **(environment or {})},
        stdin=source,
        stdout=output,
        stderr=complaints,
        start_new_session=True,  # Ctrl-C reaches the benchmark alone, which then ends all that it started
    )


def _port(process: Process, portfile: Path, log: Path) -> int:
    deadline = monotonic() + _TIME_TO_START
    while not (text := _read(portfile)):
        if process.poll() is not None or monotonic() > deadline:
            raise BenchError(f"{_shown(process)} did not start:\n{_tail(log)}")
        sleep(0.02)
    return int(text)


def _end(process: Process) -> None:
    """Ask a server to end, and see to it that nothing that it started is left."""
    others = descendants(process)[1:]
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_TIME_TO_END)
    _kill_group(process)
    for other in psutil.wait_procs(others, timeout=_TIME_TO_END)[1]:
        with suppress(psutil.NoSuchProcess):
            other.kill()


def _kill_group(process: Process) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.returncode is None:
        process.wait()


def _shown(process: Process) -> str:
    arguments = process.args
    return " ".join(map(str, arguments)) if isinstance(arguments, (list, tuple)) else str(arguments)


def _read(path: Path) -> str:
    with suppress(OSError):
        return path.read_text().strip()
    return ""


def _tail(log: Path) -> str:
    with suppress(OSError):
        return log.read_text(errors="replace")[-_LOG_BYTES:]
    return ""
