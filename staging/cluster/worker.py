"""A worker of the cluster: takes jobs off Celery's queues, and runs each in a process of its own.

The processes are those of the local executor, with its promises: a job that is killed, hangs or does not start is told
at once, by this supervisor, which handles nothing that strangers wrote.
"""

from __future__ import annotations

import importlib
import logging
import os
import socket
from collections.abc import Callable, Mapping
from functools import partial
from secrets import token_hex
from threading import Event as Flag
from time import monotonic
from typing import Any

from celery import signals

from staging import threads
from staging.cluster.broker import QUEUES, TASK, UNREACHABLE, application, connected
from staging.cluster.messages import is_id
from staging.cluster.outbox import Outbox
from staging.cluster.runs import Run, Workers
from staging.errors import WorkerDied, as_devserver_error
from staging.executors.base import Job
from staging.executors.process import ProcessExecutor

_log = logging.getLogger(__name__)

Json = dict[str, Any]
# The jobs that may be run, by the names of their functions, and what each makes of a request before it is one.
Jobs = Mapping[str, Callable[[Json], Json]]

_BEAT = 1.0  # seconds between two signs that this worker is there
_PAUSE = 0.3  # seconds before the broker is tried again
_GOOD_FOR = 5.0  # seconds that each is good for


class ClusterWorker:
    """Runs jobs of a cluster, some at once, until SIGTERM."""

    def __init__(
        self, broker_url: str, jobs: Jobs, executor: ProcessExecutor, longest_silence: float, patience: float
    ) -> None:
        """A run whose devserver is not heard of for ``longest_silence`` seconds is given up. What cannot be told for
        ``patience`` seconds, because the broker does not answer, is not told.
        """
        self._client = connected(broker_url)
        self._app = application(broker_url)
        self._jobs = jobs
        self._executor = executor
        self._longest_silence = longest_silence
        self._patience = patience
        self._ends = Flag()

    def serve(self, at_once: int) -> int:
        """Run up to ``at_once`` jobs at once, until a signal says to stop; the exit status."""
        self._app.task(self._run_message, name=TASK)
        name = f"{socket.gethostname()}:{os.getpid()}"
        signals.worker_shutting_down.connect(self._end, weak=False)
        self._executor.start()
        threads.start("presence", partial(self._say_that_it_is_here, name), self._ends, _log.warning)
        worker = self._app.Worker(
            hostname=f"devserver@{name}",
            pool="threads",
            concurrency=at_once,
            queues=",".join(QUEUES),
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            quiet=True,
        )
        worker.start()
        self._executor.stop()
        return int(worker.exitcode or 0)

    def _end(self, **_: object) -> None:
        self._ends.set()

    def _say_that_it_is_here(self, name: str) -> None:
        workers = Workers(self._client)
        while not self._ends.wait(_BEAT):
            try:
                workers.is_here(name, _GOOD_FOR)
            except UNREACHABLE:
                continue
        try:
            workers.has_left(name)
        except UNREACHABLE:
            return

    def _run_message(self, *message: Any, **_: Any) -> None:
        """What Celery calls, with what a message holds, which may be anything."""
        if [type(one) for one in message] != [str, str, int, dict] or not is_id(message[1]):
            _log.warning("a message in the queue is no job, and is left out")
            return
        self._run(*message)

    def _run(self, name: str, run_id: str, attempt: int, request: Json) -> None:
        """One attempt at a job, unless somebody has made it already or nobody wants it."""
        run = Run(self._client, run_id, self._longest_silence)
        if not self._is_ours(run, attempt):
            return
        cancelled = Flag()
        with Outbox(run, attempt, cancelled, self._ends, self._patience) as outbox:
            try:
                job, adapted = self._allowed(name, request, attempt)
                self._executor.run(job, adapted, outbox.put_event, None, cancelled)
            except Exception as error:
                outbox.end("failed", as_devserver_error(error, "the build").to_json())
            else:
                outbox.end("done")

    def _is_ours(self, run: Run, attempt: int) -> bool:
        """Whether to make the attempt, which is off the queue: a broker that is away for a moment must not lose it."""
        token = token_hex(8)
        deadline = monotonic() + self._patience
        while not self._ends.is_set() and monotonic() < deadline:
            try:
                return run.begin(attempt, token)
            except UNREACHABLE:
                self._ends.wait(_PAUSE)
        return False

    def _allowed(self, name: str, request: Json, attempt: int) -> tuple[Job, Json]:
        """The job of that name, and its request as this worker will have it."""
        adapt = self._jobs.get(name)
        if adapt is None:
            raise WorkerDied(f"does not know the job {name!r}: is it of the devserver's version?")
        module, _, function = name.partition(":")
        job: Job = getattr(importlib.import_module(module), function)
        return job, adapt({**request, "attempt": attempt})
