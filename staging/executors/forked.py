"""The devserver's side of the fork server: it is started when it is needed, and asked for workers."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic

from staging.errors import WorkerDied
from staging.locks import FileLock

TIME_TO_START = 10.0  # seconds that a worker is given; it takes milliseconds
_TIME_TO_END = 5.0  # seconds that the fork server is given to say that a worker which was killed is gone
# What the operator chose, and what systemd told the devserver, is for the devserver alone; some of it is secret.
_NOT_FOR_WORKERS = ("DEVSERVER_", "NOTIFY_", "LISTEN_", "WATCHDOG_", "CREDENTIALS_DIRECTORY", "PYTHON")
_PROGRAM = (
    "import json, sys; control, sys.path[:], modules = json.loads(sys.argv[2]); "
    "from staging.executors.fork_server import main; main(control, modules)"
)


class _Running:
    """A fork server that runs, and how many workers of it do."""

    def __init__(self, modules: Sequence[str]) -> None:
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.settimeout(TIME_TO_START)
        self.workers = 0
        self.is_retired = False
        with theirs:
            what = json.dumps([theirs.fileno(), _path(), list(modules)])
            # In a session of its own: Ctrl-C is for the devserver, which decides what follows.
            self.process = subprocess.Popen(  # noqa: S603 - this interpreter, with a program that is above
                [sys.executable, "-I", "-X", "utf8", "-c", _PROGRAM, "forkserver", what],
                stdin=subprocess.DEVNULL,
                env={name: value for name, value in os.environ.items() if not name.startswith(_NOT_FOR_WORKERS)},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    @property
    def is_usable(self) -> bool:
        return not self.is_retired and self.process.poll() is None

    def end(self, seconds: float = 0.0) -> None:
        """End it, and with it its workers; it may do so itself for so many seconds."""
        self.control.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        self.process.kill()
        self.process.wait()


class ForkServer:
    """Starts workers, by a process of its own that is started when there is none."""

    def __init__(self, modules: Sequence[str]) -> None:
        """``modules`` are imported by it once for all workers."""
        self._modules = modules
        self._lock = threading.Lock()
        self._running: set[_Running] = set()

    def start(self) -> None:
        """Start the process, so that the first worker need not wait for its imports."""
        with self._lock:
            self._usable()

    def stop(self) -> None:
        """End the process, and with it every worker."""
        with self._lock:
            while self._running:
                self._running.pop().end(_TIME_TO_END)

    @contextmanager
    def forked(self, order: bytes, told: int, said: int, lock: FileLock | None) -> Iterator[Forked]:
        """A new worker that does what ``order`` says, and writes to the pipes ``told`` and ``said``, which are closed
        here. It is killed when the context ends, and with it all that it started.

        Raises:
            WorkerDied: it did not start.

        """
        life, theirs = os.pipe()
        worker = Forked(life)
        try:
            try:
                with _in_memory(order) as memory:
                    of = self._ask([memory, told, said, theirs, *([lock.descriptor] if lock else [])])
            except OSError as error:
                raise WorkerDied(f"could not start ({type(error).__name__})") from error
            finally:
                for descriptor in (theirs, told, said):
                    os.close(descriptor)
            try:
                self._wait_for_start(worker, of)
                yield worker
            finally:
                worker.end()
                self._release(of)
        finally:
            worker.close()

    def _ask(self, descriptors: Sequence[int]) -> _Running:
        with self._lock:
            running = self._usable()
            try:
                socket.send_fds(running.control, [b"fork"], descriptors)
            except (BrokenPipeError, ConnectionResetError):  # it ended since it was looked at
                running.is_retired = True
                running = self._usable()
                socket.send_fds(running.control, [b"fork"], descriptors)
            running.workers += 1
            return running

    def _wait_for_start(self, worker: Forked, of: _Running) -> None:
        """Return once the worker runs; where its fork server does not answer, the next worker is another's."""
        try:
            worker.wait_for_start()
        except TimeoutError:
            of.is_retired = True  # its workers may still be at work
            raise WorkerDied(f"could not start within {TIME_TO_START:g} s") from None

    def _release(self, of: _Running) -> None:
        with self._lock:
            of.workers -= 1
            self._drop_retired()

    def _usable(self) -> _Running:
        for running in self._running:
            if running.is_usable:
                return running
            running.is_retired = True
        self._drop_retired()
        running = _Running(self._modules)
        self._running.add(running)
        return running

    def _drop_retired(self) -> None:
        for running in [one for one in self._running if one.is_retired and not one.workers]:
            self._running.discard(running)
            running.end()


class Forked:
    """A worker process, as the devserver knows it by its fork server."""

    def __init__(self, life: int) -> None:
        self._life = life
        self._unread = b""
        self.pid = 0
        self.status: int | None = None  # its wait status; None while it runs
        self.is_lost = False  # its fork server is gone, and it with that

    def fileno(self) -> int:
        """What can be read from once there is something to be learnt by :meth:`look`."""
        return self._life

    def close(self) -> None:
        """Forget it."""
        os.close(self._life)

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.status is not None or self.is_lost

    def wait_for_start(self) -> None:
        """Return once it runs.

        Raises:
            TimeoutError: it does not, and nobody says why.
            WorkerDied: it cannot.

        """
        deadline = monotonic() + TIME_TO_START
        while not self.pid:
            if not self._has_news(deadline - monotonic()):
                raise TimeoutError
            self.look()
            if self.is_lost:
                raise WorkerDied("could not start (what it is forked from ended)")

    def look(self) -> None:
        """Take note of what became of it; there is something to be read.

        Raises:
            WorkerDied: it could not be forked.

        """
        piece = os.read(self._life, 4096)
        self.is_lost = not piece
        *lines, self._unread = (self._unread + piece).split(b"\n")
        for line in lines:
            word, _, number = line.partition(b" ")
            if word == b"started":
                self.pid = int(number)
            elif word == b"ended":
                self.status = int(number)
            else:
                raise WorkerDied(f"could not start ({os.strerror(int(number))})")

    def join(self, timeout: float) -> None:
        """Return once it has ended, or after so many seconds."""
        deadline = monotonic() + timeout
        while not self.is_over and self._has_news(deadline - monotonic()):
            self.look()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self.pid and not self.is_over:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def end(self) -> None:
        """Kill it, and all that it started; returns when that is done."""
        if self.pid and not self.is_over:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self.join(_TIME_TO_END)

    def _has_news(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self._life, select.POLLIN)
        return bool(poll.poll(max(0.0, 1000 * seconds)))


@contextmanager
def _in_memory(order: bytes) -> Iterator[int]:
    """A file in memory that holds ``order``, at its start."""
    descriptor = os.memfd_create("order")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(order)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


def _path() -> list[str]:
    """Where modules are found: this project's first, and never what lies where the devserver was started."""
    project = str(Path(__file__).resolve().parents[2])
    return [project, *(path for path in sys.path if os.path.isabs(path) and path != project)]  # noqa: PTH117
