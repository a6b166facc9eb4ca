"""Every executor keeps the same promises: one suite, run over all of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import Event as Flag
from typing import Any

import psutil
import pytest

from staging.cluster.executor import ClusterExecutor
from staging.errors import BadTarball, Cancelled, DevServerError, InternalFailure, WorkerDied
from staging.executors.base import Executor, Job
from staging.executors.process import ProcessExecutor
from staging.locks import FileLock
from staging.status import Event, Report, State
from tests.redis_server import RedisServer
from tests.servers import PROJECT, eventually

SILENCE = 2.5  # seconds


@contextmanager
def process_executor(directory: Path) -> Iterator[Executor]:
    yield ProcessExecutor(["tests.test_executors"], SILENCE)


@contextmanager
def cluster_executor(directory: Path) -> Iterator[Executor]:
    """An executor with a worker process, and a Redis between them."""
    with RedisServer(directory) as broker:
        command = [sys.executable, "-m", "tests.cluster_worker", broker.url, str(SILENCE)]
        worker = subprocess.Popen(command, cwd=PROJECT, start_new_session=True)
        try:
            yield ClusterExecutor(broker.url, SILENCE, 10.0, print)
        finally:
            worker.terminate()
            worker.wait(10)


# Every executor there is, by name.
EXECUTORS: dict[str, Callable[[Path], AbstractContextManager[Executor]]] = {
    "process": process_executor,
    "cluster": cluster_executor,
}


@pytest.fixture(scope="module", params=EXECUTORS)
def executor(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
    """An executor that is ready."""
    with EXECUTORS[request.param](tmp_path_factory.mktemp("executor")) as executor:
        executor.start()
        yield executor
        executor.stop()


@pytest.fixture
def lock(tmp_path: Path) -> FileLock:
    """A lock that the test holds."""
    return FileLock.acquire(tmp_path / "lock", Flag())


def run(executor: Executor, job: Job, request: dict[str, Any], lock: FileLock) -> list[Event]:
    events: list[Event] = []
    executor.run(job, request, events.append, lock, Flag())
    return events


def event(number: int) -> Event:
    return Event("target/version", "one", State.DOWNLOADING, number, 100, BadTarball("x", "y"), "a note")


def report_many(request: dict[str, Any], report: Report, cancelled: Flag) -> None:
    for number in range(request["count"]):
        report(event(number))


def test_events_arrive_whole_and_in_order(executor: Executor, lock: FileLock) -> None:
    events = run(executor, report_many, {"count": 500}, lock)
    assert [one.bytes_done for one in events] == list(range(500))
    assert str(events[0].cause) == str(event(0).cause)
    assert events[0].note == "a note"


def die_by_signal(request: dict[str, Any], report: Report, cancelled: Flag) -> None:
    report(event(1))
    os.kill(os.getpid(), request["signal"])
    Flag().wait(60)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_worker_that_is_killed_is_told(executor: Executor, lock: FileLock, number: signal.Signals) -> None:
    with pytest.raises(WorkerDied, match=f"worker killed by {number.name}"):
        run(executor, die_by_signal, {"signal": int(number)}, lock)


def leave(request: dict[str, Any], report: Report, cancelled: Flag) -> None:
    os._exit(request["status"])


@pytest.mark.parametrize("status", [0, 3])
def test_a_worker_that_exits_is_told(executor: Executor, lock: FileLock, status: int) -> None:
    with pytest.raises(WorkerDied, match=f"worker exited with status {status}"):
        run(executor, leave, {"status": status}, lock)


def test_a_worker_that_hangs_is_killed_and_told(executor: Executor, lock: FileLock) -> None:
    with pytest.raises(WorkerDied, match=r"worker was silent for 2\.5 s and was killed"):
        run(executor, die_by_signal, {"signal": int(signal.SIGSTOP)}, lock)


def fail(request: dict[str, Any], report: Report, cancelled: Flag) -> None:
    if request["is_foreseen"]:
        raise BadTarball("x.tar", "no reason")
    raise RuntimeError("nobody foresaw this")


@pytest.mark.parametrize(("is_foreseen", "kind"), [(True, BadTarball), (False, InternalFailure)])
def test_an_error_of_the_job_is_raised(
    executor: Executor, lock: FileLock, is_foreseen: bool, kind: type[DevServerError]
) -> None:
    with pytest.raises(kind) as told:
        run(executor, fail, {"is_foreseen": is_foreseen}, lock)
    if isinstance(told.value, InternalFailure):
        assert "nobody foresaw this" in told.value.detail
        assert "nobody foresaw this" not in str(told.value)


def wait_for_the_end(request: dict[str, Any], report: Report, cancelled: Flag) -> None:
    report(event(1))
    assert cancelled.wait(30)
    report(event(2))


@pytest.fixture(params=EXECUTORS)
def own_executor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Executor]:
    """An executor for one test, which stops it."""
    with EXECUTORS[request.param](tmp_path) as executor:
        yield executor


def test_stopping_ends_workers_in_good_order(own_executor: Executor, lock: FileLock) -> None:
    executor = own_executor
    events: list[Event] = []
    outcome: list[BaseException] = []

    def call() -> None:
        try:
            executor.run(wait_for_the_end, {}, events.append, lock, Flag())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    eventually(lambda: events)
    executor.stop()
    thread.join(5)
    assert not thread.is_alive()
    assert [one.bytes_done for one in events] == [1, 2]
    with pytest.raises(Cancelled):
        run(executor, report_many, {"count": 1}, lock)


def test_a_worker_on_this_machine_holds_the_lock_until_it_ends(executor: Executor, tmp_path: Path) -> None:
    if isinstance(executor, ClusterExecutor):
        pytest.skip("its workers are on other machines, and lock what they work in")
    lock = FileLock.acquire(tmp_path / "lock", Flag())
    started = Flag()

    def on_event(_: Event) -> None:
        os.close(lock._descriptor)  # as if this process had died
        started.set()

    def call() -> None:
        with pytest.raises(WorkerDied):
            executor.run(die_by_signal, {"signal": int(signal.SIGSTOP)}, on_event, lock, Flag())

    thread = threading.Thread(target=call)
    thread.start()
    assert started.wait(10)
    assert FileLock.try_once(tmp_path / "lock") is None
    thread.join(20)
    FileLock.acquire(tmp_path / "lock", Flag()).release()


def start_a_child(request: dict[str, Any], report: Report, cancelled: Flag) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    report(Event("target/version", "one", State.STAGING, child.pid))
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_worker_started_ends_with_it(executor: Executor, lock: FileLock) -> None:
    events: list[Event] = []
    with pytest.raises(WorkerDied):
        executor.run(start_a_child, {}, events.append, lock, Flag())
    child = events[0].bytes_done
    eventually(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE)


def unknown(request: dict[str, Any], report: Report, cancelled: Flag) -> None:
    raise AssertionError("this is in no list")


def test_a_worker_of_a_cluster_runs_no_job_that_is_not_in_its_list(executor: Executor, lock: FileLock) -> None:
    if not isinstance(executor, ClusterExecutor):
        pytest.skip("what is run on this machine is what this process says")
    with pytest.raises(WorkerDied, match=r"does not know the job 'tests\.test_executors:unknown'"):
        run(executor, unknown, {}, lock)
