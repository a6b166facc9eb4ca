"""The broker: a Redis that holds Celery's queues, and what is told of the jobs that are taken off them."""

from __future__ import annotations

from typing import Any

import redis
from celery import Celery
from kombu import Exchange, Queue
from kombu.exceptions import OperationalError
from redis.backoff import NoBackoff
from redis.retry import Retry

SYNCHRONOUS, BACKGROUND = "synchronous", "background"
QUEUES = (SYNCHRONOUS, BACKGROUND)  # in the order in which they are emptied
TASK = "devserver.run_job"
PREFIX = "devserver"  # of every key that is not Celery's own

_TIME_TO_CONNECT = 2.0  # seconds
_TIME_TO_ANSWER = 5.0  # seconds; more than any call blocks for
# Seconds after which what a worker took off a queue and did not finish is put back. A job that is under way then is
# found to be so by whoever takes it off again, and dropped.
_BACK_IN_QUEUE = 60

# What a broker that cannot be reached raises.
UNREACHABLE = (redis.RedisError, OperationalError, OSError)


def connected(url: str) -> redis.Redis:
    """A client of the Redis at ``url``; it connects when it is used, and may be used by any number of threads.

    Raises:
        ValueError: that is no URL of a Redis.

    """
    return redis.Redis.from_url(
        url,
        decode_responses=True,
        encoding_errors="replace",  # what is no text is no message either, and must not keep others from being read
        socket_connect_timeout=_TIME_TO_CONNECT,
        socket_timeout=_TIME_TO_ANSWER,
        protocol=2,
        retry=Retry(NoBackoff(), 1),  # for a connection that was cut since it was last used
    )


def application(url: str) -> Celery:
    """Celery, with its queues in the Redis at ``url``."""
    app = Celery("devserver", broker=url, set_as_current=False)
    app.conf.update(_settings())
    return app


def _settings() -> dict[str, Any]:
    timeouts = {"socket_connect_timeout": _TIME_TO_CONNECT, "socket_timeout": _TIME_TO_ANSWER}
    return {
        "broker_transport": "staging.cluster.transport:Transport",
        "task_default_queue": BACKGROUND,  # which some versions look up whatever a message is sent to
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,  # outcomes are events, as all else
        "task_queues": [Queue(name, Exchange("devserver"), routing_key=name) for name in QUEUES],
        "task_create_missing_queues": False,
        "task_publish_retry": False,
        # A worker holds no more than it works on: what waits can be taken by another that is free.
        "task_acks_late": True,
        "worker_prefetch_multiplier": 1,
        "worker_enable_remote_control": False,
        "worker_hijack_root_logger": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": {
            "queue_order_strategy": "priority",
            "visibility_timeout": _BACK_IN_QUEUE,
            **timeouts,
        },
    }
