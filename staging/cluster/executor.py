"""The cluster's executor: jobs go into Celery's queues, and workers on any machine take them off."""

from __future__ import annotations

import threading
from collections.abc import Callable
from threading import Event as Flag
from typing import Any

from staging import threads
from staging.cluster.broker import BACKGROUND, SYNCHRONOUS, UNREACHABLE, application, connected
from staging.cluster.errand import Errand, Terms
from staging.errors import STOPPING, Cancelled
from staging.executors.base import Job
from staging.locks import FileLock
from staging.status import Report

_BETWEEN_LOOKS = 1.0  # seconds, at whether the broker answers
_TIME_TO_END = 4.0  # seconds


class ClusterExecutor:
    """See :class:`~staging.executors.base.Executor`."""

    takes_parts = True

    def __init__(self, broker_url: str, longest_silence: float, patience: float, tell: Callable[[str], None]) -> None:
        """A worker that gives no sign of life for ``longest_silence`` seconds is taken for dead, and its job given to
        another. A broker that does not answer, and a cluster without workers, are borne for ``patience`` seconds.
        ``tell`` is told in a sentence what an operator should know.

        Raises:
            ValueError: ``broker_url`` is no URL of a Redis.

        """
        self._client = connected(broker_url)
        self._app = application(broker_url)
        self._terms = Terms(longest_silence, patience, tell)
        self._changed = threading.Condition()
        self._errands: set[Errand] = set()
        self._stopped = Flag()
        self._is_reachable = True

    @property
    def worker_count(self) -> int:
        """How many workers are at a job of this devserver's."""
        with self._changed:
            return sum(errand.has_begun for errand in self._errands)

    @property
    def figures(self) -> dict[str, float]:
        """See :class:`~staging.executors.base.Executor`."""
        return {"broker_reachable": int(self._is_reachable)}

    def start(self) -> None:
        """Look from now on whether the broker answers."""
        threads.start("broker", self._look, self._stopped, self._terms.tell)

    def run(
        self,
        job: Job,
        request: dict[str, Any],
        report: Report,
        lock: FileLock,
        cancelled: Flag,
        is_urgent: bool = False,
    ) -> None:
        """See :class:`~staging.executors.base.Executor`."""
        del lock  # is held by the caller; who works elsewhere locks the staging area
        queue = SYNCHRONOUS if is_urgent else BACKGROUND
        name = f"{job.__module__}:{job.__qualname__}"
        errand = Errand(
            self._client, self._app, self._terms, (name, request, queue), report, (cancelled, self._stopped)
        )
        with self._changed:
            if self._stopped.is_set():
                raise Cancelled(STOPPING)
            self._errands.add(errand)
        try:
            errand.run()
        finally:
            with self._changed:
                self._errands.discard(errand)
                self._changed.notify_all()

    def stop(self) -> None:
        """See :class:`~staging.executors.base.Executor`."""
        self._stopped.set()
        with self._changed:
            self._changed.wait_for(lambda: not self._errands, _TIME_TO_END)

    def _look(self) -> None:
        """Find out every second whether the broker answers; that it does not, and that it does again, is told once."""
        while not self._stopped.wait(_BETWEEN_LOOKS):
            try:
                self._client.ping()
            except UNREACHABLE as error:
                if self._is_reachable:
                    self._terms.tell(f"the broker does not answer ({type(error).__name__})")
                self._is_reachable = False
            else:
                if not self._is_reachable:
                    self._terms.tell("the broker answers again")
                self._is_reachable = True
