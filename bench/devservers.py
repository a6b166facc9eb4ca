"""A real devserver, and what can be seen of it from outside."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

import psutil
import requests

from bench.archive.data import url_of
from bench.checkout import THIS, Checkout
from bench.processes import Process, descendants, server
from bench.samples import BenchError

_LONGEST_ANSWER = 1800.0  # seconds
_TIME_TO_SETTLE = 10.0  # seconds
_BETWEEN_SAMPLES = 0.05  # seconds


class Devserver:
    """One devserver that runs, on an address of its own."""

    def __init__(self, process: Process, port: int, static_dir: Path) -> None:
        self._process = process
        self.port = port
        self.address = f"http://127.0.0.1:{port}"
        self.static_dir = static_dir

    def download(self, path: str) -> None:
        """Have the build at ``path`` staged; returns when ``/download`` answers."""
        self._ask("download", archive_url=url_of(path))

    def wait_for_status(self, path: str) -> None:
        """Return when ``/wait_for_status`` answers for the build at ``path``."""
        self._ask("wait_for_status", archive_url=url_of(path))

    def is_staging(self, path: str) -> bool:
        """Whether the build at ``path`` is not settled yet."""
        query = {"archive_url": url_of(path), "timeout": "0.001"}
        return requests.get(f"{self.address}/wait_for_status", query, timeout=60).status_code == 504

    def kill(self) -> None:
        """End the server and all that it started at once, as a power cut would."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def cpu(self) -> float:
        """Seconds of processor time so far, of the server and of all that it ever started; waits for its workers."""
        self.wait_for_workers(are_running=False)
        total = 0.0
        for process in descendants(self._process):
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        return total

    def wait_for_workers(self, are_running: bool) -> None:
        """Return once there are workers, or none: children of the fork server, which is the server's child."""
        deadline = monotonic() + _TIME_TO_SETTLE
        while bool(self._workers()) is not are_running:
            if monotonic() > deadline:
                raise BenchError("the devserver's workers " + ("did not start" if are_running else "did not end"))
            sleep(0.005)

    def wait_for_program(self, name: str) -> None:
        """Return once the server or a worker runs the program ``name``."""
        deadline = monotonic() + _TIME_TO_SETTLE
        while name not in self._programs():
            if monotonic() > deadline:
                raise BenchError(f"{name} did not start")
            sleep(0.005)

    def memory(self) -> int:
        """Bytes of memory that the server and all that it started hold now; what they share is counted once."""
        return sum(_proportional_set_size(process.pid) for process in descendants(self._process))

    def clients(self) -> int:
        """How many clients the server is serving at this moment."""
        health = requests.get(f"{self.address}/check_health", timeout=60).json()
        return int(health["apache_client_count"])

    def threads(self) -> int:
        """How many threads the server itself has."""
        return psutil.Process(self._process.pid).num_threads()

    def _programs(self) -> set[str]:
        names = set()
        for process in descendants(self._process):
            with suppress(psutil.NoSuchProcess):
                names.add(process.name())
        return names

    def _workers(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(self._process.pid).children()
            return [worker for child in children for worker in child.children()]
        return []

    def _ask(self, method: str, **query: str) -> None:
        answer = requests.get(f"{self.address}/{method}", query, timeout=_LONGEST_ANSWER)
        if answer.status_code != 200:
            raise BenchError(f"/{method} answered {answer.status_code}: {answer.text[-500:]}")


@contextmanager
def devserver(
    archive: str, directory: Path, warm_up_path: str, *options: str, checkout: Checkout = THIS
) -> Iterator[Devserver]:
    """A devserver that stages from ``archive`` into ``directory``, has staged one tiny build, and is idle."""
    with fresh_devserver(archive, directory / "static", directory, *options, checkout=checkout) as one:
        one.download(warm_up_path)
        one.wait_for_status(warm_up_path)
        one.wait_for_workers(are_running=False)
        yield one


@contextmanager
def fresh_devserver(
    archive: str, static_dir: Path, directory: Path, *options: str, checkout: Checkout = THIS
) -> Iterator[Devserver]:
    """A devserver that was only just started; what it says is kept in ``directory``."""
    portfile = directory / "devserver.port"
    command = checkout.command("devserver.py", "--port=0", f"--portfile={portfile}", f"--static-dir={static_dir}")
    environment = {"STORAGE_EMULATOR_HOST": archive}
    log = directory / "devserver.log"
    with server([*command, "--production", *options], portfile, log, environment) as (process, port):
        yield Devserver(process, port, static_dir)


class PeakMemory:
    """Watches how much memory a devserver holds at most, for as long as the context lasts."""

    def __init__(self, watched: Devserver) -> None:
        self._watched = watched
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.idle = max(watched.memory() for _ in range(5))
        self.peak = self.idle

    def __enter__(self) -> PeakMemory:  # noqa: PYI034 - nobody derives from it
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(_BETWEEN_SAMPLES):
            self.peak = max(self.peak, self._watched.memory())


def _proportional_set_size(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
