"""What the devserver asks of an executor: run one job, and tell what happens."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event as Flag
from typing import Any, Protocol

from staging.locks import FileLock
from staging.status import Report

# A job is a module's function, so that a process elsewhere finds it by name. It is given a JSON-safe request, the
# function to report events with, and a flag that says when to stop.
Job = Callable[[dict[str, Any], Report, Flag], None]


class Executor(Protocol):
    """Runs jobs apart from the server's own process. Any number of threads may run one each at once."""

    takes_parts: bool
    """Whether it has several workers for one build: it is to be given a job for each part of it."""

    def run(
        self,
        job: Job,
        request: dict[str, Any],
        report: Report,
        lock: FileLock,
        cancelled: Flag,
        is_urgent: bool = False,
    ) -> None:
        """Run ``job(request)`` to its end, calling ``report`` in this thread with each of its events, in order.

        Once ``cancelled`` is set, the job is told to stop, within seconds. A worker on this machine holds the build's
        ``lock`` too, for as long as it lives. What ``is_urgent`` comes before what is not.

        Raises:
            WorkerDied: the worker ended, fell silent or did not start, and no other can take its place.
            BrokerUnreachable: what is between this process and its workers does not answer.
            Cancelled: the executor was stopped, or the job before it began.

        """

    @property
    def worker_count(self) -> int:
        """How many workers there are now."""

    @property
    def figures(self) -> dict[str, float]:
        """What an operator should know of it at a glance, by name."""

    def start(self) -> None:
        """Get ready in the background, so that the first job starts as fast as the others."""

    def stop(self) -> None:
        """End every worker; running jobs raise ``Cancelled``. Returns within five seconds."""
