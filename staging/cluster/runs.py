"""What a devserver and a worker tell each other of one run of a job, through Redis.

    devserver:run:<id>              the attempt that counts, and whether to stop; gone when nobody waits for it any more
    devserver:run:<id>:<attempt>    which worker has begun with the attempt
    devserver:run:<id>:told         a stream of what workers tell: events, signs of life, the outcome
    devserver:worker:<name>         that a worker is there

All of it is gone a while after those who renew it are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from redis import Redis

from staging.cluster.broker import PREFIX
from staging.cluster.messages import data_of
from staging.messages import BadMessage, message_of
from staging.records.decoding import Count, Text
from staging.records.text import encoded

_MOST_AT_ONCE = 500  # entries that are read at once
_DIGITS = 10  # of an attempt's number
_BEGUN_FOR = 3600  # seconds for which it is known that an attempt was begun: longer than its message can come again


class Told(NamedTuple):
    """One thing that a worker tells.

    Attributes:
        attempt: of which attempt.
        kind: ``begun``, ``alive``, ``event``, ``done``, ``failed``, or ``returned`` where the worker is about to end.
        content: the event, or the error, as JSON-safe data.

    """

    attempt: Count
    kind: Text
    content: dict[str, Any] | None = None


class Run:
    """One run of a job. Every method may raise what :data:`~staging.cluster.broker.UNREACHABLE` names."""

    def __init__(self, client: Redis, run_id: str, lifetime: float) -> None:
        """``lifetime`` is how many seconds the run is remembered without being renewed."""
        self._client = client
        self._key = f"{PREFIX}:run:{run_id}"
        self._told = f"{self._key}:told"
        self._milliseconds = int(1000 * lifetime)

    # The devserver's side

    def offer(self, attempt: int) -> None:
        """Say which attempt counts."""
        with self._client.pipeline() as pipeline:
            pipeline.hset(self._key, "attempt", str(attempt))
            pipeline.pexpire(self._key, self._milliseconds)
            pipeline.execute()

    def renew(self) -> bool:
        """Have the run remembered for longer; False where it was forgotten."""
        return bool(self._client.pexpire(self._key, self._milliseconds))

    def is_taken(self, attempt: int, queue: str) -> bool:
        """Whether the attempt's message is in the ``queue`` no more, as far as can be told: a worker has begun with the
        attempt, or the queue is empty.
        """
        with self._client.pipeline() as pipeline:
            pipeline.exists(self._attempt_key(attempt))
            pipeline.llen(queue)
            has_begun, length = pipeline.execute(raise_on_error=False)  # the queue's key may be anything's
        return bool(has_begun == 1 or length == 0)

    def cancel(self) -> None:
        """Have the worker stop."""
        self._client.hset(self._key, "is_cancelled", "1")

    def read(self, after: str, seconds: float) -> Sequence[tuple[str, Told]]:
        """What was told since the entry ``after``, each with its own place; waits ``seconds`` for something."""
        answer: Any = self._client.xread({self._told: after}, _MOST_AT_ONCE, int(1000 * seconds))
        return [(place, _told(fields.get("told"))) for _, entries in answer for place, fields in entries]

    def forget(self) -> None:
        """Say that nobody waits any more: who is still at work stops."""
        self._client.delete(self._key, self._told)

    def _attempt_key(self, attempt: int) -> str:
        return f"{self._key}:{attempt}"

    # The worker's side

    def begin(self, attempt: int, token: str) -> bool:
        """Whether the worker that has the ``token`` is the one to make that attempt; may be asked again."""
        if self.attempt_that_counts() != attempt:
            return False
        key = self._attempt_key(attempt)
        return bool(self._client.set(key, token, nx=True, ex=_BEGUN_FOR)) or self._client.get(key) == token

    def attempt_that_counts(self) -> int | None:
        """The attempt whose outcome somebody waits for; None where nobody does."""
        attempt = self._client.hget(self._key, "attempt")
        return int(attempt) if attempt and attempt.isascii() and attempt.isdigit() and len(attempt) < _DIGITS else None

    def is_cancelled(self) -> bool:
        """Whether the worker is to stop."""
        return bool(self._client.hexists(self._key, "is_cancelled"))

    def tell(self, messages: Iterable[Told]) -> None:
        """Tell the devserver, in order."""
        with self._client.pipeline() as pipeline:
            for message in messages:
                pipeline.xadd(self._told, {"told": encoded(message)})
            pipeline.pexpire(self._told, self._milliseconds)
            pipeline.execute()


def _told(text: Any) -> Told:
    """What a worker told; of attempt 0, which no worker makes, where that is none of what workers tell."""
    try:
        return message_of(Told, data_of(text), "what a worker tells")
    except BadMessage:
        return Told(0, "wrong")


class Workers:
    """The workers that are there."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    def is_here(self, name: str, seconds: float) -> None:
        """Say that the worker ``name`` is there, for so long."""
        self._client.set(f"{PREFIX}:worker:{name}", "1", px=int(1000 * seconds))

    def has_left(self, name: str) -> None:
        """Say that it is not."""
        self._client.delete(f"{PREFIX}:worker:{name}")

    def are_any(self) -> bool:
        """Whether there is one."""
        return any(True for _ in self._client.scan_iter(f"{PREFIX}:worker:*", 1000))
