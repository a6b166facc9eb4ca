"""The local executor: a worker process for each job, forked from a clean process that has its imports ready.

A threaded server must not fork itself, and a new interpreter takes a third of a second to import Google's client. The
fork server has neither fault: it has one thread, imports once, and a worker starts in milliseconds.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event as Flag
from time import monotonic, sleep
from typing import Any, NamedTuple

from staging.errors import STOPPING, Cancelled, WorkerDied
from staging.executors.base import Job
from staging.executors.confinement import NONE, Confinement
from staging.executors.forked import Forked, ForkServer
from staging.executors.status_queue import Message, StatusQueue
from staging.executors.worker import BEAT, WorkOrder, name_of
from staging.executors.worker_log import WorkerLog
from staging.locks import FileLock
from staging.messages import ANYTHING, BadMessage, Expected
from staging.records.decoding import as_data
from staging.records.text import encoded
from staging.status import Report

_TIME_TO_END = 3.0  # seconds that a worker is given to end in good order
_TIME_TO_CANCEL = 10.0  # seconds that a worker is given to stop when told to, before it is killed
_AT_ONCE, _TIME_FOR_THEM = 200, 0.1  # messages, and the seconds that so many take at least


class Bounds(NamedTuple):
    """What one job may do.

    Attributes:
        confinement: to the machine.
        expected: what it may report.

    """

    confinement: Confinement = NONE
    expected: Expected = ANYTHING


def unbounded(_request: dict[str, Any]) -> Bounds:
    """No bounds but those of every process."""
    return Bounds()


class ProcessExecutor:
    """See :class:`~staging.executors.base.Executor`."""

    takes_parts = False

    def __init__(
        self, preload: list[str], longest_silence: float, bounds: Callable[[dict[str, Any]], Bounds] = unbounded
    ) -> None:
        """``preload`` names the modules that workers need, to be imported once for all of them. A worker that gives no
        sign of life for ``longest_silence`` seconds is taken for hung, and killed. ``bounds`` says what the job of a
        request may do.
        """
        self._bounds = bounds
        self._fork_server = ForkServer(preload)
        self._longest_silence = longest_silence
        self._changed = threading.Condition()
        self._workers: set[Forked] = set()
        self._stopped = False

    @property
    def worker_count(self) -> int:
        """See :class:`~staging.executors.base.Executor`."""
        return len(self._workers)

    def start(self) -> None:
        """See :class:`~staging.executors.base.Executor`."""
        self._fork_server.start()

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
        bounds = self._bounds(request)
        order = encoded(as_data(WorkOrder(name_of(job), request, bounds.confinement)))
        told, to_tell = os.pipe()
        said, to_say = os.pipe()
        queue, log = StatusQueue(told, bounds.expected), WorkerLog(said)
        try:
            with self._fork_server.forked(order, to_tell, to_say, lock) as worker, self._counted(worker):
                _Listener(worker, queue, log, self._longest_silence).listen(report, cancelled, self._is_stopped)
                worker.join(_TIME_TO_END)
        finally:
            log.close()
            os.close(told)

    def stop(self) -> None:
        """See :class:`~staging.executors.base.Executor`."""
        with self._changed:
            self._stopped = True
            for end in (signal.SIGTERM, signal.SIGKILL):
                for worker in self._workers:
                    worker.send(end)
                if self._changed.wait_for(lambda: not self._workers, _TIME_TO_END / 2):
                    break
        self._fork_server.stop()

    def _is_stopped(self) -> bool:
        return self._stopped

    @contextmanager
    def _counted(self, worker: Forked) -> Iterator[None]:
        """Have the worker be told of the end, for as long as the context lasts."""
        with self._changed:
            self._workers.add(worker)
            if self._stopped:
                worker.send(signal.SIGTERM)
        try:
            yield
        finally:
            with self._changed:
                self._workers.discard(worker)
                self._changed.notify_all()


class _Listener:
    """Listens to one worker until its job is done."""

    def __init__(self, worker: Forked, queue: StatusQueue, log: WorkerLog, longest_silence: float) -> None:
        self._worker = worker
        self._queue = queue
        self._queue.do_not_block()
        self._log = log
        self._longest_silence = longest_silence
        self._heard_at = monotonic()
        self._told_to_stop_at: float | None = None
        self._count, self._counted_since = 0, monotonic()

    def listen(self, report: Report, cancelled: Flag, is_stopped: Callable[[], bool]) -> None:
        """Pass on the worker's events until it says that it is done; raises what the job failed for."""
        try:
            while not self._is_done(self._messages(), report):
                self._stop_if_told(cancelled)
                if self._worker.is_over:
                    raise Cancelled(STOPPING) if is_stopped() else self._end()
                if monotonic() > self._heard_at + self._longest_silence:
                    self._worker.send(signal.SIGKILL)
                    raise WorkerDied(f"was silent for {self._longest_silence:g} s and was killed")
        except BadMessage as error:
            self._worker.send(signal.SIGKILL)
            raise WorkerDied(f"sent {error} and was killed") from error
        except EOFError:
            self._worker.join(BEAT)
            raise Cancelled(STOPPING) if is_stopped() else self._end() from None

    def _is_done(self, messages: Iterator[Message], report: Report) -> bool:
        """Take note of what came; whether the job is done.

        Raises:
            DevServerError: what it failed for.

        """
        for message in messages:
            self._heard_at = monotonic()
            if message.cause is not None:
                raise message.cause
            if message.event is not None:
                report(message.event)
            if message.kind == "done":
                return True
        return False

    def _messages(self) -> Iterator[Message]:
        """What has come, once something has, or some time has passed."""
        ready = self._wait()
        if self._log.is_open and self._log.fileno() in ready:
            self._log.pass_on()
        if self._worker.fileno() in ready:
            self._worker.look()
        for message in self._queue.messages():
            self._hold_back()
            yield message

    def _wait(self) -> dict[int, int]:
        poll = select.poll()
        poll.register(self._queue.fileno(), select.POLLIN)
        poll.register(self._worker.fileno(), select.POLLIN)
        if self._log.is_open:
            poll.register(self._log.fileno(), select.POLLIN)
        seconds = self._heard_at + self._longest_silence - monotonic()
        return dict(poll.poll(1000 * min(BEAT, max(0.0, seconds)) + 1))

    def _hold_back(self) -> None:
        """Take no more messages in a time than an honest worker sends: the rest waits in the pipe, and it with that."""
        self._count += 1
        if self._count == _AT_ONCE:
            sleep(max(0.0, self._counted_since + _TIME_FOR_THEM - monotonic()))
            self._count, self._counted_since = 0, monotonic()

    def _stop_if_told(self, cancelled: Flag) -> None:
        """Have the worker stop where that is wanted, and not for ever.

        Raises:
            Cancelled: it did not.

        """
        if not cancelled.is_set():
            return
        if self._told_to_stop_at is None:
            self._told_to_stop_at = monotonic()
            self._worker.send(signal.SIGTERM)
        elif monotonic() > self._told_to_stop_at + _TIME_TO_CANCEL:
            self._worker.send(signal.SIGKILL)
            raise Cancelled("the download was stopped")

    def _end(self) -> WorkerDied:
        """Why a worker ended without a word."""
        if self._worker.status is None:
            is_lost = self._worker.is_lost
            return WorkerDied("ended with what it was forked from" if is_lost else "closed its status queue")
        code = os.waitstatus_to_exitcode(self._worker.status)
        if code < 0:
            known = {one.value: one.name for one in signal.Signals}
            return WorkerDied(f"killed by {known.get(-code, f'signal {-code}')}")
        return WorkerDied(f"exited with status {code}")
