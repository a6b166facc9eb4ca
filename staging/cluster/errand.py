"""One run of a job by the cluster, from the queue to the outcome, as the devserver sees it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event as Flag
from time import monotonic
from typing import Any, TypeVar

from celery import Celery
from redis import Redis

from staging.cluster.broker import TASK, UNREACHABLE
from staging.cluster.messages import expected_of
from staging.cluster.runs import Run, Told, Workers
from staging.errors import STOPPING, BrokerUnreachable, Cancelled, DevServerError, WorkerDied
from staging.messages import BadMessage, cause_of, event_of
from staging.status import Report

T = TypeVar("T")

_LOOK = 0.5  # seconds between two looks at whether to stop
_PAUSE = 0.2  # seconds before the broker is tried again
_TIME_TO_END = 3.0  # seconds that a worker is given to tell that it stopped
_SENT_AGAIN = 60.0  # seconds after which what nobody has begun with is put into a queue that is not empty once more
_MOST_DEATHS = 2  # of workers at one job: it may be what they died of


@dataclass(frozen=True)
class Terms:
    """How long to bear with workers and the broker.

    Attributes:
        longest_silence: seconds without a sign of life after which a worker is taken for dead.
        patience: seconds that the broker need not answer, and that there need be no worker.
        tell: told in a sentence what an operator should know.

    """

    longest_silence: float
    patience: float
    tell: Callable[[str], None]

    @property
    def lifetime(self) -> float:
        """Seconds after which a run is forgotten whose devserver does not renew it: the worker stops then."""
        return max(self.longest_silence, 5.0)


class Errand:
    """One run of a job. What a worker tells counts only if it is of the latest attempt."""

    def __init__(
        self,
        client: Redis,
        app: Celery,
        terms: Terms,
        what: tuple[str, dict[str, Any], str],
        report: Report,
        ends: tuple[Flag, Flag],
    ) -> None:
        """``what`` is the job's name, its request and the queue; ``ends`` say that the job, or all, is to stop."""
        self._id = uuid.uuid4().hex
        self._app = app
        self._terms = terms
        self._run = Run(client, self._id, terms.lifetime)
        self._workers = Workers(client)
        self._job, self._request, self._queue = what
        self._expected = expected_of(self._request)
        self._report = report
        self._cancelled, self._stopped = ends
        self._attempt = 0
        self._deaths = 0
        self._place = "0"  # in the stream of what is told
        self._told_to_stop_at: float | None = None
        self._sent_at = monotonic()
        self._heard_at = monotonic()  # from the worker; or of any worker at all, until one has begun
        self._taken_at: float | None = None  # when it was first seen that the job is in its queue no more
        self.has_begun = False

    def run(self) -> None:
        """See :meth:`staging.executors.base.Executor.run`."""
        try:
            self._send()
            while not self._take(self._reaching(self._news)):
                self._check_life()
                self._stop_if_told()
        finally:
            try:
                self._run.forget()
            except UNREACHABLE:
                self._terms.tell("what the broker holds of a job will be forgotten later: it does not answer")

    def _send(self) -> None:
        """Put the job into the queue, for another attempt."""
        self._attempt += 1
        self.has_begun = False
        self._heard_at = monotonic()
        self._reaching(self._offer)

    def _offer(self) -> None:
        self._sent_at, self._taken_at = monotonic(), None
        self._run.offer(self._attempt)
        if not self.has_begun:
            arguments = [self._job, self._id, self._attempt, self._request]
            self._app.send_task(TASK, arguments, queue=self._queue, declare=[])  # a queue is there by what is in it

    def _news(self) -> list[Told]:
        if not self._run.renew():
            self._offer()  # the broker has forgotten everything
        entries = self._run.read(self._place, _LOOK)
        if entries:
            self._place = entries[-1][0]
        if any(told.attempt == 0 for _, told in entries):
            self._terms.tell("the broker holds what no worker told of a job, which is left out")
        return [told for _, told in entries if told.attempt == self._attempt]

    def _take(self, news: list[Told]) -> bool:
        """Take note of what a worker told; whether it is done.

        Raises:
            DevServerError: what the job failed for.

        """
        for told in news:
            self.has_begun = True
            self._heard_at = monotonic()
            if told.kind == "event":
                self._pass_on(told)
            elif told.kind == "failed":
                raise self._cause(told)
            elif told.kind == "returned":
                self._send()
                return False
            elif told.kind == "done":
                return True
        return False

    def _pass_on(self, told: Told) -> None:
        """Report an event, if it is one of this job."""
        try:
            self._report(event_of(told.content, self._expected))
        except BadMessage as error:
            self._terms.tell(f"the broker holds an event that no worker told, which is left out: {error}")

    def _cause(self, told: Told) -> DevServerError:
        """What the job failed for, as far as it can be understood."""
        try:
            return cause_of(told.content)
        except BadMessage as error:
            return WorkerDied(f"failed, and told what cannot be understood ({error})")

    def _check_life(self) -> None:
        """Give the job to another worker where nothing is heard of the one that has it.

        Raises:
            WorkerDied: there is none, or this happened before.

        """
        silence = monotonic() - self._heard_at
        if self.has_begun and silence > self._terms.longest_silence:
            self._deaths += 1
            if self._deaths == _MOST_DEATHS:
                seconds = f"{self._terms.longest_silence:g}"
                raise WorkerDied(f"was silent for {seconds} s, as the one before it that had the same job")
            self._terms.tell(f"a worker is silent for {silence:.0f} s: its job is given to another")
            self._send()
        elif not self.has_begun and silence > self._terms.patience:
            if not self._reaching(self._workers.are_any):
                raise WorkerDied(f"could not start: there was none in the cluster for {self._terms.patience:g} s")
            self._heard_at = monotonic()  # they are busy
        if not self.has_begun:
            self._send_again_if_lost()

    def _send_again_if_lost(self) -> None:
        """Send anew what a worker took off the queue, which then hung or died before it said that it had begun."""
        if not self._reaching(lambda: self._run.is_taken(self._attempt, self._queue)):
            self._taken_at = None
            if monotonic() > self._sent_at + _SENT_AGAIN:
                self._reaching(self._offer)  # others lie in the queue, maybe; and what is sent twice is begun once
        elif self._taken_at is None:
            self._taken_at = monotonic()
        elif monotonic() > self._taken_at + self._terms.longest_silence:
            seconds = f"{self._terms.longest_silence:g}"
            self._terms.tell(f"a job was taken and not begun with for {seconds} s: it is given to another worker")
            heard_at = self._heard_at
            self._send()
            self._heard_at = heard_at  # that it was sent says nothing of workers

    def _stop_if_told(self) -> None:
        """Have the worker stop, where that is wanted, and bear with it for a moment.

        Raises:
            Cancelled: it has not begun, or does not answer.

        """
        if not (self._cancelled.is_set() or self._stopped.is_set()):
            return
        if self._told_to_stop_at is None:
            self._told_to_stop_at = monotonic()
            self._reaching(self._run.cancel)
        if not self.has_begun or monotonic() > self._told_to_stop_at + _TIME_TO_END:
            raise Cancelled(self._reason_to_stop())

    def _reason_to_stop(self) -> str:
        return STOPPING if self._stopped.is_set() else "the download was stopped"

    def _reaching(self, call: Callable[[], T]) -> T:
        """What ``call`` returns, once the broker answers; that it did not is not the worker's silence.

        Raises:
            BrokerUnreachable: it did not for too long.
            Cancelled: nobody wants it any more.

        """
        began = monotonic()
        while True:
            try:
                result = call()
            except UNREACHABLE as error:
                self._heard_at = monotonic()
                if self._cancelled.is_set() or self._stopped.wait(_PAUSE):
                    raise Cancelled(self._reason_to_stop()) from error
                if monotonic() > began + self._terms.patience:
                    raise BrokerUnreachable(f"{self._terms.patience:g}") from error
            else:
                return result
