"""Worker threads that come when all are busy, and go when they have been idle for a while."""

from __future__ import annotations

import socket
import threading
from collections import deque
from contextlib import suppress
from time import monotonic
from typing import Any

from cheroot.workers import threadpool

_IDLE_SECONDS = 15.0  # after which a thread that is not needed ends
_END: Any = threadpool._SHUTDOWNREQUEST  # type: ignore[attr-defined]  # what tells cheroot's worker to end


class _Chair:
    """Where the calling thread sits while it is idle, until a connection is put into its hands."""

    def __init__(self) -> None:
        self.thread = threading.current_thread()
        self.connection: Any = None
        self.is_called = threading.Semaphore(0)


class ElasticThreadPool:
    """What cheroot's server asks of a pool, with cheroot's own worker threads.

    The thread that became idle last gets the next connection, so that the ones that are not needed stay idle, and end.
    """

    def __init__(self, server: Any, min: int, max: int, reserve: int = 0) -> None:  # noqa: A002 - cheroot's names
        """``min`` threads are always there, and never more than ``max``, the last ``reserve`` of which are for what
        must be answered always.
        """
        self.server = server
        self.min = min
        self.max = max
        self._reserve = reserve
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._waiting: deque[Any] = deque()
        self._idle: dict[_Chair, None] = {}  # in the order in which they became so
        self._at_work: set[threading.Thread] = set()  # those that were only just started are not
        self._is_stopping = False

    @property
    def idle(self) -> int:
        """How many threads have nothing to do."""
        return len(self._idle)

    @property
    def size(self) -> int:
        """How many threads there are."""
        return len(self._threads)

    @property
    def is_crowded(self) -> bool:
        """Whether more threads are at work than there are without the reserve."""
        return len(self._at_work) > self.max - self._reserve

    @property
    def qsize(self) -> int:
        """How many connections wait for a thread."""
        return len(self._waiting)

    def busy_connections(self) -> list[Any]:
        """The connections that threads are at work on."""
        with self._lock:
            return [thread.conn for thread in self._threads if thread.conn is not None]  # type: ignore[attr-defined]

    def start(self) -> None:
        """Start the threads that are always there."""
        with self._lock:
            for _ in range(self.min):
                self._start_thread()

    def put(self, connection: Any) -> None:
        """Give a connection to a thread: an idle one, or a new one, or else the first that becomes idle."""
        with self._lock:
            if self._idle:
                chair, _ = self._idle.popitem()
                chair.connection = connection
                self._at_work.add(chair.thread)
                chair.is_called.release()
                return
            self._waiting.append(connection)
            if len(self._threads) < self.max:
                with suppress(RuntimeError):  # the machine has no thread left: one that there is will come to it
                    self._start_thread()

    def get(self) -> Any:
        """The next connection for the calling thread, or the word that it shall end."""
        chair = _Chair()
        with self._lock:
            self._at_work.discard(chair.thread)
            if self._is_stopping:
                return _END
            if self._waiting:
                self._at_work.add(chair.thread)
                return self._waiting.popleft()
            self._idle[chair] = None
        while not chair.is_called.acquire(timeout=_IDLE_SECONDS):
            with self._lock:
                if chair in self._idle and len(self._threads) > self.min:
                    del self._idle[chair]
                    self._threads.remove(threading.current_thread())
                    # cheroot's pool has threads that never end, and its statistics keep every one of them.
                    self.server.stats["Worker Threads"].pop(threading.current_thread().name, None)
                    return _END
        return chair.connection

    def stop(self, timeout: float | None = 5) -> None:
        """End all threads; those that are not done after ``timeout`` seconds find their connections closed."""
        with self._lock:
            self._is_stopping = True
            threads, self._threads = self._threads, []
            for chair in self._idle:
                chair.connection = _END
                chair.is_called.release()
            self._idle.clear()
        deadline = None if timeout is None else monotonic() + timeout
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(None if deadline is None else max(0.0, deadline - monotonic()))
                _cut_off(thread)

    def _start_thread(self) -> None:
        thread = threadpool.WorkerThread(self.server)  # type: ignore[no-untyped-call]
        thread.start()
        self._threads.append(thread)


def _cut_off(thread: Any) -> None:
    """Make a thread that is still at work find its client gone."""
    connection = thread.conn
    if thread.is_alive() and connection is not None:
        with suppress(OSError):
            connection.socket.shutdown(socket.SHUT_RDWR)
        thread.join()
