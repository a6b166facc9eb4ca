"""What a worker has to tell of a job, on its way to the devserver that waits for it."""

from __future__ import annotations

import logging
from threading import Condition, Thread
from threading import Event as Flag
from time import monotonic, sleep
from types import TracebackType
from typing import Any

from staging.cluster.broker import UNREACHABLE
from staging.cluster.runs import Run, Told
from staging.status import Event
from staging.threads import in_a_line

_log = logging.getLogger(__name__)
_BEAT = 1.0  # seconds between two signs of life
_TIME_TO_RETURN = 5.0  # seconds that a devserver has to put a run there anew that the broker has forgotten
_PAUSE = 0.3  # seconds before the broker is tried again


class Outbox:
    """Tells, in a thread of its own, events and signs of life; and looks whether the job is to stop.

    It bears with a broker that is away: the job goes on meanwhile.
    """

    def __init__(self, run: Run, attempt: int, cancelled: Flag, ends: Flag, patience: float) -> None:
        """``cancelled`` is set where the devserver says so, where it does not renew the run any more, and where this
        worker ``ends``: then the job is returned. Tries to tell the outcome for ``patience`` seconds.
        """
        self._run = run
        self._attempt = attempt
        self._cancelled = cancelled
        self._ends = ends
        self._patience = patience
        self._changed = Condition()
        self._unsent = [Told(attempt, "begun")]
        self._is_ended = False
        self._is_returned = False
        self._wanted_at = self._looked_at = self._reached_at = monotonic()
        self._thread = Thread(target=self._work, name="outbox", daemon=True)

    def __enter__(self) -> Outbox:  # noqa: PYI034 - nobody derives from it
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is not None:
            self.end("done")
        self._thread.join()

    def put_event(self, event: Event) -> None:
        """Tell an event."""
        self._put(Told(self._attempt, "event", event.to_json()))

    def end(self, kind: str, content: dict[str, Any] | None = None) -> None:
        """Tell the outcome, which is the last that is told; of a job that is returned, another's."""
        with self._changed:
            if self._is_returned:
                kind, content = "returned", None
            self._unsent.append(Told(self._attempt, kind, content))
            self._is_ended = True
            self._changed.notify_all()

    def _put(self, told: Told) -> None:
        with self._changed:
            if not self._is_returned:  # what it is cut off with is no outcome
                self._unsent.append(told)
                self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._unsent or self._is_ended, _BEAT - (monotonic() - self._looked_at))
                batch, is_last = list(self._unsent), self._is_ended
            try:
                self._tell(batch)
            except Exception as error:
                if not isinstance(error, UNREACHABLE):
                    _log.warning("what a job has to tell is told later: %s", in_a_line(error))
                self._wanted_at = monotonic()  # the devserver is not what is silent
                if is_last and monotonic() > self._reached_at + self._patience:
                    return
                sleep(_PAUSE)
                continue
            self._reached_at = monotonic()
            if is_last:
                return

    def _tell(self, batch: list[Told]) -> None:
        """Tell all of the batch, and once in a while that this worker is alive."""
        is_due = monotonic() >= self._looked_at + _BEAT
        if batch or is_due:
            self._run.tell(batch or [Told(self._attempt, "alive")])
            with self._changed:
                del self._unsent[: len(batch)]
        if is_due:
            self._look()
            self._looked_at = monotonic()

    def _look(self) -> None:
        """Have the job stop, where that is wanted."""
        attempt = self._run.attempt_that_counts()
        if attempt is not None:
            self._wanted_at = monotonic()
        is_superseded = attempt not in (None, self._attempt)
        is_forgotten = monotonic() > self._wanted_at + _TIME_TO_RETURN
        with self._changed:
            if self._ends.is_set() and not self._cancelled.is_set():
                self._is_returned = True
        if self._ends.is_set() or is_superseded or is_forgotten or self._run.is_cancelled():
            self._cancelled.set()
