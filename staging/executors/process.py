"""The local executor: a worker process for each job, forked from a clean server that has its imports ready.

A threaded server must not fork itself, and a spawned interpreter takes a third of a second to import Google's client.
``forkserver`` has neither fault: its server process is single-threaded, imports once, and a worker starts in
milliseconds.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from threading import Event as Flag
from typing import Any

from staging.errors import STOPPING, Cancelled, WorkerDied, as_devserver_error, error_from_json
from staging.executors.base import Job
from staging.executors.confinement import NONE, Confinement
from staging.executors.orphans import reap_group
from staging.locks import FileLock
from staging.status import Event, Report

_BEAT = 1.0  # seconds between two signs of life of a worker
_NICENESS = 10  # of workers, so that those who are waited for come first
_OF_THE_SERVER = {signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}  # lbzip2 has use for SIGUSR1 and SIGUSR2
_TIME_TO_START = 10.0  # seconds; it takes milliseconds
_TIME_TO_END = 3.0  # seconds that a worker is given to end in good order


class ProcessExecutor:
    """See :class:`~staging.executors.base.Executor`."""

    takes_parts = False

    def __init__(self, preload: list[str], longest_silence: float, confinement: Confinement = NONE) -> None:
        """``preload`` names the modules that workers need, to be imported once for all of them. A worker that gives no
        sign of life for ``longest_silence`` seconds is taken for hung, and killed. ``confinement`` bounds what it may
        do.
        """
        self._confinement = confinement
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(preload)
        self._longest_silence = longest_silence
        _let_the_fork_server_import()
        self._changed = threading.Condition()
        self._workers: set[ForkServerProcess] = set()
        self._stopped = False

    @property
    def worker_count(self) -> int:
        """See :class:`~staging.executors.base.Executor`."""
        return len(self._workers)

    def start(self) -> None:
        """See :class:`~staging.executors.base.Executor`."""
        process = self._context.Process(target=_nothing, daemon=True)
        # What goes wrong here, the first job will be told of.
        threading.Thread(target=_run_into, args=(Future(), process.start), name="warm-up", daemon=True).start()

    @property
    def figures(self) -> dict[str, float]:
        """See :class:`~staging.executors.base.Executor`."""
        return {}

    def run(
        self,
        job: Job,
        request: dict[str, Any],
        report: Report,
        lock: FileLock | None,
        cancelled: Flag,
        is_urgent: bool = False,
    ) -> None:
        """See :class:`~staging.executors.base.Executor`."""
        del is_urgent  # nobody waits here: each job has a worker of its own
        if self._stopped:
            raise Cancelled(STOPPING)
        receiver, sender = self._context.Pipe(duplex=False)
        with receiver:
            try:
                arguments = (job, request, sender, lock, self._confinement)
                worker = self._start(self._context.Process(target=_work, args=arguments, daemon=True))
            finally:
                sender.close()
            try:
                self._listen(worker, receiver, report, cancelled)
            finally:
                self._reap(worker)

    def stop(self) -> None:
        """See :class:`~staging.executors.base.Executor`."""
        with self._changed:
            self._stopped = True
            for end in (ForkServerProcess.terminate, ForkServerProcess.kill):
                for worker in self._workers:
                    end(worker)
                if self._changed.wait_for(lambda: not self._workers, _TIME_TO_END / 2):
                    return

    def _start(self, worker: ForkServerProcess) -> ForkServerProcess:
        """Start ``worker``; where the fork server does not answer, it is replaced for the next one."""
        started: Future[None] = Future()
        threading.Thread(target=_run_into, args=(started, worker.start), name="start-worker", daemon=True).start()
        try:
            started.result(_TIME_TO_START)
        except futures.TimeoutError:
            _kill_fork_server()
            raise WorkerDied(f"could not start within {_TIME_TO_START:g} s") from None
        except (OSError, EOFError) as error:
            raise WorkerDied(f"could not start ({type(error).__name__})") from error
        with self._changed:
            self._workers.add(worker)
            if self._stopped:
                worker.terminate()
        return worker

    def _listen(self, worker: ForkServerProcess, queue: Connection, report: Report, cancelled: Flag) -> None:
        """Pass on the worker's events until it says that it is done.

        Only the worker holds the queue's other end, so the queue's end of file is the worker's end too, however it
        came about: watching the queue is watching the process.
        """
        while queue.poll(self._longest_silence):
            if cancelled.is_set():  # looked at with every sign of life
                worker.terminate()
            try:
                kind, content = queue.recv()
            except (EOFError, OSError):
                raise self._end_of(worker) from None
            if kind == "event":
                report(Event.from_json(content))
            elif kind == "failed":
                raise error_from_json(content)
            elif kind == "done":
                return
        worker.kill()
        raise WorkerDied(f"was silent for {self._longest_silence:g} s and was killed")

    def _end_of(self, worker: ForkServerProcess) -> Cancelled | WorkerDied:
        """Why a worker ended without a word."""
        if self._stopped:
            return Cancelled(STOPPING)
        worker.join(_BEAT)
        code = worker.exitcode
        if code is None:
            return WorkerDied("closed its status queue")
        if code < 0:
            return WorkerDied(f"killed by {signal.Signals(-code).name}")
        return WorkerDied(f"exited with status {code}")

    def _reap(self, worker: ForkServerProcess) -> None:
        worker.join(_TIME_TO_END)
        # With the worker goes its whole group: what it started must not outlive it.
        if worker.pid is not None:
            with suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
        worker.join()
        if worker.pid is not None:
            reap_group(worker.pid)
        with self._changed:
            self._workers.discard(worker)
            self._changed.notify_all()


class StatusQueue:
    """The worker's end of its status queue: events, signs of life, and the outcome.

    A pipe rather than a ``multiprocessing.Queue``: it has no lock that a killed worker could take with it, and its
    end of file tells the server at once that the worker is gone.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def put(self, kind: str, content: dict[str, Any] | None = None) -> None:
        """Send one message; where the server is gone, this process has nothing left to live for."""
        try:
            with self._lock:
                self._connection.send((kind, content))
        except OSError:
            os._exit(1)


def _work(
    job: Job, request: dict[str, Any], connection: Connection, lock: FileLock | None, confinement: Confinement
) -> None:
    """The worker's main function; ``lock`` is held by having been received.

    The job runs in a thread of its own, so that the main thread is free to take signals.
    """
    del lock
    os.setpgid(0, 0)
    os.nice(_NICENESS)
    confinement.apply()  # of the main thread, and so of those that it starts
    cancelled = Flag()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the server decides what follows
    signal.signal(signal.SIGTERM, lambda *_: cancelled.set())
    queue = StatusQueue(connection)
    threading.Thread(target=_end_with_the_server, daemon=True).start()
    threading.Thread(target=_beat, args=(queue,), daemon=True).start()
    runner = threading.Thread(target=_run, args=(job, request, queue, cancelled))
    runner.start()
    runner.join()


def _run(job: Job, request: dict[str, Any], queue: StatusQueue, cancelled: Flag) -> None:
    try:
        job(request, lambda event: queue.put("event", event.to_json()), cancelled)
    except Exception as error:
        queue.put("failed", as_devserver_error(error, "the build").to_json())
    else:
        queue.put("done")


def _end_with_the_server() -> None:
    server = multiprocessing.parent_process()
    if server is not None:
        server.join()
    os.killpg(0, signal.SIGKILL)


def _run_into(outcome: Future[None], call: Callable[[], None]) -> None:
    """Set ``outcome`` to what became of ``call``, which may start the fork server: some signals are not for that one,
    nor for its workers, though a terminal or systemd sends them to all processes.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _OF_THE_SERVER)
    try:
        call()
    except BaseException as error:
        outcome.set_exception(error)
    else:
        outcome.set_result(None)


def _kill_fork_server() -> None:
    """End the fork server, which multiprocessing then starts anew."""
    process_id = getattr(forkserver._forkserver, "_forkserver_pid", None)
    if process_id is not None:
        os.kill(process_id, signal.SIGKILL)


def _let_the_fork_server_import() -> None:
    """Make sure that the fork server finds this project's modules, and no others of their names.

    It is a fresh interpreter, whose path would begin with the directory that the devserver was started in.
    """
    directories = [str(Path(__file__).resolve().parents[2]), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    os.environ["PYTHONPATH"] = os.pathsep.join(directory for directory in directories if directory)
    os.environ["PYTHONSAFEPATH"] = "1"


def _beat(queue: StatusQueue) -> None:
    while True:
        queue.put("alive")
        threading.Event().wait(_BEAT)


def _nothing() -> None:
    """What the first worker does: starting it makes the fork server import what the others need."""
