"""Celery's way to Redis, for which what lies in the queues is input: what is no job is told, and left out.

Celery's own way takes for granted that nobody but Celery writes there, and the worker ends where somebody did.
"""

from __future__ import annotations

import logging
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty
from typing import Annotated, Any, Literal

import msgspec
import redis
from kombu.transport import redis as kombu_redis

from staging.cluster.messages import data_of
from staging.messages import BadMessage, message_of
from staging.records.decoding import Text
from staging.records.text import encoded

_log = logging.getLogger(__name__)

_LARGEST_BODY = 64 * 1024 * 1024  # characters, of a job for thousands of objects
_WRONG = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
_NO_LIMITS = {"timelimit": [None, None], "retries": 0, "ignore_result": True, "lang": "py"}


def checked_message(message: Any, task: str) -> dict[str, Any]:
    """A message of a queue with what a job needs of it, and nothing else that Celery would act upon.

    Raises:
        BadMessage: it is none of a job.

    """
    found = message_of(_Message, message, "a message")
    properties, job = found.properties, found.headers.id
    if found.headers.task != task:
        raise BadMessage("a message of another task")
    return {
        "headers": {"task": task, "id": job, "root_id": job, **_NO_LIMITS},
        "properties": {
            "delivery_tag": properties.delivery_tag,
            "delivery_info": {"exchange": "", "routing_key": properties.delivery_info.routing_key, "priority": 0},
            "body_encoding": "base64",
            "correlation_id": job,
        },
        "body": _checked_body(found.body),
        "content-type": "application/json",
        "content-encoding": "utf-8",
    }


class _Headers(msgspec.Struct):
    task: Text
    id: Text


class _DeliveryInfo(msgspec.Struct):
    routing_key: Text


class _Properties(msgspec.Struct):
    delivery_tag: Text
    delivery_info: _DeliveryInfo
    body_encoding: Literal["base64"]


class _Message(msgspec.Struct, rename={"content_type": "content-type"}):
    """A message, as far as a job needs it."""

    headers: _Headers
    properties: _Properties
    body: Annotated[str, msgspec.Meta(max_length=_LARGEST_BODY)]
    content_type: Literal["application/json"]


def _checked_body(body: str) -> str:
    """The body with its arguments alone: named ones, and what Celery embeds, no job has."""
    try:
        text = b64decode(body, validate=True).decode()
    except ValueError:
        raise BadMessage("a body that is not encoded as it should be") from None
    data = data_of(text, _LARGEST_BODY)
    if not isinstance(data, list) or [type(part) for part in data[:2]] != [list, dict]:
        raise BadMessage("a body that is no job's")
    return b64encode(encoded([data[0], {}, {}])).decode()


class _QoS(kombu_redis.QoS):  # type: ignore[misc]
    """What was taken and not finished. A broker that says no to a note of that must not end the worker: what is not
    noted as taken, the devserver sends again, and what is not noted as finished comes again, and is found to be begun.
    """

    def append(self, message: Any, delivery_tag: Any) -> None:
        """Note that a message was taken."""
        with _noted():
            super().append(message, delivery_tag)
            return
        super(kombu_redis.QoS, self).append(message, delivery_tag)

    def ack(self, delivery_tag: Any) -> None:
        """Note that it is finished."""
        with _noted():
            super().ack(delivery_tag)
            return
        super(kombu_redis.QoS, self).ack(delivery_tag)

    def reject(self, delivery_tag: Any, requeue: bool = False) -> None:
        """Note that it is not wanted here."""
        with _noted():
            super().reject(delivery_tag, requeue)
            return
        super(kombu_redis.QoS, self).ack(delivery_tag)

    def restore_unacked(self, client: Any = None) -> None:
        """Put back, at the end, what was taken and not finished."""
        with _noted():
            super().restore_unacked(client)

    def restore_visible(self, *arguments: Any, **options: Any) -> None:
        """Put back what a worker took and did not finish, unless what lies in the place of that is something else."""
        try:
            super().restore_visible(*arguments, **options)
        except redis.ResponseError as error:
            keys = {self.unacked_key: "hash", self.unacked_index_key: "zset", self.unacked_mutex_key: "string"}
            _remove_wrong_ones(self.channel.client, keys, error)
        except _WRONG:
            _log.warning("what the broker holds of jobs that were taken is of another shape, for now")

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        """The same for one; what is no job is removed."""
        with self.channel.conn_or_acquire(client) as connection:
            text = connection.hget(self.unacked_key, tag)
        try:
            if text is not None:
                message, _, _ = data_of(text.decode(), 2 * _LARGEST_BODY)
                checked_message(message, self.channel.task)
            super().restore_by_tag(tag, client=client, leftmost=leftmost)
        except _WRONG:
            _log.warning("a job that was taken is none, and is removed")
            self._remove_from_indices(tag).execute()


class _Channel(kombu_redis.Channel):  # type: ignore[misc]
    QoS = _QoS
    task = "devserver.run_job"

    def _brpop_read(self, **options: Any) -> Any:
        """Read what came out of a queue."""
        try:
            return super()._brpop_read(**options)
        except redis.ResponseError as error:
            keys = {
                self._q_for_pri(queue, step): "list" for queue in self.active_queues for step in self.priority_steps
            }
            _remove_wrong_ones(self.client, keys, error)
            self.client.connection.disconnect()
            # Celery tries again after a pause.
            raise redis.ConnectionError("the broker says no") from error
        except _WRONG as error:
            _log.warning("a message in the queue is no job, and is left out (%s)", type(error).__name__)
            raise Empty from None

    def _queue_bind(self, *_: Any) -> None:
        """Bind nothing: messages name their queue, so that there is no table of bindings to be lost or garbled."""

    def _size(self, queue: str) -> int:
        """How many messages a queue has; what is none of a queue's has none."""
        try:
            return int(super()._size(queue))
        except redis.ResponseError:
            return 0


@contextmanager
def _noted() -> Iterator[None]:
    try:
        yield
    except redis.ResponseError as error:
        _log.warning("the broker says no to a note of a job, which is left out: %s", error)


class Transport(kombu_redis.Transport):  # type: ignore[misc]
    """The transport."""

    Channel = _Channel

    def _deliver(self, message: Any, queue: str) -> None:
        """Give a message to Celery, if it is one of a job."""
        try:
            checked = checked_message(message, _Channel.task)
        except BadMessage as error:
            _log.warning("a message in the queue is no job, and is left out: %s", error)
            return
        super()._deliver(checked, queue)


def _remove_wrong_ones(client: Any, keys: dict[str, str], error: redis.ResponseError) -> None:
    """Remove those of the keys that are of another type than they should be, so that those can take their place."""
    if not str(error).startswith("WRONGTYPE"):
        _log.warning("the broker says no, and is tried again: %s", error)
        return
    for key, kind in keys.items():
        if client.type(key) not in (kind.encode(), b"none"):
            client.delete(key)
            _log.warning("the broker's key %r was of a wrong type, and was removed", key)
