"""A worker: one process that runs one job, and tells the devserver of it by its status queue."""

from __future__ import annotations

import importlib
import os
import signal
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Flag
from typing import Any

from staging.errors import as_devserver_error
from staging.executors.base import Job
from staging.executors.confinement import Confinement
from staging.executors.status_queue import StatusQueue
from staging.records.decoding import converted
from staging.records.text import data_of

BEAT = 1.0  # seconds between two signs of life
_NICENESS = 10  # so that those who are waited for come first
Json = dict[str, Any]


@dataclass(frozen=True)
class WorkOrder:
    """What a worker is to do: the job of that name, by a request, within bounds."""

    job: str
    request: Json
    confinement: Confinement


def work(text: bytes, descriptor: int) -> int:
    """Run the job of the :class:`WorkOrder` that ``text`` is, and tell of it through the pipe ``descriptor``; the exit
    status.

    The job runs in a thread of its own, so that the main thread is free to take signals.
    """
    queue = StatusQueue(descriptor)
    cancelled = Flag()
    signal.signal(signal.SIGTERM, lambda *_: cancelled.set())
    try:
        _step_back()
        order = converted(WorkOrder, data_of(text), "the order of a worker")
        job = named_job(order.job)
        order.confinement.apply()  # of this thread, and so of those that it starts
    except Exception as error:
        _tell(queue, "failed", as_devserver_error(error, "the build").to_json())
        return 0
    threading.Thread(target=_beat, args=(queue,), daemon=True).start()
    runner = threading.Thread(target=_run, args=(job, order.request, queue, cancelled))
    runner.start()
    runner.join()
    return 0


def _step_back() -> None:
    """Let those come first who are waited for.

    Linux shares the processors out among sessions before it looks at niceness (sched(7), "The autogroup feature"), and
    the workers of a devserver have a session of their own: that has to step back, too.
    """
    os.nice(_NICENESS)
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(f"{_NICENESS}")


def name_of(job: Job) -> str:
    """What a job is found by in another process."""
    return f"{job.__module__}:{job.__qualname__}"


def named_job(name: str) -> Job:
    """The job of that name."""
    module, _, function = name.partition(":")
    job: Job = getattr(importlib.import_module(module), function)
    return job


def _run(job: Job, request: Json, queue: StatusQueue, cancelled: Flag) -> None:
    try:
        job(request, lambda event: _tell(queue, "event", event.to_json()), cancelled)
    except Exception as error:
        _tell(queue, "failed", as_devserver_error(error, "the build").to_json())
    else:
        _tell(queue, "done")


def _tell(queue: StatusQueue, kind: str, content: Json | None = None) -> None:
    """Put a message; where the devserver is gone, this process has nothing left to live for."""
    try:
        queue.put(kind, content)
    except OSError:
        os._exit(1)


def _beat(queue: StatusQueue) -> None:
    while True:
        _tell(queue, "alive")
        threading.Event().wait(BEAT)
